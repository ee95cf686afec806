"""The decision log as input of the reference model: what `sequence` wrote, as simulation records (TOPICS, Records of a
simulation).

Key groups are independent, so each is a simulation of its own: a slice of a fan-out becomes the FOLLOWERS, SEGMENT or
BROADCAST event itself, in a world that holds the followers, members and users of that group alone. The decision log's
stamps are the clock. What is written there was admitted, so every event gets a key of its own: repeats are judged
elsewhere (`verdict.py`). Two times need care:

- The model takes an event's `ts` for its `ingested_at`; in the log it was accepted earlier. Its ttl is shorter by that.
- An event that was kept is released: it has no `deliver_at` any more.

Timers fire at their due times whatever ticks there are, so of the ticks only the last is needed: it ends the time.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from crash.left_behind import Line, P0Decision
from reference.registry import REGISTRY, Types

from connectors.log.interface import Record
from state.model.addresses import ANDROID, ANY, APPLE_PLATFORMS, WEB
from state.model.keys import groups_of_partition

_TYPE_FIELDS = {
    "window_ms": "window", "ttl_ms": "ttl", "channels": "channels", "policy": "policy", "digest": "email_digest",
    "mail_wait_ms": "mail_wait",
}  # fmt: skip
_PLATFORMS = (*APPLE_PLATFORMS, ANDROID, WEB, ANY)
_EVENT_FIELDS = (
    "event_id", "type", "priority", "actor", "target", "fan_out_type", "object", "segment", "payload", "to",
    "sender_id", "retracts", "parent_event_id",
)  # fmt: skip
WHOLE = (0, 1 << 64)


@contextmanager
def registry_of(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """The model decides by the default registry with these tables laid over it."""
    before = dict(REGISTRY)
    for name, table in tables.items():
        fields: dict[str, Any] = {
            _TYPE_FIELDS[key]: tuple(given) if key == "channels" else given for key, given in table.items()
        }
        REGISTRY[name] = replace(Types().of(name), **fields)
    try:
        yield
    finally:
        REGISTRY.clear()
        REGISTRY.update(before)


class Settings:
    """Turns settings into simulation records; remembers registrations, since a provider's verdict may be older."""

    def __init__(self) -> None:
        self._registered: dict[tuple[str, str, str], tuple[int, str | None]] = {}

    def preference(self, body: Line, ts: int) -> Line:
        return {"kind": "preference", "ts": ts, "user": body["user"], "doc": body["doc"]}

    def endpoint(self, body: Line, ts: int) -> Line:
        """A registration, or a verdict, which holds only where the registration is not newer."""
        key = body["user"], body["channel"], body["id"]
        state = body.get("state") or "active"
        if body.get("gone_at") is not None:
            registered_at, before = self._registered.get(key, (0, None))
            if before is None or registered_at > body["gone_at"]:
                return {"kind": "tick", "ts": ts}
            self._registered[key] = (registered_at, "invalid")
            state = "invalid"
        else:
            self._registered[key] = (body.get("registered_at") or 0, state)
        return {"kind": "endpoint", "ts": ts, "user": key[0], "channel": key[1], "id": key[2], "state": state}

    def kill(self, body: Line, ts: int) -> Line:
        on = body.get("on", True)
        return {"kind": "kill", "ts": ts, "scope": body["scope"], "value": body.get("value"), "on": on}


def event_line(event: Line, ts: int, place: str) -> Line:
    """An event that takes its place now."""
    line = {"kind": "event", "ts": ts} | {name: event[name] for name in _EVENT_FIELDS}
    return line | {"idempotency_key": place, "ttl_ms": event["ttl_ms"] - (ts - event["ingested_at"])}


