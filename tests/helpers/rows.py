"""The objects that a record holds, whatever its form; written from TOPICS.md alone."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import msgspec
import orjson
import pyarrow.ipc

from connectors.log.interface import NewRecord, Record

JSON_COLUMNS = ("devices", "rest", "payload", "quiet")
Row = dict[str, Any]


def rows_of(record: NewRecord | Record) -> list[Row]:
    """The objects of a record: one, or those of a batch; of a slice of the ledger decisions, then emissions."""
    schema = dict(record.headers)["schema"]
    if schema.endswith(b"+json"):
        return [orjson.loads(record.value)]
    table = pyarrow.ipc.open_stream(io.BytesIO(record.value)).read_all()
    rows: list[Row] = table.to_pylist()
    common: Row = orjson.loads((table.schema.metadata or {}).get(b"common", b"{}"))
    if schema == b"slice/1+arrow":
        return [_decision(common, row) for row in rows] + [
            _emission(common, row) for row in rows if _emitted(common, row)
        ]
    for row in rows:
        if row.get("quiet", 0) is None:  # a single record has no such key
            del row["quiet"]
        for name in (*JSON_COLUMNS, *(["actors"] if record.topic.startswith("deliver") else [])):
            if isinstance(row.get(name), str):
                row[name] = orjson.loads(row[name])
    if schema == b"inbox/2+arrow":
        return [common | row for row in rows]
    if schema == b"emission/4+arrow":
        base, rest = common.pop("emission_base"), common.pop("rest", [])
        rows = [{"emission_id": base + _own_part(row["user"]), "rest": [], **common, **row} for row in rows]
        for row in rows:
            endpoints = msgspec.msgpack.decode(row.pop("endpoints"))
            row["devices"] = _addresses(endpoints, row["channel"])
            row["rest"] = [{"channel": channel, "devices": _addresses(endpoints, channel)} for channel in rest]
    return rows


def _addresses(endpoints: list[list[Any]], channel: str) -> list[Row]:
    return [
        {"id": each[1], "platform": each[2], "address": _text(each[3]), "registered_at": each[5]}
        for each in endpoints
        if each[0] == channel
    ]


def _text(address: Any) -> str | None:
    return address.hex() if isinstance(address, bytes) else address


def _own_part(user: str) -> str:
    return hashlib.blake2b(user.encode(), digest_size=8).hexdigest()


def _emitted(common: Row, row: Row) -> bool:
    return bool(common["endings"][row["ending"]].get("emitted"))


def _emission_id(common: Row, row: Row) -> str:
    content = orjson.dumps([common["type"], common.get("object"), common["event_id"]])
    tag: bytes = row["tag"]
    return "em_" + hashlib.sha256(content).hexdigest()[:24] + tag.hex()


def _version(common: Row, age: int | None) -> int:
    return -1 if age is None else common["place"] - age


def _decision(common: Row, row: Row) -> Row:
    ending = common["endings"][row["ending"]]
    counted = ending.get("counted", False)
    names = ("type", "priority", "sender_id", "actor", "object", "ingested_at", "event_id", "decided_at")
    more = ("control_version", "registry_version", "tzdata_version", "follower_age_ms")
    return {name: common.get(name) for name in (*names, *more)} | {
        "kind": "decision", "user": row["user"], "outcome": ending["outcome"], "reason": ending.get("reason"),
        "inbox": ending.get("inbox", False), "group": ending.get("group"), "channels": ending.get("channels", []),
        "emission_id": _emission_id(common, row) if _emitted(common, row) else None,
        "until": None if row.get("held_ms") is None else common["decided_at"] + row["held_ms"],
        "cap_hour": row["cap_hour"] if counted else None,
        "cap_day": row["cap_day"] if counted else None,
        "preference_version": _version(common, row["preference_age"]),
        "endpoint_version": _version(common, row["endpoint_age"]),
    }  # fmt: skip


def _emission(common: Row, row: Row) -> Row:
    actor = common.get("actor")
    return {
        "kind": "emission", "emission_id": _emission_id(common, row), "first_event_id": common["event_id"],
        "user": row["user"], "type": common["type"], "object": common.get("object"), "count": 1,
        "actors": [] if actor is None else [actor], "channels": common["endings"][row["ending"]]["channels"],
        "decided_at": common["decided_at"], "deliveries": row["deliveries"],
    }  # fmt: skip
