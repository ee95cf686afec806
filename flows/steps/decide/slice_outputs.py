"""A decided slice as Arrow batches of its topics (TOPICS.md): one record per topic and slice, not one per recipient.

Columns that are the same for everybody, or nearly, are dictionary columns of one byte a row. `devices`, `rest` and
`payload` are text columns of JSON.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow

from operators.bulk import Ending, Slice
from operators.route import ChannelRoute
from state.decide.group import GroupState
from state.decide.users import UserTable
from state.model.delivery import ChannelAddresses
from state.model.keys import emission_base
from state.model.topics import DELIVER

pa: Any = pyarrow  # its stubs refuse NumPy buffers and boolean masks
Column = Any  # an Arrow array of some type
PART_ROWS = 10_000
"""The most recipients in a record: a reader has to hold them all at once."""
PART_MAX_BYTES = 4 << 20
"""Of a record; the log takes twice that (`connectors.log.interface.RECORD_MAX_BYTES`)."""
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)
_TEXT = pa.string()
_encode = msgspec.json.Encoder().encode


class SliceRecord(NamedTuple):
    """One record: its topic, schema and bytes."""

    topic: str
    schema: str
    value: bytes


def slice_records(state: GroupState, decided: Slice) -> list[SliceRecord]:
    """Everything that a slice leaves behind: in parts, so that each record is one that the log takes."""
    rows = len(decided.rows)
    parts = [_part(decided, slice(first, first + PART_ROWS)) for first in range(0, rows, PART_ROWS)]
    return [record for part in parts for record in _fitting(state, part)]


def _part(decided: Slice, of: slice) -> Slice:
    return decided._replace(
        rows=decided.rows[of], ending=decided.ending[of], hour=decided.hour[of], day=decided.day[of],
        until=decided.until[of],
    )  # fmt: skip


def _fitting(state: GroupState, decided: Slice) -> list[SliceRecord]:
    """The records of a part; in halves where one of them is too large, as with many devices each."""
    records, rows = _records(state, decided), len(decided.rows)
    if rows == 1 or all(len(record.value) <= PART_MAX_BYTES for record in records):
        return records
    halves = _part(decided, slice(rows // 2)), _part(decided, slice(rows // 2, rows))
    return [record for half in halves for record in _fitting(state, half)]


def _records(state: GroupState, decided: Slice) -> list[SliceRecord]:
    users = state.users
    emitted = np.array([ending.route is not None for ending in decided.endings])[decided.ending]
    ids = _emission_ids(users, decided, decided.rows)
    records = [SliceRecord("ledger", "decision/1+arrow", _ipc(_decision_columns(state, decided, emitted, ids)))]
    in_row = np.array([ending.inbox for ending in decided.endings])[decided.ending]
    if decided.is_new and in_row.any():
        records.append(
            SliceRecord("inbox", "inbox/1+arrow", _ipc(_inbox_columns(state, decided, decided.rows[in_row])))
        )
    for number, ending in enumerate(decided.endings):
        part = decided.ending == number
        if ending.route is not None and part.any():
            rows, part_ids = decided.rows[part], ids.filter(pa.array(part))
            columns = _emission_columns(state, decided, ending.route, rows, part_ids)
            records.append(SliceRecord("ledger", "emission/1+arrow", _ipc(columns)))
            records += _deliveries(state, decided, ending.route, rows, part_ids)
    return records


def _ipc(columns: dict[str, Column]) -> bytes:
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def _constant(value: object, rows: int, kind: Any = _TEXT) -> Column:
    """The same value in every row, one byte each."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([value], kind))


def _coded(codes: npt.NDArray[np.int32], values: Sequence[object]) -> Column:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array(values, _TEXT))


def _repeated_list(values: Sequence[str], rows: int) -> Column:
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * len(values))
    return pa.ListArray.from_arrays(offsets, pa.array(list(values) * rows, _TEXT))


