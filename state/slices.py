"""Slices of the ledger (TOPICS.md): what decide decides for many recipients of one event, as one record.

A slice says once what is the same for all, or for all who ended alike, and holds what differs as narrow columns.
`expand` makes of it exactly the decisions and emissions that would have been written one by one.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    narrow_parts,
    numbers_of,
    same,
    tag_column,
    with_gaps,
)
from state.model.arrow_stream import PlainColumn
from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.keys import emission_base

pa: Any = pyarrow  # its stubs refuse NumPy buffers and boolean masks
SCHEMA = b"slice/1+arrow"
_LONG = pa.int64()
_ALWAYS = frozenset({"user", "ending", "cap_hour", "cap_day", "preference_age", "endpoint_age"})
_OF_EMISSIONS = frozenset({"tag", "deliveries"})
_TYPES = {"user": TEXT, "tag": pa.binary(8)}
_NUMBERS = frozenset({"ending", "cap_hour", "cap_day", "preference_age", "endpoint_age", "held_ms", "deliveries"})
_WITHOUT_NULLS = ("user", "ending", "cap_hour", "cap_day", "tag")


_REFUSED = (*UNDECODABLE, pa.ArrowException, KeyError, IndexError, OverflowError)
_UNFIT = (*_REFUSED, MalformedRecordError)


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
    ending: npt.NDArray[np.integer[Any]]
    """Each recipient's index into `SliceFacts.endings`."""
    cap_hour: npt.NDArray[np.int32]
    cap_day: npt.NDArray[np.int32]
    preference_version: npt.NDArray[np.int64]
    endpoint_version: npt.NDArray[np.int64]
    deliveries: npt.NDArray[np.int64]
    """Addresses that the emission goes to; 0 without one."""
    until: npt.NDArray[np.int64]
    """The time in ms until which the recipient is held; 0 where he is not."""


class Expanded(NamedTuple):
    """The records of a slice as columns that bear their names."""

    decisions: Any
    emissions: Any


class ExpandedTogether(NamedTuple):
    """The records of several slices, one slice behind the other."""

    expanded: Expanded
    decisions: npt.NDArray[np.int64]
    """The number of decisions in each slice."""
    emissions: npt.NDArray[np.int64]
    """The number of emissions in each slice."""


class SliceOutline(NamedTuple):
    """What can be said of a slice without expanding it."""

    facts: SliceFacts
    rows: int
    """How many decisions and emissions it has, together."""


class _SliceRows(NamedTuple):
    """The recipients of several slices as rows of one table."""

    facts: Sequence[SliceFacts]
    """One for each slice."""
    of: npt.NDArray[np.int32]
    """For each row the index of its slice in `facts`."""
    columns: dict[str, Any]
    """The columns of the records, unchanged."""
    endings: Sequence[SliceEnding]
    """The endings of all slices."""
    ending: npt.NDArray[np.int32]
    """For each row the index of its ending in `endings`."""

    def has(self, name: str) -> npt.NDArray[np.bool_]:
        """For each row, whether its ending has this property."""
        return _has(self.endings, name)[self.ending]

    def integers(self, name: str) -> Any:
        """For each row the integer that the facts of its slice have under this name."""
        values = [getattr(each, name) for each in self.facts]
        if None in values:
            return pa.array(values, _LONG).take(integers(self.of))
        return integers(np.array(values, np.int64)[self.of])

    def texts(self, name: str) -> Any:
        """For each row the text that the facts of its slice have under this name."""
        return coded(self.of, [getattr(each, name) for each in self.facts])

    def ended(self, name: str) -> Any:
        """For each row the text that its ending has under this name."""
        return coded(self.ending, [getattr(each, name) for each in self.endings])


_facts = msgspec.json.Decoder(SliceFacts)


def _has(endings: Sequence[SliceEnding], name: str) -> npt.NDArray[np.bool_]:
    """For each ending, whether it has this property."""
    return np.array([getattr(ending, name) for ending in endings], np.bool_)


