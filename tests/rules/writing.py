"""The words in which the examples are written: records in, lines out, and how a program is held against them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Line = dict[str, Any]

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def utc(text: str) -> int:
    """Milliseconds of a UTC time written like 2024-05-15 12:00 or 2024-05-15 12:00:01.5."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


NOON = utc("2024-05-15 12:00")
"""A Wednesday noon without anything special, in UTC."""


@dataclass(frozen=True, slots=True)
class Example:
    """Records and every line they must give (rows too where `inbox`), worked by hand from the rule that is named."""

    name: str
    rule: str
    records: list[Line]
    lines: list[Line]
    inbox: bool = False


# Records ----------------------------------------------------------------------


def event(event_id: str, ts: int, type_name: str, **fields: Any) -> Line:
    """An event to `u` by `a` unless the fields say otherwise; a field of None is left out."""
    given = {"event_id": event_id, "type": type_name, "actor": "a", "target": "u", "sender_id": "s"} | fields
    return {"kind": "event", "ts": ts} | {name: value for name, value in given.items() if value is not None}


def like(event_id: str, ts: int, actor: str | None = "a", **fields: Any) -> Line:
    """A like of photo `o`: window 60 s, push and in_app."""
    return event(event_id, ts, "like", **({"actor": actor, "object": "o"} | fields))


def mention(event_id: str, ts: int, actor: str | None = "a", **fields: Any) -> Line:
    """A mention: no window; push, in_app, email into the digest."""
    return event(event_id, ts, "mention", **({"actor": actor, "object": f"post-{event_id}"} | fields))


def endpoint(channel: str, user: str = "u", *, ts: int = 0, name: str = "1", state: str = "active") -> Line:
    """An address of the user."""
    return {
        "kind": "endpoint",
        "ts": ts,
        "user": user,
        "channel": channel,
        "id": name,
        "platform": "android" if channel == "push" else None,
        "address": f"{channel}-{name}",
        "state": state,
    }


PUSH = endpoint("push")
EMAIL = endpoint("email")
SMS = endpoint("sms")


def prefer(ts: int = 0, user: str = "u", **document: Any) -> Line:
    """The user's whole document."""
    return {"kind": "preference", "ts": ts, "user": user, "doc": document}


def quiet(start: Any = "22:00", end: Any = "08:00", timezone: Any = "UTC", **document: Any) -> Line:
    """A document with quiet hours."""
    hours = {"enabled": True, "start": start, "end": end, "timezone": timezone}
    return prefer(quiet_hours=hours, **document)


def capped(hour: int | None = None, day: int | None = None, ts: int = 0, **document: Any) -> Line:
    """A document with caps."""
    caps = {"max_per_hour": hour, "max_per_day": day}
    return prefer(ts, frequency_cap={name: value for name, value in caps.items() if value is not None}, **document)


def channels(**by_type: list[str]) -> dict[str, Any]:
    """The `types` of a document, with the channels chosen for each."""
    return {name: {"channels": chosen} for name, chosen in by_type.items()}


def follow(ts: int, follower: str, followee: str, on: bool = True) -> Line:
    return {"kind": "follow", "ts": ts, "follower": follower, "followee": followee, "on": on}


def segment(ts: int, name: str, users: list[str]) -> Line:
    return {"kind": "segment", "ts": ts, "segment": name, "users": users}


def kill(ts: int, scope: str, value: str | None = None, on: bool = True) -> Line:
    return {"kind": "kill", "ts": ts, "scope": scope, "value": value, "on": on}


def read(ts: int, up_to: int | None = None, user: str = "u") -> Line:
    record = {"kind": "read", "ts": ts, "user": user}
    return record if up_to is None else record | {"up_to": up_to}


def marked(ts: int, mark: str, *rows: tuple[str, str, str, int], user: str = "u") -> Line:
    """Rows by type, object, first event and the time at which they were seen."""
    named = [dict(zip(("type", "object", "event_id", "at"), each, strict=True)) for each in rows]
    return {"kind": "read", "ts": ts, "user": user, "up_to": 0, "status": mark, "rows": named}


def cancel(ts: int, event_id: str) -> Line:
    return {"kind": "cancel", "ts": ts, "event_id": event_id}


def tick(ts: int) -> Line:
    return {"kind": "tick", "ts": ts}


# Lines ------------------------------------------------------------------------

Caps = tuple[int, int] | None


def decision(event_id: str, at: int, outcome: str, **fields: Any) -> Line:
    """A decision line; `caps` is (cap_hour, cap_day), `into` the first event of the emission it went out with."""
    hour, day = fields.pop("caps", None) or (None, None)
    default: Line = {"user": "u", "reason": None, "inbox": False, "into": None, "channels": [], "until": None}
    line = {"kind": "decision", "event_id": event_id, "outcome": outcome, "decided_at": at}
    return default | line | {"cap_hour": hour, "cap_day": day} | fields


def emitted(event_id: str, at: int, *on: str, caps: Caps = (0, 0), inbox: bool = True, **fields: Any) -> Line:
    """The first item of an emission, on the channels named (push when none is)."""
    given = {"channels": list(on) or ["push"], "into": event_id, "inbox": inbox, "caps": caps} | fields
    return decision(event_id, at, "EMITTED", **given)


