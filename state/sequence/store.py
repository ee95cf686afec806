"""What `sequence` remembers, and its checkpoint in RocksDB.

Rows (values begin with a version byte, then MessagePack, see `state.disk.packing`;
`versions` are JSON, `load` is left out where it is false):

| key | value |
|---|---|
| `M` | [positions [[topic, partition, next offset]], ends of work [[partition, next offset]], stamp, versions, load] |
| `W` | `work_since`; absent: 0 |
| `R` + MessagePack of the entry's key | [event_id, expires, content] |
| `X` | the time up to which entries expired; absent: written before there were rows `X` + hour |
| `X` + hour of expiry, u32 big-endian + MessagePack of the entry's key | only the version byte |
| `F` + followee, `S` + segment | bitmap of key groups, 30 bytes big-endian |
| `C` + MessagePack [segment, version, chunk] | users |
"""

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import islice, takewhile
from pathlib import Path

import msgspec
from rocksdict import AccessType, Rdict, RdictIter, WriteBatch

from state.disk.exports import ExportedOffset, ExportSource, rows_from
from state.disk.packing import VERSION, pack, u32, unpack
from state.disk.rocksdb import (
    database_options,
    export_view,
    lookup_options,
    named_damage,
    open_database,
    prefixed_rows,
    stored_row,
    stored_rows,
    synced,
)
from state.model.errors import StateDamagedError
from state.model.keys import KEY_GROUPS
from state.model.registry import Registry
from state.sequence.placement import GroupBitmaps, Placement
from state.sequence.repeats import RepeatEntry, RepeatIndex, RepeatKey

FORMAT = b"carillon sequence 1"
_pack_key = msgspec.msgpack.Encoder().encode
_unpack_key = msgspec.msgpack.Decoder().decode
_BITMAP_BYTES = KEY_GROUPS // 8
_HOUR_MS = 3_600_000
_HOUR_MAX = 2**32 - 1
_HOURS_KEPT = 64
_ROWS_AT_ONCE = 1000


