"""RULES 1: what an event is once defaults and class rules are applied."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from reference.registry import Types, TypeSpec


@dataclass(slots=True, eq=False)
class Event:
    """An accepted event; `ingested_at` and `place` are set when it takes its place in the log."""

    event_id: str
    key: str | None
    type: str
    cls: str
    actor: str | None
    target: str | None
    fan_out_type: str
    object: str | None
    segment: str | None
    payload: Any
    ttl: int
    deliver_at: int | None
    to: dict[str, str]
    sender: str | None
    retracts: bool
    parent: str | None
    slot: bool
    accepted_at: int
    types: Types
    rollout: Any
    stretch: range | None = None
    """Of a part of a rollout: the hashes that it goes to."""
    ingested_at: int = -1
    place: int = -1

    @property
    def spec(self) -> TypeSpec:
        """What the registry says of its type now; class, ttl and `to` are those of its acceptance (RULES 7)."""
        return self.types.of(self.type)


def parse_event(record: dict[str, Any], types: Types) -> Event:
    """The event of a simulation record, with every default filled in."""
    spec = types.of(record["type"])
    cls = class_of(spec, record.get("priority"))
    fan_out = _or(record.get("fan_out_type"), "DIRECT")
    return Event(
        event_id=record["event_id"],
        key=record.get("idempotency_key"),
        type=record["type"],
        cls=cls,
        actor=record.get("actor"),
        target=record.get("target"),
        fan_out_type=fan_out,
        object=record.get("object"),
        segment=record.get("segment"),
        payload=record.get("payload"),
        ttl=_or(record.get("ttl_ms"), spec.ttl),
        deliver_at=record.get("deliver_at"),
        to=allowed_to(record.get("to"), spec, cls, fan_out),
        sender=record.get("sender_id"),
        retracts=bool(record.get("retracts")),
        parent=record.get("parent_event_id"),
        slot=bool(record.get("slot")),
        accepted_at=record["ts"],
        types=types,
        rollout=None if fan_out == "DIRECT" or record.get("retracts") else record.get("rollout"),
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def class_of(spec: TypeSpec, asked: str | None) -> str:
    """RULES 1, priority: pinned is P0 whatever was asked; more urgent than the type's is lowered to it."""
    if spec.pinned:
        return "P0"
    return spec.cls if asked is None else max(asked, spec.cls)


def allowed_to(to: Any, spec: TypeSpec, cls: str, fan_out: str) -> dict[str, str]:
    """RULES 1, `to`: the channels it names, in the type's order; empty when absent or not allowed."""
    if not isinstance(to, dict) or cls != "P0" or fan_out != "DIRECT":
        return {}
    named = {channel: address for channel, address in to.items() if address is not None}
    offered = spec.channels + spec.only_by_to
    if any(channel not in offered for channel in named):
        return {}
    return {channel: named[channel] for channel in offered if channel in named}


def content_of(event: Event) -> str:
    """RULES 1, repeats: the content that two keyless events are compared by."""
    fields = {
        "retracts": event.retracts,
        "parent_event_id": event.parent,
        "deliver_at": event.deliver_at,
        "ttl_ms": event.ttl,
        "class": event.cls,
        "payload": event.payload,
    }
    return canonical(fields)


def canonical(value: Any) -> str:
    """Equal for two values exactly when their RFC 8785 JSON is: numbers are doubles, keys are sorted."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(canonical(element) for element in value) + "]"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value)
    return repr(float(value) + 0.0)