def _emission_ids(users: UserTable, decided: Slice, rows: npt.NDArray[np.int32]) -> Column:
    """`state.model.keys.emission_id` for all rows: the shared part, then each user's tag in hex."""
    event = decided.event
    base = np.frombuffer(emission_base(event.type, event.object, event.event_id).encode(), np.uint8)
    tags = _HEX[users.tag[rows].view(np.uint8).reshape(-1, 8)].view(np.uint8)
    width = len(base) + 16
    text = np.empty((len(rows), width), np.uint8)
    text[:, : len(base)] = base
    text[:, len(base) :] = tags
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * width
    return pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(text))


def _users(users: UserTable, rows: npt.NDArray[np.int32]) -> Column:
    return users.ids_array().take(pa.array(rows))


def _decision_columns(
    state: GroupState, decided: Slice, emitted: npt.NDArray[np.bool_], ids: Column
) -> dict[str, Column]:
    event, count, rows = decided.event, len(decided.rows), decided.rows
    endings: list[Ending] = decided.endings
    gated = np.array([ending.gated for ending in endings])[decided.ending]
    profile = state.registry.profile(event.type)
    channels = pa.array([list(e.route.chosen) if e.route else [] for e in endings], pa.list_(_TEXT))
    return {
        "kind": _constant("decision", count),
        "event_id": _constant(event.event_id, count),
        "user": _users(state.users, rows),
        "outcome": _coded(decided.ending, [ending.outcome for ending in endings]),
        "reason": _coded(decided.ending, [ending.reason for ending in endings]),
        "inbox": pa.array(np.array([ending.inbox for ending in endings])[decided.ending]),
        "emission_id": pa.compute.if_else(pa.array(emitted), ids, pa.scalar(None, _TEXT)),
        "channels": channels.take(pa.array(decided.ending)),
        "decided_at": _constant(decided.now, count, pa.int64()),
        **_until(decided),
        # Zeros below the nulls: the counts there are not shown, and may differ when the record is decided again.
        "cap_hour": pa.array(np.where(gated, decided.hour, 0), mask=~gated),
        "cap_day": pa.array(np.where(gated, decided.day, 0), mask=~gated),
        "type": _constant(profile.name, count),
        "priority": _constant(event.priority, count),
        "sender_id": _constant(event.sender_id, count),
        "actor": _constant(event.actor, count),
        "object": _constant(event.object, count),
        "ingested_at": _constant(event.ingested_at, count, pa.int64()),
        "group": _coded(decided.ending, [ending.group for ending in endings]),
        "preference_version": pa.array(state.users.preference_version[rows]),
        "endpoint_version": pa.array(state.users.endpoint_version[rows]),
        "control_version": _constant(decided.control_version, count, pa.int64()),
        "registry_version": _constant(state.registry.version, count, pa.int64()),
        "tzdata_version": _constant(state.tzdata_version, count),
        "follower_age_ms": _constant(decided.follower_age_ms, count, pa.int64()),
    }


def _until(decided: Slice) -> dict[str, Column]:
    """Where somebody is held: few times, so each is written once."""
    if not decided.until.any():
        return {}
    return {"until": pa.array(decided.until, mask=decided.until == 0).dictionary_encode()}


def _inbox_columns(state: GroupState, decided: Slice, rows: npt.NDArray[np.int32]) -> dict[str, Column]:
    event, count = decided.event, len(rows)
    return {
        "op": _constant("add", count),
        "user": _users(state.users, rows),
        "type": _constant(event.type, count),
        "object": _constant(event.object, count),
        "actor": _constant(event.actor, count),
        "event_id": _constant(event.event_id, count),
        "windowed": _constant(state.registry.profile(event.type).window_ms > 0, count, pa.bool_()),
        "at": _constant(decided.now, count, pa.int64()),
        "place": _constant(decided.place, count, pa.int64()),
        "priority": _constant(event.priority, count),
        "payload": _constant(_json(event.payload), count),
    }


def _json(value: object) -> str | None:
    """Any JSON value, integers of any size too."""
    return None if value is None else _encode(value).decode()