class SegmentChunks:
    """Chunks of segment versions that were not committed yet."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[str, str], dict[int, list[str]]] = {}
        self.changed: set[tuple[str, str, int]] = set()

    def add(self, segment: str, version: str, chunk: int, users: list[str]) -> None:
        self._chunks.setdefault((segment, version), {})[chunk] = users
        self.changed.add((segment, version, chunk))

    def users(self, segment: str, version: str) -> list[str]:
        """All users of the version, in order of chunks."""
        chunks = self._chunks.get((segment, version), {})
        return [user for chunk in sorted(chunks) for user in chunks[chunk]]

    def count(self, segment: str, version: str) -> int:
        """How many chunks of the version are there."""
        return len(self._chunks.get((segment, version), {}))

    def forget(self, segment: str, version: str) -> None:
        """The version counts: its chunks are needed no more."""
        chunks = self._chunks.pop((segment, version), {})
        self.changed.update((segment, version, chunk) for chunk in chunks)

    def get(self, segment: str, version: str, chunk: int) -> list[str] | None:
        return self._chunks.get((segment, version), {}).get(chunk)


class SequenceState:
    """`stamp` is the time of the record being written and never falls."""

    def __init__(self, stored_mark: Callable[[RepeatKey], RepeatEntry | None] | None = None) -> None:
        """`stored_mark`: see `RepeatIndex`."""
        self.repeats = RepeatIndex(stored_mark)
        self.placement = Placement()
        self.segment_chunks = SegmentChunks()
        self.stamp = 0
        self.versions = b""
        """The `versions` record that counts since it was written, as stored JSON; empty: none yet."""
        self.under_load: bool | None = False
        self.away: dict[str, bool | None] = {}
        """What the decision log says of the load; None: not the same in all partitions, perhaps."""
        self.positions: dict[tuple[str, int], int] = {}
        self.work_ends: dict[int, int] = {}
        self.work_since = 0
        """Of a state made from the decision log: the time in ms since when all of that was retained; 0: its begin."""
        self.reread_until: dict[tuple[str, int], int] = {}
        """Partitions of events that are not read up to where they ended when this state was restored (not stored)."""
        self.recovered: set[tuple[str, int, int, int]] = set()
        """Sources of the records that are in the log beyond the checkpoint; of those for every group -1 - partition in
        place of the slice.
        """
        self.recovered_sources: set[tuple[str, int, int]] = set()
        self.recovered_plans: dict[tuple[str, int, int], int] = {}
        """Of fan-outs among them, the key groups that were planned for."""
        self.recovered_versions: dict[int, bytes] = {}
        """By partition, the last versions found there."""
        self.registries: dict[int, Registry] = {}
        """By partition, what was in force at the last record recovered there."""
        self.recovered_registries: dict[tuple[str, int, int], Registry] = {}
        """Of events among them, by which their marks were made, if repeats do not count for as long now."""

    def awaits_rereading(self) -> bool:
        """Whether the source of a record that was recovered is not read again; if not, what was recovered is gone."""
        if any(offset >= self.positions.get((topic, part), 0) for topic, part, offset in self.recovered_sources):
            return True
        for found in (self.recovered, self.recovered_sources, self.recovered_plans, self.recovered_registries):
            found.clear()
        return False

    def include(self, topic: str, partition: int, offset: int) -> None:
        """The record was sequenced, and all before it."""
        place = topic, partition
        self.positions[place] = offset + 1
        if self.reread_until and offset + 1 >= self.reread_until.get(place, 0):
            self.reread_until.pop(place, None)


class SequenceStore:
    """`collect` encodes what changed; `commit` writes it in one batch with one WAL sync."""

    def __init__(self, directory: Path, *, rows_at_once: int = _ROWS_AT_ONCE) -> None:
        """At least `rows_at_once` expired marks are looked at in a commit; of a busy one, twice as many as it sets.

        :raises StateDamagedError: the directory holds something else or does not open.
        """
        self._rows_at_once = rows_at_once
        self._db = open_database(directory, FORMAT, lookup_options())
        self._collected = WriteBatch(raw_mode=True)
        self._collected_marks: dict[RepeatKey, RepeatEntry | None] = {}
        self._removed_to = b"X"
        """Rows `X` up to this one are gone."""

    def load(self) -> SequenceState:
        """The stored state, or a new one. Marks stay on disk."""
        state = SequenceState(self._mark)
        meta = stored_row(self._db, b"M")
        if meta is not None:
            positions, ends, state.stamp, state.versions, *load = unpack(meta, "sequence")
            state.under_load = load[0] if load else False
            state.away = load[1] if len(load) > 1 else {}
            state.positions = {(topic, partition): offset for topic, partition, offset in positions}
            state.work_ends = dict(ends)
        since = stored_row(self._db, b"W")
        state.work_since = 0 if since is None else unpack(since, "sequence")
        expired = stored_row(self._db, b"X")
        if expired is None:
            self._index_marks()
        else:
            state.repeats.expire(unpack(expired, "mark"))
        for prefix, bitmaps in ((b"F", state.placement.followees), (b"S", state.placement.segments)):
            for key, value in prefixed_rows(self._db, prefix):
                name = key[1:].decode("utf-8", "surrogatepass")
                bitmaps.restore(name, int.from_bytes(unpack(value, "placement"), "big"))
        for key, value in prefixed_rows(self._db, b"C"):
            segment, version, chunk = _unpack_key(key[1:])
            state.segment_chunks.add(segment, version, chunk, unpack(value, "segment chunk"))
        state.segment_chunks.changed.clear()
        return state

    def _mark(self, key: RepeatKey) -> RepeatEntry | None:
        """The entry that was collected last, committed or not."""
        if key in self._collected_marks:
            return self._collected_marks[key]
        value = stored_row(self._db, b"R" + _pack_key(key))
        return None if value is None else RepeatEntry(*unpack(value, "mark"))

    def _index_marks(self) -> None:
        """Of a store that was written before there were rows `X` + hour. The row `X` comes last: until then, this
        begins anew.
        """
        marks = prefixed_rows(self._db, b"R")
        while some := list(islice(marks, self._rows_at_once)):
            batch = WriteBatch(raw_mode=True)
            for key, value in some:
                hour = RepeatEntry(*unpack(value, "mark")).expires // _HOUR_MS
                batch.put(_hour_of_expiry(hour) + key[1:], VERSION)
            self._db.write(batch)
        batch = WriteBatch(raw_mode=True)
        batch.put(b"X", pack(0))
        self._db.write(batch, write_opt=synced())

    def collect(self, state: SequenceState) -> None:
        """Encode what changed since the last call."""
        batch = self._collected
        self._collect_marks(state.repeats)
        self._collect_bitmaps(b"F", state.placement.followees)
        self._collect_bitmaps(b"S", state.placement.segments)
        for name in state.segment_chunks.changed:
            users = state.segment_chunks.get(*name)
            self._put_or_delete(b"C" + _pack_key(name), None if users is None else pack(users))
        state.segment_chunks.changed.clear()
        positions = [[topic, partition, offset] for (topic, partition), offset in sorted(state.positions.items())]
        if state.work_since:
            batch.put(b"W", pack(state.work_since))
        meta = [positions, sorted(state.work_ends.items()), state.stamp, state.versions]
        batch.put(
            b"M", pack([*meta, state.under_load, state.away] if state.under_load is not False or state.away else meta)
        )

    def _collect_marks(self, marks: RepeatIndex) -> None:
        changed, until = marks.take_set(), marks.expired_until
        if not len(self._collected):  # else it would not see all, and pass over some for good
            self._remove_expired(until, max(self._rows_at_once, 2 * len(changed)))
        put = self._collected.put
        for key, entry in changed.items():
            packed = _pack_key(key)
            if entry is None or entry.expires <= until:
                self._collected.delete(b"R" + packed)
            else:
                put(b"R" + packed, VERSION + _pack_key(entry))
                put(_hour_of_expiry(entry.expires // _HOUR_MS) + packed, VERSION)
        self._collected_marks.update(changed)
        self._collected.put(b"X", pack(until))

    def _remove_expired(self, until: int, limit: int) -> None:
        """Of hours that are over, the next rows. A mark that was set anew since then has another row `X`.

        What is put later in the same batch wins.
        """
        begin, end = self._removed_to + b"\0", b"X" + u32(until // _HOUR_MS)
        due = takewhile(lambda row: row[0] < end, prefixed_rows(self._db, b"X", begin))
        rows = [key for key, _ in islice(due, limit)]
        if not rows:
            return
        self._removed_to = rows[-1]
        marks = [b"R" + row[5:] for row in rows]
        for row, mark, value in zip(rows, marks, stored_rows(self._db, marks), strict=True):
            self._collected.delete(row)
            if value is not None and RepeatEntry(*unpack(value, "mark")).expires <= until:
                self._collected.delete(mark)

    def _collect_bitmaps(self, prefix: bytes, bitmaps: GroupBitmaps) -> None:
        for name in bitmaps.changed:
            value = bitmaps.of(name).to_bytes(_BITMAP_BYTES, "big")
            self._collected.put(prefix + name.encode("utf-8", "surrogatepass"), pack(value))
        bitmaps.changed.clear()

    def _put_or_delete(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._collected.delete(key)
        else:
            self._collected.put(key, value)

    def commit(self) -> None:
        """Write what was collected, if anything."""
        if len(self._collected):
            self._db.write(self._collected, write_opt=synced())
            self._collected = WriteBatch(raw_mode=True)
            self._collected_marks = {}

    def export_source(self) -> ExportSource:
        """What an export of this store is made of."""
        return ExportSource("sequence", "partition", partial(export_view, self._db), included)

    def close(self) -> None:
        """Close without committing what is collected."""
        self._db.close()


@lru_cache(_HOURS_KEPT)
def _hour_of_expiry(hour: int) -> bytes:
    """What the keys of marks that end in an hour begin with."""
    return b"X" + u32(min(hour, _HOUR_MAX))


def included(view: RdictIter) -> list[ExportedOffset]:
    """What a checkpoint includes: accepted records that were sequenced, and the decision log up to its ends then."""
    found = next(rows_from(view, b"M"), None)
    if found is None or found[0] != b"M":
        return []
    positions, ends, *_ = unpack(found[1], "sequence")
    return [*(ExportedOffset(*position) for position in positions), *(ExportedOffset("work", *end) for end in ends)]


def stored_places(directory: Path) -> list[ExportedOffset]:
    """What the checkpoint in a directory includes; empty where there is none. Opens it to read only.

    :raises StateDamagedError: it does not open.
    """
    if not (directory / "CURRENT").exists():
        return []
    try:
        database = Rdict(str(directory), options=database_options(), access_type=AccessType.read_only(False))
    except Exception as error:  # rocksdict raises bare Exception for whatever RocksDB refuses
        raise StateDamagedError(
            f"{directory}: RocksDB does not open it ({error}); delete it, and the next start restores it"
        ) from error
    try:
        with named_damage(directory):
            return included(database.iter())
    finally:
        database.close()
