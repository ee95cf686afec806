"""Slices of the ledger (TOPICS.md): what decide decides for many recipients of one event, as one record.

A slice says once what is the same for all, or for all who ended alike, and holds what differs as narrow columns.
`expand` makes of it exactly the decisions and emissions that would have been written one by one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.compute

from state.model.arrow import (
    TEXT,
    batch_bytes,
    batch_table,
    coded,
    common_json,
    emission_ids,
    flags,
    integers,
    narrow,
    numbers_of,
    repeated_list,
    same,
    tag_column,
)
from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.keys import emission_base

pa: Any = pyarrow  # its stubs refuse NumPy buffers and boolean masks
SCHEMA = b"slice/1+arrow"
_LONG = pa.int64()


class SliceEnding(msgspec.Struct, frozen=True, omit_defaults=True):
    """How some of the recipients ended; the fields are those of a decision."""

    outcome: str
    reason: str | None = None
    inbox: bool = False
    group: str | None = None
    channels: tuple[str, ...] = ()
    emitted: bool = False
    """Whether each of them has an emission of his own."""
    counted: bool = False
    """Whether `cap_hour` and `cap_day` are on the record."""


class SliceFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all recipients of a slice have in common: fields of decisions and emissions, and the place in `work`."""

    event_id: str
    type: str
    priority: str
    sender_id: str
    decided_at: int
    ingested_at: int
    place: int
    control_version: int
    registry_version: int
    tzdata_version: str
    endings: tuple[SliceEnding, ...]
    actor: str | None = None
    object: str | None = None
    follower_age_ms: int | None = None


class Recipients(NamedTuple):
    """What differs from recipient to recipient; arrays of one length."""

    users: Any
    """Their ids, as Arrow text."""
    tags: npt.NDArray[np.uint64]
    """`state.model.keys.user_tag` as little-endian numbers."""
    ending: npt.NDArray[np.int32]
    """The number of the ending."""
    cap_hour: npt.NDArray[np.int32]
    cap_day: npt.NDArray[np.int32]
    preference_version: npt.NDArray[np.int64]
    endpoint_version: npt.NDArray[np.int64]
    deliveries: npt.NDArray[np.int64]
    """Addresses that the emission goes to; 0 without one."""
    until: npt.NDArray[np.int64]
    """Where HELD; else 0."""


class Expanded(NamedTuple):
    """The records of a slice as columns that bear their names."""

    decisions: Any
    emissions: Any


class ExpandedTogether(NamedTuple):
    """The records of slices that differ in their place alone, slice by slice."""

    slices: list[int]
    """Their numbers among those given, ascending."""
    expanded: Expanded
    decisions: npt.NDArray[np.int64]
    """How many each slice has."""
    emissions: npt.NDArray[np.int64]


_facts = msgspec.json.Decoder(SliceFacts)


def _has(facts: SliceFacts, name: str) -> npt.NDArray[np.bool_]:
    """Per ending."""
    return np.array([getattr(ending, name) for ending in facts.endings], np.bool_)


def encode_slice(facts: SliceFacts, recipients: Recipients) -> bytes:
    """The value of a record with the schema `slice/1+arrow`."""
    ending, counted = recipients.ending, _has(facts, "counted")[recipients.ending]
    columns = {
        "user": recipients.users,
        "ending": narrow(ending),
        # Zeros where they are not shown: they may differ when the record is decided again.
        "cap_hour": narrow(recipients.cap_hour * counted),
        "cap_day": narrow(recipients.cap_day * counted),
        "preference_age": _age(facts.place, recipients.preference_version),
        "endpoint_age": _age(facts.place, recipients.endpoint_version),
    }
    if np.count_nonzero(recipients.until):
        columns["held_ms"] = narrow(recipients.until - facts.decided_at, recipients.until == 0)
    emitted = _has(facts, "emitted")
    if emitted.any():
        columns["tag"] = tag_column(recipients.tags * emitted[ending])
        columns["deliveries"] = narrow(recipients.deliveries)
    return batch_bytes(columns, facts)


def _age(place: int, versions: npt.NDArray[np.int64]) -> Any:
    return narrow(place - versions, versions < 0)


def _version(places: Any, age: Any) -> Any:
    return pa.compute.fill_null(pa.compute.subtract(places, age.cast(_LONG)), -1)


def _until(facts: SliceFacts, columns: dict[str, Any]) -> dict[str, Any]:
    if "held_ms" not in columns:
        return {}
    return {"until": pa.compute.add(columns["held_ms"].cast(_LONG), pa.scalar(facts.decided_at, _LONG))}


def expand(value: bytes) -> Expanded:
    """The decisions and emissions of a slice.

    :raises MalformedRecordError: it is none; the text names what is missing or does not fit.
    """
    return expand_many([value])[0].expanded


