"""An event's way from its recipients to deliveries, with every loss by its name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from state.model.ledger import EventCounts

_SENT = ("EMITTED", "MERGED")
UNDER_WAY = "under way"


class Loss(NamedTuple):
    """Who is not in the next bar."""

    outcome: str
    """Of the decision or delivery, or `UNDER_WAY`."""
    reason: str | None
    number: int


class FunnelStep(NamedTuple):
    """A bar of the picture."""

    name: str
    number: int
    share: float
    """Of the longest bar."""
    lost: tuple[Loss, ...] = ()
    """Together with the next bar they are this one, except where people become messages."""


def funnel(counts: EventCounts) -> tuple[FunnelStep, ...]:
    """Recipients, those whom something was sent for, deliveries handed out, those that a provider took."""
    recipients = sum(counts.outcomes.values())
    notified = sum(counts.outcomes.get(name, 0) for name in _SENT)
    ended, taken = sum(counts.deliveries.values()), counts.deliveries.get("DELIVERED", 0)
    # one that ended before its emission is archived was handed out all the same
    handed_out = max(ended, counts.handed_out + counts.deliveries.get("FELL_BACK", 0))
    most = max(recipients, handed_out, 1)
    unsent = (Loss(*key, number) for key, number in counts.why.items() if key[0] not in _SENT)
    failed = (Loss(*key, number) for key, number in counts.why_ended.items() if key[0] != "DELIVERED")
    return (
        FunnelStep("recipients", recipients, recipients / most, _sorted(unsent)),
        FunnelStep("in a notification", notified, notified / most),
        FunnelStep(
            "messages handed out", handed_out, handed_out / most,
            _sorted([*failed, Loss(UNDER_WAY, None, handed_out - ended)]),
        ),
        FunnelStep("taken by a provider", taken, taken / most),
    )  # fmt: skip


def _sorted(losses: Iterable[Loss]) -> tuple[Loss, ...]:
    return tuple(sorted((loss for loss in losses if loss.number), key=lambda loss: -loss.number))