def encode_slices(facts: Sequence[SliceFacts], recipients: Sequence[Recipients]) -> list[bytes]:
    """Values of records with the schema `slice/1+arrow`, one for each of the facts; none is without recipients. Small
    ones cost little more together than one of them alone.
    """
    sizes = [len(each.ending) for each in recipients]
    joined = Recipients(None, *map(_joined, list(zip(*recipients, strict=True))[1:]))
    places, decided_at = _spread(sizes, [(each.place, each.decided_at) for each in facts])
    flags_of = [(_has(each.endings, "counted"), _has(each.endings, "emitted")) for each in facts]
    counted = _joined([of[each.ending] for (of, _), each in zip(flags_of, recipients, strict=True)])
    # Zeros where they are not shown: they may differ when the record is decided again.
    columns = {
        "ending": narrow_parts(joined.ending, sizes),
        "cap_hour": narrow_parts(joined.cap_hour * counted, sizes),
        "cap_day": narrow_parts(joined.cap_day * counted, sizes),
        "preference_age": _ages(places, joined.preference_version, sizes),
        "endpoint_age": _ages(places, joined.endpoint_version, sizes),
    }
    found: list[dict[str, Any]] = [
        {"user": each.users} | {name: parts[part] for name, parts in columns.items()}
        for part, each in enumerate(recipients)
    ]
    if np.count_nonzero(joined.until):
        held_ms = narrow_parts(joined.until - decided_at, sizes, joined.until == 0)
        for own, held in zip(found, held_ms, strict=True):
            if held.nulls < held.rows:
                own["held_ms"] = held
    deliveries = narrow_parts(joined.deliveries, sizes)
    for own, each, (_, emitted), number in zip(found, recipients, flags_of, deliveries, strict=True):
        if emitted.any():
            own["tag"], own["deliveries"] = tag_column(each.tags * emitted[each.ending]), number
    return [batch_bytes(each, common) for each, common in zip(found, facts, strict=True)]


