"""What the live view knows: the ledger and the inbox operations of a running system, read from their topics' tails.

It reads as any consumer could and changes nothing. Payloads, codes and addresses are never kept: a line names people,
types and objects only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
import pyarrow

from connectors.log.interface import Log, Record

CHANNELS = ("push", "sms", "email", "in_app")
_KEPT_MAX = 50_000
_SAMPLES_MAX = 2_000
_LINES_MAX = 8
_BATCH_MAX = 2_000
_PROMPT_MS = 5_000
_VERBS = {
    "like": "liked", "follow": "follows", "comment": "commented on", "reply": "replied in", "share": "shared",
    "mention": "mentioned you in", "new_post": "posted", "announcement": "announces", "newsletter": "newsletter",
    "reminder": "reminds of", "digest": "digest",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LiveLine:
    """Something a person may read: what happened for whom."""

    kind: str
    """push, sms, email, in_app or suppressed."""
    user: str
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One delivery: when its event was accepted and when a provider took it, milliseconds UTC."""

    accepted: int
    delivered: int

    @property
    def latency_ms(self) -> int:
        """From acceptance to the provider's answer."""
        return self.delivered - self.accepted


@dataclass(slots=True)
class LiveState:
    """Everything read so far, bounded."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Decisions by their present outcome: a held one that is emitted moves."""
    reasons: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(channel, outcome) of deliveries."""
    inbox_items: int = 0
    latest: dict[str, deque[LiveLine]] = field(
        default_factory=lambda: {kind: deque(maxlen=_LINES_MAX) for kind in (*CHANNELS, "suppressed")}
    )
    fresh: deque[LiveLine] = field(default_factory=lambda: deque(maxlen=500))
    """Lines since somebody last took them."""
    urgent: deque[Sample] = field(default_factory=lambda: deque(maxlen=_SAMPLES_MAX))
    """Deliveries of P0."""
    ordinary: deque[Sample] = field(default_factory=lambda: deque(maxlen=_SAMPLES_MAX))
    """Deliveries of P1 and P2 that no window, hold or digest delayed on purpose."""
    _decisions: OrderedDict[tuple[str, str], str] = field(default_factory=OrderedDict)
    _accepted: OrderedDict[str, tuple[int, str]] = field(default_factory=OrderedDict)
    _told: OrderedDict[tuple[str, str], bool] = field(default_factory=OrderedDict)
    _emissions: OrderedDict[str, Mapping[str, Any]] = field(default_factory=OrderedDict)

    def take(self, records: Sequence[Record]) -> None:
        """Take records of the topics `ledger` and `inbox`."""
        for record in records:
            for row in rows_of(record):
                if record.topic == "inbox":
                    self._inbox(row)
                else:
                    self._ledger(row)

    def _ledger(self, row: Mapping[str, Any]) -> None:
        match row.get("kind"):
            case "decision":
                self._decision(row)
            case "emission":
                _keep(self._emissions, row["emission_id"], row)
            case "delivery":
                self._delivery(row)

    def _inbox(self, row: Mapping[str, Any]) -> None:
        if row.get("op") != "add":
            return
        self.inbox_items += 1
        self._say(
            "in_app", row["user"], phrase(row["type"], [row["actor"]] if row.get("actor") else [], 1, row.get("object"))
        )

    def _decision(self, row: Mapping[str, Any]) -> None:
        key = (row["event_id"], row["user"])
        former = self._decisions.pop(key, None)
        if former is not None:
            self.outcomes[former] -= 1
        _keep(self._decisions, key, row["outcome"])
        _keep(self._accepted, row["event_id"], (row["ingested_at"], row["priority"]))
        self.outcomes[row["outcome"]] += 1
        if row["outcome"] == "SUPPRESSED":
            self.reasons[row["reason"]] += 1
            self._say("suppressed", row["user"], f"{row['type']} ({row['reason']})")

    def _delivery(self, row: Mapping[str, Any]) -> None:
        channel = row["channel"]
        self.deliveries[(channel, row["outcome"])] += 1
        emission = self._emissions.get(row["emission_id"])
        if row["outcome"] != "DELIVERED":
            return
        if (row["emission_id"], channel) not in self._told:  # once, however many devices
            _keep(self._told, (row["emission_id"], channel), True)
            said = emission or {"actors": [], "count": 1, "object": None}
            self._say(channel, row["user"], phrase(row["type"], said["actors"], said["count"], said["object"]))
        accepted, priority = self._accepted.get(row["first_event_id"], (None, ""))
        if accepted is None:
            return
        if priority == "P0":
            self.urgent.append(Sample(accepted, row["at"]))
        elif emission is not None and emission["decided_at"] - accepted < _PROMPT_MS:
            self.ordinary.append(Sample(accepted, row["at"]))

    def _say(self, kind: str, user: str, text: str) -> None:
        line = LiveLine(kind, user, text)
        if kind in self.latest:
            self.latest[kind].append(line)
        self.fresh.append(line)

    def take_fresh(self) -> list[LiveLine]:
        """The lines since the last call."""
        lines = list(self.fresh)
        self.fresh.clear()
        return lines

    def overtaken(self, urgent: Sample) -> int:
        """How many ordinary deliveries were accepted before this urgent one and sent after it."""
        return sum(
            sample.accepted < urgent.accepted and sample.delivered > urgent.delivered for sample in self.ordinary
        )


def _keep(table: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    table[key] = value
    if len(table) > _KEPT_MAX:
        table.popitem(last=False)


def rows_of(record: Record) -> list[dict[str, Any]]:
    """The rows of a record: one of JSON, many of an Arrow stream."""
    schema = dict(record.headers).get("schema", b"")
    if schema.endswith(b"+arrow"):
        with pyarrow.ipc.open_stream(record.value) as stream:
            return list(stream.read_all().to_pylist())
    return [orjson.loads(record.value)]


def phrase(type_name: str, actors: Sequence[str], count: int, object_id: str | None) -> str:
    """A notification in a few words, without its content."""
    who = actors[0] if actors else ""
    if len(actors) > 1:
        who += f" and {len(actors) - 1 if count <= len(actors) else count - 1} more"
    return " ".join(filter(None, (who, _VERBS.get(type_name, type_name), object_id)))


def percentile(samples: Sequence[Sample], share: float) -> int | None:
    """The latency in milliseconds that `share` of the samples do not exceed; None without samples."""
    if not samples:
        return None
    ordered = sorted(sample.latency_ms for sample in samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Tail:
    """Reads `ledger` and `inbox` from their present end on."""

    def __init__(self, log: Log) -> None:
        """`log` stays the caller's to close, after `close`."""
        places = [(topic, partition) for topic in ("ledger", "inbox") for partition in range(log.partitions(topic))]
        self._reader = log.reader({place: log.end_offset(*place) for place in places})
        self.seen = LiveState()

    def step(self, wait: timedelta) -> None:
        """Take what has come, waiting up to `wait` for something."""
        self.seen.take(self._reader.poll(_BATCH_MAX, wait))

    def close(self) -> None:
        """Free the reader."""
        self._reader.close()
