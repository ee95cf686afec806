"""Which events were accepted before (RULES 1, "Repeats"): the store behind the gateway's answers 200 and 409.

Two implementations keep one set of laws (`tests/connectors/admission`): `connectors.admission.rocksdb` for one gateway
process, and `connectors.admission.redis`, which several share. Neither is the last word: the flow behind makes the
whole check again in log order, so a store that is lost or down costs answers, never events.

States: an event is PENDING from `reserve` on and COMMITTED after `commit`, which the gateway calls once the log
acknowledged the append. A repeat on PENDING must append again with the same event_id.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal, NamedTuple, Protocol

from state.model.admission import RepeatCheck


class ReserveOutcome(Enum):
    """What became of a claim."""

    NEW = "new"
    REPEAT = "repeat"
    CONFLICT = "conflict"


RepeatReason = Literal["event_id", "key", "content"]


class Reservation(NamedTuple):
    """The answer to one claim."""

    outcome: ReserveOutcome
    event_id: str
    """Of the original; for NEW the claim's own."""
    committed: bool
    """Whether the log has acknowledged it; a REPEAT without it appends again under this event_id."""
    reason: RepeatReason | None = None
    """What it repeats or contradicts the original by; None for NEW."""
    until_ms: int = 0
    """First instant at which that no longer counts; 0 for NEW."""


class Known(NamedTuple):
    """What the store remembers of an accepted event."""

    event_id: str
    sender_id: str
    committed: bool
    kept_until_ms: int
    """When it is released, for an event kept for later; else 0."""
    fan_out_type: str
    """Whom it reaches; empty where an earlier version remembered it."""


class AdmissionStore(Protocol):
    """See the module. Every method may raise `StoreUnavailableError`, within the store's deadline."""

    async def reserve(self, claims: Sequence[RepeatCheck], now_ms: int, missed_ms: int = 0) -> list[Reservation]:
        """Check and set each claim atomically, in this order (later ones see earlier ones); NEW becomes PENDING.

        `missed_ms`: until then events were accepted that the store does not know. So what was accepted up to then may
        not be the latest of its kind any more, and nothing repeats it by content; all who share the store hear of it.
        """
        ...

    async def look(self, claims: Sequence[RepeatCheck], now_ms: int, missed_ms: int = 0) -> list[Reservation]:
        """What `reserve` would say to each if it were the only one; nothing is set."""
        ...

    async def commit(self, event_ids: Sequence[str]) -> None:
        """Mark as COMMITTED; ids that are not known are passed over."""
        ...

    async def known(self, event_id: str, now_ms: int) -> Known | None:
        """Give what is remembered of an event, None if nothing is (any more)."""
        ...

    async def forget(self, event_id: str) -> None:
        """Free the event_id and its key, or its place as the latest of its kind (a cancelled event)."""
        ...

    async def close(self) -> None:
        """Free it."""
        ...