class _Group:
    """The records of one key group so far."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._settings = Settings()

    def take(self, work: Line, ts: int, place: str) -> None:
        line = self._line(work, ts, place)
        if line is not None:
            self.lines.append(line)

    def _line(self, work: Line, ts: int, place: str) -> Line | None:
        match work["k"]:
            case "event":
                assert work["users"] == [work["event"]["target"]], place
                return event_line(work["event"], ts, place)
            case "slice":
                # A part of a slice would need a model that knows hashes; the product writes whole ones so far.
                assert (int(work.get("hash_from", WHOLE[0])), int(work.get("hash_to", WHOLE[1]))) == WHOLE, place
                return event_line(work["event"], ts, place)
            case "preference":
                return self._settings.preference(work, ts)
            case "endpoint":
                return self._settings.endpoint(work, ts)
            case "follow":
                follow = {name: work[name] for name in ("follower", "followee", "on")}
                return {"kind": "follow", "ts": ts} | follow
            case "segment":
                return {"kind": "segment", "ts": ts, "segment": work["segment"], "users": work["users"]}
            case "kill":
                return self._settings.kill(work, ts)
            case "read":
                said = {name: work[name] for name in ("status", "rows", "until") if name in work}
                return {"kind": "read", "ts": ts, "user": work["user"], "up_to": work.get("up_to", ts)} | said
            case "profile" | "tick" | "versions":
                return None
            case kind:
                raise AssertionError(f"{place}: a record of the decision log of kind {kind!r}")


class DecisionLog:
    """The records of topic `work`, decoded."""

    def __init__(self, records: list[Record], partitions: int) -> None:
        self.partitions = partitions
        self.works: list[tuple[int, int, Line]] = [
            (record.partition, record.offset, json.loads(record.value)) for record in records
        ]
        self.tables: dict[str, dict[str, int]] = {}
        """The registry's tables in force; a run has one configuration."""
        for _, _, work in self.works:
            if work["k"] == "versions":
                self.tables = work.get("types", {})

    def simulations(self) -> dict[int, list[Line]]:
        """The simulation records of each key group, ending with the last time that the log holds for it."""
        groups = {group: _Group() for group in range(240)}
        now = dict.fromkeys(range(self.partitions), 0)
        for partition, offset, work in self.works:
            now[partition] = max(now[partition], work["stamp"])
            mine = groups_of_partition(partition, self.partitions)
            for group in mine if work.get("g") is None else [work["g"]]:
                groups[group].take(work, now[partition], f"{partition}/{offset}")
        for partition, last in now.items():
            for group in groups_of_partition(partition, self.partitions):
                groups[group].lines.append({"kind": "tick", "ts": last})
        return {group: found.lines for group, found in groups.items() if len(found.lines) > 1}


class SettingTopics:
    """The topics that P0 reads what is true from, for as long as nothing was compacted."""

    def __init__(self, records: Mapping[str, list[Record]]) -> None:
        self._records = {
            (topic, partition): [record for record in found if record.partition == partition]
            for topic, found in records.items()
            for partition in {record.partition for record in found}
        }

    def up_to(self, place: tuple[str, int], start: int, end: int) -> list[Record]:
        """The records with offsets in [start, end)."""
        return [record for record in self._records.get(place, ()) if start <= record.offset < end]


def p0_simulations(
    decisions: list[P0Decision], topics: SettingTopics, passed_over: Mapping[str, Sequence[str]]
) -> dict[int, list[Line]]:
    """P0's decision log as simulation records, by lane: each decision behind the settings that it had read, and behind
    what was away of the channels that it passed over.
    """
    lanes: dict[int, list[Line]] = {}
    settings: dict[int, Settings] = {}
    read: dict[tuple[int, str], int] = {}
    for decision in decisions:
        lines, known = lanes.setdefault(decision.lane, []), settings.setdefault(decision.lane, Settings())
        for name, end in decision.used.items():
            topic, _, number = name.rpartition("/")
            start = read.get((decision.lane, name), 0)
            for record in topics.up_to((topic, int(number)), start, end):
                lines += _p0_setting(known, record, decision.now)
            read[decision.lane, name] = max(start, end)
        away = [
            f"{channel}/{each}" for channel in passed_over.get(decision.event["event_id"], ()) for each in _PLATFORMS
        ]
        lines += [known.kill({"scope": "away", "value": value}, decision.now) for value in away]
        lines.append(event_line(decision.event, decision.now, f"p0 {decision.lane}/{decision.offset}"))
        lines += [known.kill({"scope": "away", "value": value, "on": False}, decision.now) for value in away]
    return lanes


def _p0_setting(settings: Settings, record: Record, ts: int) -> list[Line]:
    if not record.value:
        return []
    body = json.loads(record.value)
    if record.topic == "preferences":
        return [settings.preference(body, ts)]
    if record.topic == "endpoints":
        return [settings.endpoint(body, ts)]
    is_switch = record.topic == "control" and body.get("scope") in ("all", "sender", "type", "channel", "campaign")
    return [settings.kill(body, ts)] if is_switch else []