def merged(event_id: str, at: int, into: str, *on: str, caps: Caps, inbox: bool = True, **fields: Any) -> Line:
    """Another item of the emission that `into` is the first of."""
    given = {"channels": list(on) or ["push"], "into": into, "inbox": inbox, "caps": caps} | fields
    return decision(event_id, at, "MERGED", **given)


def held(event_id: str, at: int, until: int, caps: Caps = (0, 0), inbox: bool = True, **fields: Any) -> Line:
    return decision(event_id, at, "HELD", until=until, inbox=inbox, caps=caps, **fields)


def aggregating(event_id: str, at: int, caps: Caps = None, inbox: bool = True, **fields: Any) -> Line:
    return decision(event_id, at, "AGGREGATING", inbox=inbox, caps=caps, **fields)


def inboxed(event_id: str, at: int, caps: Caps = None, **fields: Any) -> Line:
    return decision(event_id, at, "INBOX", inbox=True, caps=caps, **fields)


def suppressed(event_id: str, at: int, reason: str, caps: Caps = None, inbox: bool = False, **fields: Any) -> Line:
    return decision(event_id, at, "SUPPRESSED", reason=reason, inbox=inbox, caps=caps, **fields)


def expired(event_id: str, at: int, caps: Caps = None, inbox: bool = True, **fields: Any) -> Line:
    return decision(event_id, at, "EXPIRED", inbox=inbox, caps=caps, **fields)


def retraction(event_id: str, at: int, **fields: Any) -> Line:
    """A retraction's own record."""
    return suppressed(event_id, at, "retraction", **fields)


def emission(first: str, at: int, type_name: str, obj: str | None, *on: str, **fields: Any) -> Line:
    """An emission of one item by `a` unless `count` and `actors` say otherwise; on push when no channel is named."""
    line = {"kind": "emission", "first_event_id": first, "type": type_name, "object": obj, "decided_at": at}
    return {"user": "u", "count": 1, "actors": ["a"], "channels": list(on) or ["push"]} | line | fields


def liked(first: str, at: int, **fields: Any) -> Line:
    """The emission of likes of `o`."""
    return emission(first, at, "like", "o", **fields)


def mentioned(first: str, at: int, *on: str, **fields: Any) -> Line:
    """The emission of one mention."""
    return emission(first, at, "mention", f"post-{first}", *on, **fields)


def row(first: str, at: int, type_name: str, obj: str | None, **fields: Any) -> Line:
    """An inbox row of one item by `a` unless `count` and `actors` say otherwise."""
    line = {"kind": "inbox", "first_event_id": first, "type": type_name, "object": obj, "at": at}
    return {"user": "u", "count": 1, "actors": ["a"]} | line | fields


# Holding a program against an example -------------------------------------------


def emission_id(user: str, type_name: str, obj: str | None, first_event_id: str) -> str:
    """A pure function of (user, type, object, first event_id)."""
    text = json.dumps([type_name, obj, first_event_id], ensure_ascii=False, separators=(",", ":"))
    tag = hashlib.blake2b(user.encode(), digest_size=8).hexdigest()
    return "em_" + hashlib.sha256(text.encode()).hexdigest()[:24] + tag


def expected_lines(example: Example) -> list[Line]:
    """The example's lines as a simulation prints them: complete, and in its order."""
    names = {
        (line["user"], line["first_event_id"]): emission_id(
            line["user"], line["type"], line["object"], line["first_event_id"]
        )
        for line in example.lines
        if line["kind"] == "emission"
    }
    return sorted((_complete(line, names) for line in example.lines), key=order)


def _complete(line: Line, names: dict[tuple[str, str], str]) -> Line:
    if line["kind"] == "inbox":
        return line
    if line["kind"] == "emission":
        return line | {"emission_id": names[line["user"], line["first_event_id"]]}
    into = line["into"]
    rest = {name: value for name, value in line.items() if name != "into"}
    return rest | {"emission_id": None if into is None else names[line["user"], into]}


def order(line: Line) -> tuple[int, str, str, str]:
    """The order of output lines (TOPICS, Records of a simulation)."""
    at = line["at"] if line["kind"] == "inbox" else line["decided_at"]
    return at, line["user"], line["event_id" if line["kind"] == "decision" else "first_event_id"], line["kind"]


def differences(expected: Sequence[Line], actual: Sequence[Line], limit: int = 12) -> str:
    """Empty when equal; else the first lines that only one of the two has, shortest way to the field at fault."""
    if list(expected) == list(actual):
        return ""
    theirs = {json.dumps(line, sort_keys=True) for line in actual}
    ours = {json.dumps(line, sort_keys=True) for line in expected}
    only = [("- expected", line) for line in expected if json.dumps(line, sort_keys=True) not in theirs]
    only += [("+ actual  ", line) for line in actual if json.dumps(line, sort_keys=True) not in ours]
    only.sort(key=lambda pair: order(pair[1]))
    shown = "\n".join(f"{side} {json.dumps(line)}" for side, line in only[:limit])
    return shown or f"the same lines in another order or number: {len(expected)} expected, {len(actual)} given"
