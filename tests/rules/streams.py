"""Hypothesis strategies for record streams of every kind; small, so that what fails shrinks to what matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from rules import vocabulary as words
from rules.writing import DAY, Line

users = st.sampled_from(words.USERS[:4])
actors = st.sampled_from(words.ACTORS)
objects = st.sampled_from(words.OBJECTS)
types = st.sampled_from([*words.TYPES, *words.BUSY_TYPES * 2])


def seldom(values: st.SearchStrategy[Any], one_in: int = 4) -> st.SearchStrategy[Any]:
    """Mostly None, which `event` leaves out."""
    return st.one_of(*[st.none()] * (one_in - 1), values)


steps = st.one_of(
    st.just(0),
    st.sampled_from([0, 1]),
    st.integers(0, 30_000),
    st.builds(lambda length, off: max(0, length + off), st.sampled_from(words.BOUNDARIES), st.sampled_from([-1, 0, 1])),
    st.tuples(st.sampled_from(words.ZONES), st.sampled_from(words.CLOCKS), st.sampled_from([-1, 0, 1])),
)
"""How far the next record is: a number of ms, or the next time a zone's clock shows HH:MM and a ms around it."""

hours = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.sampled_from([True, True, True, False]),
        "start": st.sampled_from([*words.CLOCKS * 3, *words.BAD_CLOCKS]),
        "end": st.sampled_from([*words.CLOCKS * 3, *words.BAD_CLOCKS]),
        "timezone": st.sampled_from([*words.ZONES * 2, *words.BAD_ZONES]),
    },
)
type_settings = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans(),
        "channels": st.lists(st.sampled_from(words.CHANNELS), max_size=5),
    },
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "master": st.sampled_from([True, True, False]),
        "quiet_hours": hours,
        "frequency_cap": st.fixed_dictionaries(
            {},
            optional={"max_per_hour": st.integers(0, 3), "max_per_day": st.sampled_from([0, 1, 2, 5, 9, 50])},
        ),
        "types": st.dictionaries(types, type_settings, max_size=4),
        "unsubscribed": st.dictionaries(
            st.sampled_from(words.CHANNELS), st.lists(st.sampled_from(words.CATEGORIES), max_size=2), max_size=2
        ),
        "muted": st.fixed_dictionaries(
            {}, optional={"actors": st.lists(actors, max_size=1), "objects": st.lists(objects, max_size=1)}
        ),
    },
)

preferences = st.fixed_dictionaries({"kind": st.just("preference"), "user": users, "doc": documents})
endpoints = st.fixed_dictionaries(
    {
        "kind": st.just("endpoint"),
        "user": users,
        "channel": st.sampled_from(["push", "push", "email", "email", "sms", "webhook", "chat"]),
        "id": st.sampled_from(["1", "2"]),
        "platform": st.none(),
        "address": st.just("there"),
        "state": st.sampled_from(["active", "active", "active", "invalid"]),
    }
)
follows = st.fixed_dictionaries(
    {"kind": st.just("follow"), "follower": users, "followee": actors, "on": st.sampled_from([True, True, False])}
)
segments = st.fixed_dictionaries(
    {"kind": st.just("segment"), "segment": st.sampled_from(words.SEGMENTS), "users": st.lists(users, max_size=4)}
)
STOPPED: dict[str, Sequence[str | None]] = {
    "all": [None],
    "sender": words.SENDERS,
    "type": ["like", "comment", "mention"],
    "channel": words.CHANNELS[:4],
    "campaign": words.OBJECTS,
}
kills = st.one_of(
    [
        st.builds(
            lambda scope, value, on: {"kind": "kill", "scope": scope, "value": value, "on": on},
            st.just(scope),
            st.sampled_from(values),
            st.booleans(),
        )
        for scope, values in STOPPED.items()
    ]
)
reads = st.fixed_dictionaries(
    {"kind": st.just("read"), "user": users, "erase": st.sampled_from([False] * 9 + [True])},
    optional={"back": st.sampled_from([0, 1, -5, 1_000, 30_000])},
)
marks = st.fixed_dictionaries(
    {
        "kind": st.just("read"),
        "user": users,
        "up_to": st.just(0),
        "status": st.sampled_from(["read", "read", "unread", "archived"]),
        "rows_of": st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0, 0, 1, -1, 1_000])), max_size=3),
    }
)
archivings = st.fixed_dictionaries(
    {"kind": st.just("read"), "user": users, "up_to": st.just(0), "status": st.just("archived")},
    optional={"until_back": st.sampled_from([0, 1, 1_000])},
)
cancels = st.fixed_dictionaries({"kind": st.just("cancel"), "of": st.integers(1, 6)})
ticks = st.just({"kind": "tick"})

