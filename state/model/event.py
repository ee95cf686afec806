"""The event (RULES 1) as every part of the system passes it on.

`Event` is the *resolved* form: defaults and class rules of the registry are applied (`resolve`), so `priority` is the
event's class. On the wire it is the JSON object of its fields; a missing key is that field's default.
"""

from itertools import pairwise
from typing import Annotated, Any

import msgspec

from state.model.registry import Registry, TypeProfile
from state.model.schema import Schema

SCHEMA_VERSION = 1


SafeInt = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
"""What columns and stores can hold and every JSON reader reads alike; sums of two are safe."""


class TextDraft(msgspec.Struct, frozen=True):
    """Texts that somebody is sent for trying, whatever is published: by one channel, in one locale (RULES 3.C)."""

    channel: str
    locale: str
    texts: dict[str, str | list[str]]
    """By form, with their parts put in."""


class RolloutPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a fan-out goes in parts, in the order of its recipients' hashes (RULES 1)."""

    stages: list[int]
    """Rising percents of the recipients; the last is 100."""
    hold_ms: SafeInt | None = None
    """How long after a stage the next one goes by itself; None: only when it is told to."""
    spread_ms: SafeInt | None = None
    """How long all of it takes at least, percent by percent; None: each stage goes at once."""

    def __post_init__(self) -> None:
        ends = [0, *self.stages]
        if len(ends) == 1 or ends[-1] != 100 or any(end <= begin for begin, end in pairwise(ends)):
            raise ValueError("stages must be rising percents up to 100, such as [1, 10, 100]")


class RolloutPart(msgspec.Struct, frozen=True):
    """One part of a fan-out: the recipients from `begin` to before `end`, in percent of all hashes."""

    id: str
    """The same however often it is released, so that it counts once."""
    begin: int
    end: int


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """One event. Times are integer milliseconds UTC; `ttl_ms` is relative to `ingested_at`."""

    event_id: str
    type: str
    priority: str = ""
    fan_out_type: str = "DIRECT"
    sender_id: str = ""
    actor: str | None = None
    target: str | None = None
    object: str | None = None
    segment: str | None = None
    payload: dict[str, Any] | None = None
    ttl_ms: SafeInt = -1
    idempotency_key: str | None = None
    created_at: SafeInt | None = None
    deliver_at: SafeInt | None = None
    to: dict[str, str | None] | None = None
    ingested_at: SafeInt = 0
    schema_version: int = SCHEMA_VERSION
    retracts: bool = False
    parent_event_id: str | None = None
    recipients: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Of a campaign's chunk: its audience, in place of a segment's. Only sequence sees it."""
    slot: bool | msgspec.UnsetType = msgspec.UNSET
    """Whether its campaign has an approved dedicated slot (RULES 3.D)."""
    draft: TextDraft | msgspec.UnsetType = msgspec.UNSET
    """Of a test of texts."""
    rollout: RolloutPlan | msgspec.UnsetType = msgspec.UNSET
    """Of a fan-out that goes in parts; its parts do not have it."""
    part: RolloutPart | msgspec.UnsetType = msgspec.UNSET
    """Which part this is."""
    ahead_ms: SafeInt | msgspec.UnsetType = msgspec.UNSET
    """By how much the time of decisions was ahead of the machine's clock when it came in; only sequence sets it."""

    @property
    def in_time_until(self) -> int:
        """By the time of decisions, and if it never waits for anybody."""
        return self.ingested_at + (0 if self.ahead_ms is msgspec.UNSET else self.ahead_ms) + self.ttl_ms


class RawEvent(msgspec.Struct, kw_only=True):
    """An event as it was sent: every field but `type` and `event_id` may be absent or null."""

    event_id: str
    type: str
    priority: str | None = None
    fan_out_type: str | None = None
    sender_id: str | None = None
    actor: str | None = None
    target: str | None = None
    object: str | None = None
    segment: str | None = None
    payload: dict[str, Any] | None = None
    ttl_ms: int | None = None
    idempotency_key: str | None = None
    created_at: int | None = None
    deliver_at: int | None = None
    to: dict[str, str | None] | None = None
    ingested_at: int | None = None
    schema_version: int | None = None
    retracts: bool | None = None
    parent_event_id: str | None = None
    slot: bool | None = None
    """No gateway takes it from a sender: it is of campaigns."""
    rollout: RolloutPlan | None = None


EVENT = Schema("event", Event)


def event_key(event: Event) -> str:
    """What places an event: its target if it is DIRECT, the segment if it is for one, else its actor. Where it has none
    of these, its own id.
    """
    who = {"DIRECT": event.target, "SEGMENT": event.segment}.get(event.fan_out_type, event.actor)
    return who or event.event_id


def release_id(event: Event) -> str:
    """What counts once: an event, or a part of one."""
    return event.event_id if event.part is msgspec.UNSET else event.part.id


def event_class(asked: str | None, profile: TypeProfile) -> str:
    """RULES 1: a pinned type is P0; otherwise the class asked for, but never more urgent than the type's."""
    if profile.pinned:
        return "P0"
    if asked not in ("P0", "P1", "P2"):
        return profile.klass
    return max(asked, profile.klass)


def allowed_addresses(
    to: dict[str, str | None] | None, fan_out: str, klass: str, profile: TypeProfile
) -> dict[str, str | None] | None:
    """`to` where RULES 1 allows it, else None: class P0 and DIRECT, offered channels only; a null names no channel."""
    if not to:
        return None
    named: dict[str, str | None] = {channel: address for channel, address in to.items() if address is not None}
    if not named or klass != "P0" or fan_out != "DIRECT" or any(channel not in profile.channels for channel in named):
        return None
    return named


def resolve(raw: RawEvent, registry: Registry, *, ingested_at: int) -> Event:
    """Defaults and class rules of RULES 1 for an event that reaches the log, by whichever way."""
    profile = registry.profile(raw.type)
    klass = event_class(raw.priority, profile)
    fan_out = raw.fan_out_type or "DIRECT"
    event = Event(  # more than 15 names in one call, and Python makes a dictionary first: 0.7 us
        event_id=raw.event_id,
        type=raw.type,
        priority=klass,
        fan_out_type=fan_out,
        sender_id=raw.sender_id or "",
        actor=raw.actor,
        target=raw.target,
        object=raw.object,
        segment=raw.segment,
        payload=raw.payload,
        ttl_ms=profile.ttl_ms if raw.ttl_ms is None else raw.ttl_ms,
        idempotency_key=raw.idempotency_key,
        created_at=raw.created_at,
        deliver_at=raw.deliver_at,
        ingested_at=ingested_at,
    )
    rare = raw.to or raw.schema_version or raw.retracts or raw.slot or raw.rollout
    if not rare and raw.parent_event_id is None:
        return event
    return msgspec.structs.replace(
        event,
        to=allowed_addresses(raw.to, fan_out, klass, profile),
        schema_version=raw.schema_version or SCHEMA_VERSION,
        retracts=bool(raw.retracts),
        parent_event_id=raw.parent_event_id,
        slot=raw.slot or msgspec.UNSET,
        rollout=msgspec.UNSET if raw.rollout is None or fan_out == "DIRECT" or raw.retracts else raw.rollout,
    )