def expand_many(values: Sequence[bytes]) -> list[ExpandedTogether]:
    """Those of an event cost little more than one of them. Raises as `expand`."""
    alike: dict[tuple[object, ...], list[tuple[int, int, Any]]] = {}
    try:
        for number, value in enumerate(values):
            table = batch_table(value, "slice")
            facts = _facts.decode(common_json(table, "slice"))
            key = (msgspec.structs.replace(facts, place=0), *((each.name, each.type.id) for each in table.schema))
            alike.setdefault(key, []).append((number, facts.place, table))
        return [_together(cast("SliceFacts", key[0]), found) for key, found in alike.items()]
    except (*UNDECODABLE, pa.ArrowException, KeyError, IndexError) as error:
        raise MalformedRecordError(f"slice: {error}") from error


def _together(facts: SliceFacts, found: list[tuple[int, int, Any]]) -> ExpandedTogether:
    table = pa.concat_tables([each for _, _, each in found]).combine_chunks()
    columns = {name: _only_chunk(table, name) for name in table.column_names}
    rows = np.array([len(each) for _, _, each in found], np.int64)
    ending = numbers_of(columns["ending"], "slice: ending").astype(np.int32)
    if len(ending) and not 0 <= ending.min() <= ending.max() < len(facts.endings):
        raise MalformedRecordError("slice: ending: names one that is not in the list")
    emitted = _has(facts, "emitted")[ending]
    emissions = np.bincount(np.repeat(np.arange(len(rows)), rows)[emitted], minlength=len(rows))
    places = integers(np.repeat(np.array([place for _, place, _ in found], np.int64), rows))
    expanded = _expanded(facts, columns, ending, emitted, places)
    return ExpandedTogether([number for number, _, _ in found], expanded, rows, emissions)


def _only_chunk(table: Any, name: str) -> Any:
    return table[name].chunk(0) if len(table) else pa.array([], table[name].type)


def _expanded(
    facts: SliceFacts,
    columns: dict[str, Any],
    ending: npt.NDArray[np.int32],
    emitted: npt.NDArray[np.bool_],
    places: Any,
) -> Expanded:
    ids = pa.nulls(len(ending), TEXT)
    emissions = None
    if emitted.any():
        every = emission_ids(emission_base(facts.type, facts.object, facts.event_id), columns["tag"], "slice: tag")
        mask = flags(emitted)
        ids = pa.compute.if_else(mask, every, pa.scalar(None, TEXT))
        of = {name: columns[name].filter(mask) for name in ("user", "deliveries")}
        emissions = _emissions(facts, of, ids.filter(mask), ending[emitted])
    return Expanded(_decisions(facts, columns, ids, ending, places), emissions)


def _decisions(facts: SliceFacts, columns: dict[str, Any], ids: Any, ending: npt.NDArray[np.int32], places: Any) -> Any:
    count, endings = len(ending), facts.endings
    uncounted = ~_has(facts, "counted")[ending]
    channels = pa.array([list(each.channels) for each in endings], pa.list_(TEXT))
    return pa.table({
        "kind": same("decision", count),
        "event_id": same(facts.event_id, count),
        "user": columns["user"],
        "outcome": coded(ending, [each.outcome for each in endings]),
        "reason": coded(ending, [each.reason for each in endings]),
        "inbox": flags(_has(facts, "inbox")[ending]),
        "emission_id": ids,
        "channels": channels.take(integers(ending)),
        "decided_at": same(facts.decided_at, count, _LONG),
        **_until(facts, columns),
        "cap_hour": integers(numbers_of(columns["cap_hour"], "slice: cap_hour"), uncounted),
        "cap_day": integers(numbers_of(columns["cap_day"], "slice: cap_day"), uncounted),
        "type": same(facts.type, count),
        "priority": same(facts.priority, count),
        "sender_id": same(facts.sender_id, count),
        "actor": same(facts.actor, count),
        "object": same(facts.object, count),
        "ingested_at": same(facts.ingested_at, count, _LONG),
        "group": coded(ending, [each.group for each in endings]),
        "preference_version": _version(places, columns["preference_age"]),
        "endpoint_version": _version(places, columns["endpoint_age"]),
        "control_version": same(facts.control_version, count, _LONG),
        "registry_version": same(facts.registry_version, count, _LONG),
        "tzdata_version": same(facts.tzdata_version, count),
        "follower_age_ms": same(facts.follower_age_ms, count, _LONG),
    })  # fmt: skip


def _emissions(facts: SliceFacts, of: dict[str, Any], ids: Any, ending: npt.NDArray[np.int32]) -> Any:
    count = len(ending)
    channels = pa.array([list(each.channels) for each in facts.endings], pa.list_(TEXT))
    return pa.table({
        "kind": same("emission", count),
        "emission_id": ids,
        "first_event_id": same(facts.event_id, count),
        "user": of["user"],
        "type": same(facts.type, count),
        "object": same(facts.object, count),
        "count": same(1, count, _LONG),
        "actors": repeated_list([] if facts.actor is None else [facts.actor], count),
        "channels": channels.take(integers(ending)),
        "decided_at": same(facts.decided_at, count, _LONG),
        "deliveries": of["deliveries"].cast(_LONG),
    })  # fmt: skip
