"""What the tests of the truth append by hand: records as decide, transactional and deliver write them (TOPICS.md)."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from connectors.log.embedded import EmbeddedLog
from connectors.log.interface import NewRecord, TopicSpec
from state.model.keys import key_group, partition_of_group

PARTITIONS = 4
TOPICS = [TopicSpec(name, PARTITIONS) for name in ("inbox", "ledger", "dead_letters", "work")]


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
