"""When a delivery failed for good: the next allowed channel, or DEAD_LETTER (RULES 4). Pure.

The devices of one channel are one chance to reach the person. Where another device of the channel was reached, may have
been, or is still being tried, a failed one ends as DEAD_LETTER by itself. The last one to fail falls back: to the first
of the remaining channels that has an address and no kill switch, if the notification is still in time.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from state.model.delivery import ChannelAddresses

REACHED = frozenset({"DELIVERED", "UNKNOWN"})


class FailedEnd(NamedTuple):
    """How a failed delivery ends, and how many of the remaining channels are used up by it."""

    outcome: str
    fell_back_to: str | None
    used: int


DEAD = FailedEnd("DEAD_LETTER", None, 0)


def end_of_failed(
    others: Collection[str | None],
    rest: Sequence[ChannelAddresses],
    *,
    policy: str,
    now: int,
    valid_until: int,
    usable: Callable[[ChannelAddresses], bool],
) -> FailedEnd:
    """`others` are the outcomes of the channel's other devices, None for one that is still tried.

    With policy `all` every channel was used at once and nothing remains to fall back to.
    """
    if policy == "all" or now > valid_until or any(outcome is None or outcome in REACHED for outcome in others):
        return DEAD
    for position, candidate in enumerate(rest):
        if candidate.devices and usable(candidate):
            return FailedEnd("FELL_BACK", candidate.channel, position + 1)
    return DEAD
