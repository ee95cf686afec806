"""The address to which mailbox providers send what readers complain of (feedback loops, RFC 5965).

It is named to them once, so nothing in it is signed and anybody may write there. So what is taken in an hour has a
bound of its own, and nothing counts but a complaint about a mail that bears a signature of ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from state.model.addresses import mailbox

_HOUR_S = timedelta(hours=1).total_seconds()


@dataclass(frozen=True, slots=True)
class FeedbackOptions:
    """What `carillon mail intake --listen` takes besides bounces."""

    feedback_address: str = ""
    """The address that you gave to mailbox providers for their feedback loops, as fbl@example.com. Default: none."""
    feedback_per_h: int = 1_000
    """So many mails to it are taken within any hour; who sends more is to come again later. Default: 1 000."""

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        if self.feedback_address and mailbox(self.feedback_address) is None:
            yield "mail.feedback_address: not a plain mail address"
        if self.feedback_per_h < 1:
            yield "mail.feedback_per_h: must be 1 or more"


class FeedbackLoop:
    """The address and what came to it; for one event loop."""

    def __init__(self, options: FeedbackOptions, clock_s: Callable[[], float]) -> None:
        """The clock never steps back."""
        self._options, self._clock_s = options, clock_s
        self._taken = deque[float]()

    def is_it(self, address: str) -> bool:
        """Whether mail to this address is feedback."""
        own = self._options.feedback_address
        return bool(own) and address.lower() == own.lower()

    @property
    def has_room(self) -> bool:
        """Whether one more may be taken now."""
        while self._taken and self._taken[0] <= self._clock_s() - _HOUR_S:
            self._taken.popleft()
        return len(self._taken) < self._options.feedback_per_h

    def took(self) -> None:
        """One more was."""
        self._taken.append(self._clock_s())