numbered = st.builds(lambda n: {"n": n}, st.integers(0, 99))
events = st.fixed_dictionaries(
    {
        "kind": st.just("event"),
        "type": types,
        "actor": st.one_of(actors, actors, actors, st.none()),
        "target": st.one_of(*[users] * 9, st.none()),
        "object": st.one_of(objects, objects, st.none()),
        "sender_id": st.sampled_from([*words.SENDERS, None]),
        "fan_out_type": seldom(st.sampled_from(words.FAN_OUTS), 5),
        "segment": seldom(st.sampled_from(words.SEGMENTS), 3),
        "priority": seldom(st.sampled_from(["P0", "P1", "P2"]), 5),
        "ttl_ms": seldom(st.sampled_from(words.TTLS), 5),
        "payload": st.one_of(
            st.none(), st.sampled_from(words.PAYLOADS), st.builds(lambda n: {"n": n}, st.integers(0, 99))
        ),
        "ahead": seldom(st.sampled_from([-1, 0, 1, *words.BOUNDARIES]), 8),
        "idempotency_key": seldom(st.sampled_from(words.KEYS), 8),
        "to": seldom(st.dictionaries(st.sampled_from(words.CHANNELS), st.sampled_from(["there", None]), max_size=3), 4),
        "parent": seldom(st.integers(1, 6), 20),
    }
)
again = st.fixed_dictionaries(
    {
        "kind": st.just("again"),
        "of": st.integers(1, 6),
        "retracts": st.sampled_from([True, True, True, False]),
        "same_id": st.sampled_from([False, False, True]),
        "parent": seldom(st.integers(1, 6), 3),
        "ahead": seldom(st.sampled_from([0, 1, *words.BOUNDARIES]), 8),
    }
)
"""An earlier event once more: taken back, or repeated; `of` and `parent` count backwards."""

said = st.one_of(reads, marks, marks, archivings)
drafts = st.one_of(*[events] * 6, again, again, preferences, endpoints, said, kills, follows, segments, cancels, ticks)


@st.composite
def streams(draw: st.DrawFn) -> list[Line]:
    """A totally ordered record file."""
    _, start = draw(st.sampled_from(words.STARTS))
    scene = draw(st.lists(st.one_of(endpoints, endpoints, preferences, follows, segments), max_size=12))
    body = draw(st.lists(st.tuples(steps, drafts), min_size=1, max_size=50))
    log = _Log(start)
    for record in scene:
        log.add(0, record)
    for step, draft in body:
        log.add(step, draft)
    log.add(draw(st.sampled_from([0, 3_600_000, DAY])), {"kind": "tick"})
    return log.records


class _Log:
    """Gives drafts their time, their ids and the events they point back to."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.records: list[Line] = []
        self.events: list[Line] = []
        self._first_use: dict[str, int] = {}

    def add(self, step: int | tuple[str, str, int], draft: Line) -> None:
        if isinstance(step, tuple):
            zone, clock, off = step
            self.now = max(self.now, words.next_clock(self.now, zone, clock) + off)
        else:
            self.now += step
        kind = draft["kind"]
        if kind == "event":
            self._event(dict(draft))
        elif kind == "again":
            self._again(draft)
        else:
            self._write(self._pointed(draft))

    def _pointed(self, draft: Line) -> Line:
        record = dict(draft)
        if "back" in record:
            record["up_to"] = self.now - record.pop("back")
        if "until_back" in record:
            record["until"] = self.now - record.pop("until_back")
        if "rows_of" in record:
            record["rows"] = [self._row(back, off) for back, off in record.pop("rows_of")]
        if "of" in record:
            record["event_id"] = self._id(record.pop("of"))
        return record

    def _row(self, back: int, off: int) -> Line:
        """Named by a late event, which may have begun it; seen at that time, or now."""
        if not self.events:
            return {"type": "like", "event_id": "nobody", "at": self.now}
        event = self.events[-min(back, len(self.events))]
        row = {
            "type": event["type"],
            "event_id": event["event_id"],
            "at": self.now if off == 1_000 else event["ts"] + off,
        }
        return row if event.get("object") is None else row | {"object": event["object"]}

    def _event(self, fields: Line) -> None:
        ahead, parent = fields.pop("ahead"), fields.pop("parent")
        fields["event_id"] = f"e{len(self.events)}"
        fields["deliver_at"] = None if ahead is None else self.now + ahead
        fields["parent_event_id"] = None if parent is None else self._id(parent)
        self._accepted(fields)

    def _again(self, draft: Line) -> None:
        """An event_id is used again within a day of its first use only: later it is the sender's mistake."""
        if not self.events:
            return
        of = dict(self.events[-min(draft["of"], len(self.events))])
        young = self.now - self._first_use[of["event_id"]] < DAY
        if not (draft["same_id"] and young):
            of["event_id"] = f"e{len(self.events)}"
        if draft["retracts"]:
            of["retracts"] = True
            of["parent_event_id"] = None if draft["parent"] is None else self._id(draft["parent"])
            of["deliver_at"] = None if draft["ahead"] is None else self.now + draft["ahead"]
        self._accepted({name: value for name, value in of.items() if name != "ts"})

    def _accepted(self, fields: Line) -> None:
        record = self._write({name: value for name, value in fields.items() if value is not None})
        self.events.append(record)
        self._first_use.setdefault(record["event_id"], self.now)

    def _id(self, back: int) -> str:
        return str(self.events[-min(back, len(self.events))]["event_id"]) if self.events else "nobody"

    def _write(self, fields: Line) -> Line:
        rest = {name: value for name, value in fields.items() if name != "kind"}
        record = {"kind": fields["kind"], "ts": self.now} | rest
        self.records.append(record)
        return record
