"""The fold of topic `attempts`: what is known of each delivery, and what a restart does with it (RULES 4; DECISIONS,
Intent before the first byte).

Pure. A delivery is untouched, open (an intent without an answer), answered, or over: `sent`, or `closed` with an
outcome. An intent without an answer at a restart is the only ambiguity: the provider may have taken the message. P0
sends it again with the same provider-side id, P1 and P2 end as UNKNOWN.
"""

from typing import Literal

from msgspec import Struct

from operators.retry import BUDGETS
from state.model.delivery import Attempt
from state.model.ledger import AttemptMade

DELIVERED, UNKNOWN = "DELIVERED", "UNKNOWN"
INTERRUPTED = "interrupted"
"""Reason of UNKNOWN: the process ended between the send and the answer."""


class DeliveryHistory(Struct):
    """What `attempts` says of one delivery key."""

    made: list[AttemptMade] = []
    attempts: int = 0
    tries: int = 0
    """Of the attempts, those that count against the budget: since the provider was changed because it was spent."""
    first_at: int = 0
    """When the first of the tries was made."""
    open: bool = False
    retry_at: int | None = None
    gone_at: int | None = None
    """As of when the provider called the address dead."""
    provider: str | None = None
    """The last that was tried, or that goes on."""
    moved_to: str | None = None
    """The provider to which it was handed on last: those before it gave up."""
    provider_id: str | None = None
    outcome: str | None = None
    reason: str | None = None
    fell_back_to: str | None = None
    ended_at: int = 0
    segments: int | None = None
    cost: float | None = None
    """Of a text message that was taken."""
    variant: str | None = None
    """Of the text that the last try said."""

    def apply(self, record: Attempt) -> None:
        """The next record of this key, in log order."""
        if record.state == "intent":
            self._intent(record)
        elif record.state == "answer":
            self._answer(record)
        elif record.state == "closed" and self.outcome is None:
            self.open = False
            self.outcome, self.reason, self.fell_back_to = record.outcome, record.reason, record.fell_back_to
            self.ended_at = record.at

    def _intent(self, record: Attempt) -> None:
        if record.attempt > self.attempts:
            self.tries += record.attempt - self.attempts
            self.attempts = record.attempt
        self.first_at = self.first_at or record.at
        self.provider, self.provider_id, self.variant = record.provider, record.provider_id, record.variant
        self.open = True
        self.made.append(AttemptMade(record.provider, record.at, None))

    def _answer(self, record: Attempt) -> None:
        self.open = False
        self.retry_at = record.retry_at
        self.gone_at = record.gone_at if record.gone_at is not None else self.gone_at
        if self.made:
            self.made[-1] = AttemptMade(self.made[-1].provider, self.made[-1].at, answer_text(record))
        if record.moved_to is not None:
            self.provider = self.moved_to = record.moved_to
            self.tries, self.first_at, self.provider_id = 0, 0, None
        if record.result == "sent" and self.outcome is None:
            self.outcome, self.ended_at = DELIVERED, record.at
            self.segments, self.cost = record.segments, record.cost


def answer_text(record: Attempt) -> str:
    """An answer as the ledger tells it: the result and, where there is one, the detail."""
    return f"{record.result}: {record.detail}" if record.detail else str(record.result)


Resume = Literal["over", "unknown", "send", "wait", "spent"]


def resume(history: DeliveryHistory | None, priority: str) -> Resume:
    """What a sender that starts does with a delivery.

    `over`: its outcome is known; `unknown`: it ends as UNKNOWN; `send`: it is sent, a P0 with an open intent again with
    the same provider-side id; `wait`: a retry was planned, at `history.retry_at`; `spent`: a P0 with an open intent
    that has used up its budget: a try that ended with its process was one.
    """
    if history is None:
        return "send"
    if history.outcome is not None:
        return "over"
    if history.open:
        if priority != "P0":
            return "unknown"
        return "send" if history.tries <= BUDGETS[priority].retries else "spent"
    return "wait" if history.retry_at is not None else "send"