def _emission_columns(
    state: GroupState, decided: Slice, route: ChannelRoute, rows: npt.NDArray[np.int32], ids: Column
) -> dict[str, Column]:
    event, count = decided.event, len(rows)
    return {
        "kind": _constant("emission", count),
        "emission_id": ids,
        "first_event_id": _constant(event.event_id, count),
        "user": _users(state.users, rows),
        "type": _constant(event.type, count),
        "object": _constant(event.object, count),
        "count": _constant(1, count, pa.int64()),
        "actors": _repeated_list([] if event.actor is None else [event.actor], count),
        "channels": _repeated_list(route.chosen, count),
        "decided_at": _constant(decided.now, count, pa.int64()),
        "deliveries": pa.array(state.users.deliveries(rows, route.chosen)),
    }


def _devices(state: GroupState, rows: list[int], channel: str) -> list[str]:
    devices = state.users.devices
    return [_encode(devices(row, channel)).decode() for row in rows]


def _rest(state: GroupState, rows: list[int], channels: Sequence[str]) -> list[str]:
    devices = state.users.devices
    return [_encode([ChannelAddresses(c, devices(row, c)) for c in channels]).decode() for row in rows]


def _deliveries(
    state: GroupState,
    decided: Slice,
    route: ChannelRoute,
    rows: npt.NDArray[np.int32],
    ids: Column,
) -> list[SliceRecord]:
    common = _common_delivery(state, decided, rows, ids)
    numbers = rows.tolist()
    rest = pa.array(_rest(state, numbers, route.rest)) if route.rest else _constant("[]", len(rows))
    records = []
    for channel in route.chosen:
        columns = common | {
            "channel": _constant(channel, len(rows)),
            "devices": pa.array(_devices(state, numbers, channel)),
            "rest": rest,
        }
        records.append(SliceRecord(DELIVER[channel], "emission/1+arrow", _ipc(columns)))
    return records


def _common_delivery(state: GroupState, decided: Slice, rows: npt.NDArray[np.int32], ids: Column) -> dict[str, Column]:
    event, count = decided.event, len(rows)
    profile = state.registry.profile(event.type)
    waited_ms = 0 if profile.absolute_ttl else decided.waited_ms
    names = [state.users.profiles.get(row, (None, None)) for row in rows.tolist()]
    return {
        "emission_id": ids,
        "user": _users(state.users, rows),
        "type": _constant(event.type, count),
        "object": _constant(event.object, count),
        "count": _constant(1, count, pa.int64()),
        "actors": _constant(_json([] if event.actor is None else [event.actor]), count),
        "actor_count": _constant(0 if event.actor is None else 1, count, pa.int64()),
        "first": _constant(True, count, pa.bool_()),
        "first_event_id": _constant(event.event_id, count),
        "priority": _constant(event.priority, count),
        "sender_id": _constant(event.sender_id, count),
        "campaign": _constant(event.object if event.fan_out_type in ("SEGMENT", "BROADCAST") else None, count),
        "category": _constant(profile.category, count),
        "policy": _constant(profile.policy, count),
        "payload": _constant(_json(event.payload), count),
        "locale": pa.array([name[0] for name in names], _TEXT),
        "name": pa.array([name[1] for name in names], _TEXT),
        "decided_at": _constant(decided.now, count, pa.int64()),
        "ingested_at": _constant(event.ingested_at, count, pa.int64()),
        "valid_until": _constant(event.ingested_at + event.ttl_ms + waited_ms, count, pa.int64()),
        **({} if event.priority == "P0" else _quiet_hours(state, rows)),
    }


def _quiet_hours(state: GroupState, rows: npt.NDArray[np.int32]) -> dict[str, Column]:
    """Where somebody has them: few documents differ in them, so each is written once."""
    numbers, places = np.unique(state.users.preference[rows], return_inverse=True)
    quiet = [state.users.preferences.compiled[number].quiet for number in numbers.tolist()]
    if not any(quiet):
        return {}
    texts = pa.array([None if each is None else _json(each) for each in quiet], _TEXT)
    return {"quiet": pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), texts)}