def _joined(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _spread(sizes: Sequence[int], values: Sequence[tuple[int, ...]]) -> Any:
    """The values of each part, repeated for each of its rows. A single part gives its values as they are."""
    return values[0] if len(values) == 1 else np.repeat(np.array(values, np.int64), sizes, axis=0).T


def _ages(places: Any, versions: npt.NDArray[np.int64], sizes: Sequence[int]) -> list[PlainColumn]:
    return narrow_parts(places - versions, sizes, versions < 0)


def _version(places: Any, age: Any) -> Any:
    return pa.compute.fill_null(pa.compute.subtract(places, age.cast(_LONG)), -1)


def expand(value: bytes) -> Expanded:
    """The decisions and emissions of a slice.

    :raises MalformedRecordError: the value is no slice; the text names what is missing or does not fit.
    """
    return expand_many([value]).expanded


def expand_many(values: Sequence[bytes], chosen: Callable[[Any], Any] | None = None) -> ExpandedTogether:
    """The decisions and emissions of several slices: many small ones cost little more than one large one.

    :param chosen: gets the table of each slice and returns the part of it to expand. None: everything is expanded.
    :raises MalformedRecordError: as in `expand`, or the slices cannot be put into one table.
    """
    try:
        tables = [batch_table(value, "slice") for value in values]
        facts = [_facts.decode(common_json(table, "slice")) for table in tables]
        return _expanded_together(tables if chosen is None else [chosen(table) for table in tables], facts)
    except _REFUSED as error:
        raise MalformedRecordError(f"slice: {error}") from error


def _expanded_together(tables: Sequence[Any], facts: Sequence[SliceFacts]) -> ExpandedTogether:
    rows = _together(tables, facts)
    emitted = rows.has("emitted")
    emissions = np.bincount(rows.of[emitted], minlength=len(tables))
    sizes = np.array([len(table) for table in tables], np.int64)
    return ExpandedTogether(_expanded(rows, emitted), sizes, emissions)


def outlines(values: Sequence[bytes]) -> list[SliceOutline | None]:
    """The outline of each slice; None where `expand_many` might refuse it, alone or together with the others.

    Columns are converted value by value: where their types fit, what the first row does all rows do.
    """
    found: list[SliceOutline | None] = [None] * len(values)
    firsts: list[tuple[Any, SliceFacts]] = []
    for number, value in enumerate(values):
        try:
            table = batch_table(value, "slice")
            facts = _facts.decode(common_json(table, "slice"))
            ending = _together([table], [facts]).ending if _is_as_written(table) else ()
        except _UNFIT:
            continue  # who expands it says why
        if len(ending):
            emitted = int(np.count_nonzero(_has(facts.endings, "emitted")[ending]))
            found[number] = SliceOutline(facts, len(table) + emitted)
            firsts.append((table.slice(0, 1), facts))
    try:
        _expanded_together([table for table, _ in firsts], [facts for _, facts in firsts])
    except _UNFIT:
        return [None] * len(values)
    return found


def _is_as_written(table: Any) -> bool:
    """Whether all columns are those that `encode_slices` writes, with the same types."""
    return all(
        column.type == _TYPES[name] if name in _TYPES else name in _NUMBERS and _is_narrow(column.type)
        for name, column in zip(table.column_names, table.columns, strict=True)
    ) and not any(name in table.column_names and table[name].null_count for name in _WITHOUT_NULLS)


def _is_narrow(kind: Any) -> bool:
    return bool(kind == _LONG or (pa.types.is_integer(kind) and kind.bit_width <= 32))


def _together(tables: Sequence[Any], facts: Sequence[SliceFacts]) -> _SliceRows:
    of = np.repeat(np.arange(len(tables), dtype=np.int32), [len(table) for table in tables])
    table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    columns = {name: _only_chunk(table, name) for name in table.column_names}
    own = numbers_of(columns["ending"], "slice: ending")
    firsts, endings = _all_endings(facts)
    if len(own) and not (own.min() >= 0 and (own < np.array([len(each.endings) for each in facts])[of]).all()):
        raise MalformedRecordError("slice: ending: names one that is not in the list")
    ending = (own + firsts[of]).astype(np.int32)
    emitted = np.bincount(of[_has(endings, "emitted")[ending]], minlength=len(tables))
    for each, some in zip(tables, emitted.tolist(), strict=True):
        _refuse_missing(each, _ALWAYS | _OF_EMISSIONS if some else _ALWAYS)
    return _SliceRows(facts, of, columns, endings, ending)


def _all_endings(facts: Sequence[SliceFacts]) -> tuple[npt.NDArray[np.int64], list[SliceEnding]]:
    """Those of all slices, and where those of each begin; slices of an event mostly have the same."""
    places: dict[tuple[SliceEnding, ...], int] = {}
    endings: list[SliceEnding] = []
    for each in facts:
        if each.endings not in places:
            places[each.endings] = len(endings)
            endings += each.endings
    return np.array([places[each.endings] for each in facts], np.int64), endings


def _refuse_missing(table: Any, names: frozenset[str]) -> None:
    if missing := names.difference(table.column_names):
        raise MalformedRecordError(f"slice: {min(missing)}: missing")


def _only_chunk(table: Any, name: str) -> Any:
    return table[name].chunk(0) if len(table) else pa.array([], table[name].type)


def _expanded(rows: _SliceRows, emitted: npt.NDArray[np.bool_]) -> Expanded:
    if not emitted.any():
        return Expanded(_decisions(rows, pa.nulls(len(rows.of), TEXT)), None)
    mask = flags(emitted)
    columns = {name: rows.columns[name].filter(mask) for name in ("user", "deliveries", "tag")}
    some = rows._replace(of=rows.of[emitted], columns=columns, ending=rows.ending[emitted])
    bases = [emission_base(each.type, each.object, each.event_id) for each in rows.facts]
    ids = emission_ids(bases, some.of, columns["tag"], "slice: tag")
    every = ids if emitted.all() else with_gaps(ids, emitted)
    return Expanded(_decisions(rows, every), _emissions(some, ids))


def _decisions(rows: _SliceRows, ids: Any) -> Any:
    columns, count = rows.columns, len(rows.of)
    uncounted, places = ~rows.has("counted"), rows.integers("place")
    decided_at = rows.integers("decided_at")
    until = {} if "held_ms" not in columns else {"until": pa.compute.add(columns["held_ms"].cast(_LONG), decided_at)}
    return pa.table({
        "kind": same("decision", count),
        "event_id": rows.texts("event_id"),
        "user": columns["user"],
        "outcome": rows.ended("outcome"),
        "reason": rows.ended("reason"),
        "inbox": flags(rows.has("inbox")),
        "emission_id": ids,
        "channels": _channels(rows),
        "decided_at": decided_at,
        **until,
        "cap_hour": integers(numbers_of(columns["cap_hour"], "slice: cap_hour"), uncounted),
        "cap_day": integers(numbers_of(columns["cap_day"], "slice: cap_day"), uncounted),
        **{name: rows.texts(name) for name in ("type", "priority", "sender_id", "actor", "object")},
        "ingested_at": rows.integers("ingested_at"),
        "group": rows.ended("group"),
        "preference_version": _version(places, columns["preference_age"]),
        "endpoint_version": _version(places, columns["endpoint_age"]),
        "control_version": rows.integers("control_version"),
        "registry_version": rows.integers("registry_version"),
        "tzdata_version": rows.texts("tzdata_version"),
        "follower_age_ms": rows.integers("follower_age_ms"),
    })  # fmt: skip


def _channels(rows: _SliceRows) -> Any:
    return pa.array([list(each.channels) for each in rows.endings], pa.list_(TEXT)).take(integers(rows.ending))


def _emissions(rows: _SliceRows, ids: Any) -> Any:
    count = len(rows.of)
    actors = [[] if each.actor is None else [each.actor] for each in rows.facts]
    return pa.table({
        "kind": same("emission", count),
        "emission_id": ids,
        "first_event_id": rows.texts("event_id"),
        "user": rows.columns["user"],
        "type": rows.texts("type"),
        "object": rows.texts("object"),
        "count": same(1, count, _LONG),
        "actors": pa.array(actors, pa.list_(TEXT)).take(integers(rows.of)),
        "channels": _channels(rows),
        "decided_at": rows.integers("decided_at"),
        "deliveries": rows.columns["deliveries"].cast(_LONG),
    })  # fmt: skip
