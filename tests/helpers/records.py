"""What the tests of the truth append by hand: records as decide, transactional and deliver write them (TOPICS.md)."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, TopicSpec
from state.model.keys import key_group, partition_of_group

PARTITIONS = 4
TOPICS = [
    *(TopicSpec(name, PARTITIONS) for name in ("inbox", "ledger", "outcomes", "dead_letters", "work", "events.p0")),
    TopicSpec("preferences", PARTITIONS, compacted=True),
    *(TopicSpec(name, 1, compacted=True) for name in ("control", "schedule", "campaigns")),
]


def now_ms() -> int:
    """The log's clock."""
    return time.time_ns() // 1_000_000


def open_embedded(directory: Path) -> EmbeddedLog:
    """The embedded log of a data directory, with the topics these tests use."""
    log = EmbeddedLog(directory, clock=now_ms)
    log.ensure_topics(TOPICS)
    return log


def record(
    topic: str, schema: str, value: Mapping[str, Any], *, group: int, seq: tuple[str, int, int] | None = None
) -> NewRecord:
    """A record for the partition of a key group; `seq` is (source, offset, ordinal)."""
    headers: tuple[tuple[str, bytes], ...] = (("schema", schema.encode()),)
    if seq is not None:
        headers += (("seq", f"{seq[0]}:{group}:{seq[1]}:{seq[2]}".encode()),)
    return NewRecord(topic, partition_of_group(group, PARTITIONS), b"%d" % group, orjson.dumps(value), headers)


def inbox_add(user: str, number: int, *, source: str = "d", kind: str = "reply", actor: str = "a") -> NewRecord:
    """An item for a user's inbox, by the work record `number`."""
    value = {
        "op": "add",
        "user": user,
        "type": kind,
        "object": "o",
        "windowed": kind == "like",
        "event_id": f"e{number}",
        "actor": actor,
        "at": number,
        "place": number,
        "priority": "P1",
        "payload": {"n": number},
    }
    return record("inbox", "inbox/1+json", value, group=key_group(user), seq=(source, number, 0))


def decision(user: str, event: str, outcome: str, seq: tuple[str, int, int], **fields: Any) -> NewRecord:
    """A decision as decide writes it; `decided_at` is the work offset times 1000 unless given."""
    value: dict[str, Any] = {
        "kind": "decision",
        "event_id": event,
        "user": user,
        "outcome": outcome,
        "reason": None,
        "inbox": False,
        "emission_id": None,
        "channels": [],
        "decided_at": seq[1] * 1000,
        "until": None,
        "cap_hour": None,
        "cap_day": None,
        "type": "like",
        "priority": "P1",
        "sender_id": "app",
        "actor": "bob",
        "object": "photo",
        "ingested_at": seq[1] * 1000,
        "group": "closed",
        "preference_version": -1,
        "endpoint_version": -1,
        "control_version": -1,
        "registry_version": 1,
        "tzdata_version": "2025b",
        "follower_age_ms": None,
    }
    return record("ledger", "decision/1+json", value | fields, group=key_group(user), seq=seq)


def emission(user: str, emission_id: str, event: str, deliveries: int, seq: tuple[str, int, int]) -> NewRecord:
    """An emission as decide writes it."""
    value = {
        "kind": "emission",
        "emission_id": emission_id,
        "first_event_id": event,
        "user": user,
        "type": "like",
        "object": "photo",
        "count": 1,
        "actors": ["bob"],
        "channels": ["push"],
        "decided_at": seq[1] * 1000,
        "deliveries": deliveries,
    }
    return record("ledger", "emission/1+json", value, group=key_group(user), seq=seq)


def delivery(user: str, emission_id: str, device: str, outcome: str, at: int, **fields: Any) -> NewRecord:
    """A delivery as deliver writes it."""
    value = {
        "kind": "delivery",
        "emission_id": emission_id,
        "user": user,
        "channel": "push",
        "device": device,
        "outcome": outcome,
        "reason": None,
        "at": at,
        "first_event_id": "e0",
        "type": "like",
        "provider": "apns",
        "provider_id": "x1",
        "fell_back_to": None,
        "attempts": [{"provider": "apns", "at": at, "answer": "200"}],
    }
    return record("ledger", "delivery/1+json", value | fields, group=key_group(user))


def counts(owner: str, group: int, offset: int, *, seq: tuple[str, int, int] | None = None, **totals: int) -> NewRecord:
    """Counts of an owner for a group."""
    value = {"kind": "counts", "owner": owner, "group": group, "offset": offset, **totals}
    return record("ledger", "counts/1+json", value, group=group, seq=seq)
