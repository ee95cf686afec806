"""What the live view knows: ledger and inbox operations of a running system, and what the simulated providers took.

The topics are read from their ends on, as any consumer could. The words are those that the providers were sent
(`connectors.sandbox.watch`): nothing is rendered a second time here, and nothing of it is stored.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from connectors.log.interface import Log, Record
from connectors.sandbox.watch import Taken, Watcher
from flows.demo.people import people, star
from state import slices
from state.model.arrow import batch_rows
from state.model.channels import INTERRUPTIVE

_CHANNELS = {
    "apns": "push", "fcm": "push", "webpush": "push", "twilio": "sms", "smpp": "sms", "smtp": "email", "ses": "email",
}  # fmt: skip
_KEPT_MAX = 50_000
_SAMPLES_MAX = 2_000
_LINES_MAX = 50
_BATCH_MAX = 2_000
_PROMPT_MS = 5_000


@dataclass(frozen=True, slots=True)
class LiveLine:
    """What a person got to read, or why not."""

    kind: str
    """phone (a push to the star of the demo), push (to anybody else), sms, email or suppressed."""
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


def _users_by_address() -> dict[str, str]:
    return {document["address"]: person.user for person in people() for _channel, _id, document in person.endpoints()}


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
        default_factory=lambda: {kind: deque(maxlen=_LINES_MAX) for kind in ("phone", *INTERRUPTIVE, "suppressed")}
    )
    fresh: deque[LiveLine] = field(default_factory=lambda: deque(maxlen=500))
    """Lines since somebody last took them."""
    urgent: deque[Sample] = field(default_factory=lambda: deque(maxlen=_SAMPLES_MAX))
    """Deliveries of P0."""
    ordinary: deque[Sample] = field(default_factory=lambda: deque(maxlen=_SAMPLES_MAX))
    """Deliveries of P1 and P2 that no window, hold or digest delayed on purpose."""
    _decisions: OrderedDict[tuple[str, str], str] = field(default_factory=OrderedDict)
    _accepted: OrderedDict[str, tuple[int, str]] = field(default_factory=OrderedDict)
    _decided: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """By emission of a single item: when it was decided."""
    _users: Mapping[str, str] = field(default_factory=_users_by_address)

    def take(self, records: Sequence[Record]) -> None:
        """Take records of the topics `ledger` and `inbox`."""
        for record in records:
            for row in rows_of(record):
                if record.topic == "inbox":
                    self.inbox_items += row.get("op") == "add"
                else:
                    self._ledger(row)

    def show(self, messages: Iterable[Taken]) -> None:
        """Take messages that providers took; of addresses that the demo does not know the address is shown."""
        for message in messages:
            kind, user = _CHANNELS.get(message.provider, message.provider), self._users.get(message.to, message.to)
            if message.text:
                self._say("phone" if kind == "push" and user == star().user else kind, user, message.text)

    def _ledger(self, row: Mapping[str, Any]) -> None:
        match row.get("kind"):
            case "decision":
                self._decision(row)
            case "emission" if row["count"] == 1:
                _keep(self._decided, row["emission_id"], row["decided_at"])
            case "delivery":
                self._delivery(row)

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
        self.deliveries[(row["channel"], row["outcome"])] += 1
        accepted, priority = self._accepted.get(row["first_event_id"], (None, ""))
        if row["outcome"] != "DELIVERED" or accepted is None:
            return
        if priority == "P0":
            self.urgent.append(Sample(accepted, row["at"]))
        elif self._decided.get(row["emission_id"], accepted + _PROMPT_MS) - accepted < _PROMPT_MS:
            self.ordinary.append(Sample(accepted, row["at"]))

    def _say(self, kind: str, user: str, text: str) -> None:
        line = LiveLine(kind, user, text)
        if self.latest[kind] and self.latest[kind][-1] == line:
            return  # another device of the same person
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
        if schema == slices.SCHEMA:
            decisions: list[dict[str, Any]] = slices.expand(record.value).decisions.to_pylist()
            return decisions
        return batch_rows(record.value, record.topic)
    return [orjson.loads(record.value)]


def percentile(samples: Sequence[Sample], share: float) -> int | None:
    """The latency in milliseconds that `share` of the samples do not exceed; None without samples."""
    if not samples:
        return None
    ordered = sorted(sample.latency_ms for sample in samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Tail:
    """Reads `ledger` and `inbox` from their present end on, and what providers take meanwhile."""

    def __init__(self, log: Log, watcher: Watcher) -> None:
        """Both stay the caller's to close, after `close`."""
        places = [(topic, partition) for topic in ("ledger", "inbox") for partition in range(log.partitions(topic))]
        self._reader = log.reader({place: log.end_offset(*place) for place in places})
        self._watcher = watcher
        self.seen = LiveState()

    def step(self, wait: timedelta) -> None:
        """Take what has come, waiting up to `wait` for something on the ledger."""
        self.seen.take(self._reader.poll(_BATCH_MAX, wait))
        self.seen.show(self._watcher.take())

    def close(self) -> None:
        """Free the reader."""
        self._reader.close()
