"""What is heard of a notification after it was sent (topic `outcomes`, TOPICS.md): receipts, bounces and feedback.

Providers repeat themselves, come late and in any order. So each outcome answers a question, and of each question about
one delivery or item the first answer on the log holds: counts are exact whatever comes twice.
"""

from typing import Final

import msgspec

from state.model.schema import Schema

DELIVERED: Final = "delivered"
UNDELIVERED: Final = "undelivered"
"""It was sent on, and did not arrive."""
FAILED: Final = "failed"
"""It was never sent on."""
BOUNCED: Final = "bounced"
SOFT_BOUNCED: Final = "soft_bounced"
COMPLAINED: Final = "complained"
OPENED: Final = "opened"
CLICKED: Final = "clicked"
WITHDRAWN: Final = "withdrawn"
"""Its sender took it back, and the provider took the message that removes it from the screen."""
_RECEIPT: Final = "receipt"
_RECEIPTS: Final = (DELIVERED, UNDELIVERED, FAILED)


def question_of(outcome: str) -> str:
    """What it answers: whether it arrived has one answer, of three. Every other outcome answers for itself."""
    return _RECEIPT if outcome in _RECEIPTS else outcome


class Outcome(msgspec.Struct, kw_only=True, frozen=True, tag_field="kind", tag="outcome"):
    """One thing heard; no address, no content. A receipt names a delivery, feedback may name an event instead."""

    user: str
    event_id: str | None = None
    """Of feedback: the event whose item it is about."""
    first_event_id: str | None = None
    """Of a delivery: the event that began its emission, where it is known."""
    emission_id: str | None = None
    channel: str
    device: str | None = None
    outcome: str
    """One of the names above."""
    question: str
    """`question_of` the outcome."""
    reason: str | None = None
    """The provider's code."""
    provider: str | None = None
    provider_id: str | None = None
    at: int
    """When it was heard, in ms UTC."""


OUTCOME = Schema("outcome", Outcome)
