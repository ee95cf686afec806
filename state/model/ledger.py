"""The records of the ledger (RULES 5, TOPICS.md): decisions, emissions, deliveries, and running totals.

Their field `kind` says which of them it is. Times are in ms UTC. `state.ledger` says how they become columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.schema import Schema

TERMINAL_DECISIONS = ("EMITTED", "MERGED", "INBOX", "SUPPRESSED", "EXPIRED", "SHED")
TERMINAL_DELIVERIES = ("DELIVERED", "DEAD_LETTER", "EXPIRED", "SUPPRESSED", "SHED", "FELL_BACK", "UNKNOWN")


class Decision(msgspec.Struct, kw_only=True, tag_field="kind", tag="decision"):
    """The last change of outcome for one (event, user); `cap_*` are counted emissions before."""

    event_id: str
    user: str
    outcome: str
    reason: str | None = None
    inbox: bool = False
    emission_id: str | None = None
    channels: list[str] = []
    decided_at: int
    until: int | None = None
    cap_hour: int | None = None
    cap_day: int | None = None
    type: str = ""
    priority: str = ""
    sender_id: str = ""
    actor: str | None = None
    object: str | None = None
    ingested_at: int = 0
    group: str | None = None
    preference_version: int = -1
    endpoint_version: int = -1
    control_version: int = -1
    registry_version: int = 0
    tzdata_version: str = ""
    follower_age_ms: int | None = None


class EmissionRecord(msgspec.Struct, kw_only=True, frozen=True, tag_field="kind", tag="emission"):
    """One notification: no address, no content."""

    emission_id: str
    first_event_id: str
    user: str
    type: str
    object: str | None
    count: int
    actors: list[str]
    channels: list[str]
    decided_at: int
    deliveries: int
    """Pairs of a channel and a device."""


class AttemptMade(msgspec.Struct, frozen=True):
    """One attempt as the ledger tells it; `answer` is null where none came."""

    provider: str | None
    at: int
    answer: str | None


class DeliveryRecord(msgspec.Struct, kw_only=True, frozen=True, tag_field="kind", tag="delivery"):
    """The one terminal record of (emission, channel, device)."""

    emission_id: str
    user: str
    channel: str
    device: str
    outcome: str
    reason: str | None
    at: int
    first_event_id: str
    type: str
    provider: str | None
    provider_id: str | None
    fell_back_to: str | None
    attempts: list[AttemptMade]
    segments: int | UnsetType = UNSET
    """The parts of a text message that a provider took; of everything else it is left out."""
    cost: float | UnsetType = UNSET
    """What these parts cost, by the prices of `[sms]` when they went."""
    variant: str | UnsetType = UNSET
    """The variant of the text that the last try said; left out where it had none."""


class CountsRecord(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, tag_field="kind", tag="counts"):
    """The running totals of an owner for a key group, as of an offset (TOPICS.md, "Laws"). A term that is left out is
    none of this owner's.
    """

    owner: Literal["decide", "transactional", "deliver", "inbox"]
    group: int
    offset: int
    offset_transactional: int | None = None
    resolved: int | None = None
    held: int | None = None
    aggregating: int | None = None
    emitted: int | None = None
    inbox_items: int | None = None
    accepted: int | None = None
    fallbacks: int | None = None
    in_flight: int | None = None
    items: int | None = None
    added: int | None = None
    taken_back: int | None = None
    retired: int | None = None
    at: int | None = None


DECISION = Schema("decision", Decision)
EMISSION = Schema("emission", EmissionRecord)
DELIVERY = Schema("delivery", DeliveryRecord)
COUNTS = Schema("counts", CountsRecord)
LedgerRecord = Decision | EmissionRecord | DeliveryRecord | CountsRecord
"""What topic `ledger` holds as single records."""
_decode = msgspec.json.Decoder(LedgerRecord).decode


def decode_ledger(value: bytes) -> LedgerRecord:
    """:raises MalformedRecordError: naming the field that does not fit."""
    try:
        record: LedgerRecord = _decode(value)
    except UNDECODABLE as error:
        raise MalformedRecordError(f"ledger: {error}") from error
    return record


@dataclass(frozen=True, slots=True)
class EventCounts:
    """What the ledger holds of an event."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Recipients by the outcome of their decision."""
    handed_out: int = 0
    """Deliveries that the decisions led to, without fallbacks."""
    deliveries: Mapping[str, int] = field(default_factory=dict)
    """Those that have ended, fallbacks too, by outcome."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Of recipients who were suppressed; counted for campaigns alone."""
    why: Mapping[tuple[str, str | None], int] = field(default_factory=dict)
    """Recipients by outcome and reason; counted for one event alone, as the next."""
    why_ended: Mapping[tuple[str, str | None], int] = field(default_factory=dict)
    """Deliveries that have ended, by outcome and reason."""
    heard: Mapping[str, int] = field(default_factory=dict)
    """What providers and people said afterwards, by outcome."""
    variants: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By variant of the text, notifications that were `sent` and of which something was heard; of campaigns alone."""
    groups: int = 0
    """Key groups in which somebody was decided."""
    segments: int = 0
    """Parts of text messages that providers took."""
    cost: float = 0.0
    """What these parts cost, by the prices of `[sms]` when they went."""
    planned: int | None = None
    """Key groups that a fan-out has slices for; None: it is none, or the log does not say (any more)."""
