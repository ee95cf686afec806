"""Exports of decide's checkpoint by key group: written per process slot, restored per group (DECISIONS, Exports).

A group may have moved to another slot since an export was written. So a restore takes, for each group, the newest sound
export of any slot that has the group, and copies that group's rows. Every key but that of the format row is (kind,
group, ...), see `state.decide.codec`. The group's meta row, which holds its offset, is written last: a restore that was
killed half-way counts as not done. Rows of what the group skips as poison are kept and added to, never replaced.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import takewhile
from pathlib import Path

from rocksdict import Rdict, RdictIter, ReadOptions, WriteBatch

from state.decide import codec
from state.disk.exports import (
    Export,
    ExportedOffset,
    ExportSource,
    OnRefusedExport,
    exported_stores,
    ingest_export,
    list_exports,
    opened_export,
    rows_from,
    verify_export,
)
from state.disk.rocksdb import export_view, named_damage, stored_row, synced
from state.model.errors import StateDamagedError

STORE = "decide"
TOPIC = "work"
_META = b"M"
_SKIPPED = (b"X", b"Y")
_BATCH_BYTES = 4 << 20


def group_source(slot: int, database: Rdict) -> ExportSource:
    """The checkpoint of one process of decide."""
    return ExportSource(f"{STORE}/{slot}", "group", partial(export_view, database), _offsets)


def _offsets(view: RdictIter) -> list[ExportedOffset]:
    metas = takewhile(lambda row: row[0][:1] == _META, rows_from(view, _META))
    return [ExportedOffset(TOPIC, key[1], int(codec.decode_meta(value)[0])) for key, value in metas]


def newest_per_group(
    exports: Path, wanted: Mapping[int, range], refused: OnRefusedExport = lambda _path, _error: None
) -> dict[int, Export]:
    """For each group the sound export with the highest next offset within the group's range, of all slots.

    A group for which there is none is left out. `range(low, high)`: low <= next offset < high.
    """
    known = [each for store in exported_stores(exports, STORE) for each in list_exports(exports, store, refused)]
    sound: dict[Path, bool] = {}
    chosen: dict[int, Export] = {}
    for group, offsets in wanted.items():
        fitting = [each for each in known if (each.offset(TOPIC, group) or 0) in offsets and each.offset(TOPIC, group)]
        for export in sorted(fitting, key=lambda each: each.offset(TOPIC, group) or 0, reverse=True):
            if _is_sound(export, sound, refused):
                chosen[group] = export
                break
    return chosen


def _is_sound(export: Export, seen: dict[Path, bool], refused: OnRefusedExport) -> bool:
    if export.directory not in seen:
        try:
            verify_export(export)
            seen[export.directory] = True
        except StateDamagedError as error:
            refused(export.directory, error)
            seen[export.directory] = False
    return seen[export.directory]


def restore_groups(database: Rdict, chosen: Mapping[int, Export], scratch: Path) -> dict[int, int]:
    """Put the rows of these groups in place of what the checkpoint has of them; gives each group's next offset.

    `scratch` is a directory of the caller's own, used and removed.

    :raises StateDamagedError: RocksDB refuses an export that was sound by its digests.
    """
    by_export: dict[Path, list[int]] = {}
    for group, export in chosen.items():
        by_export.setdefault(export.directory, []).append(group)
    restored: dict[int, int] = {}

    def is_whole(groups: list[int]) -> bool:
        return len(groups) == len(chosen[groups[0]].manifest.offsets)

    # Whole tables first: what they may hold of groups that they do not name goes when those are copied.
    for groups in sorted(by_export.values(), key=is_whole, reverse=True):
        export = chosen[groups[0]]
        if is_whole(groups):
            restored |= _ingest_all(export, database)
            continue
        shutil.rmtree(scratch, ignore_errors=True)
        with opened_export(export, scratch) as rows:
            for group in groups:
                restored[group] = copy_group(rows, database, group)
    shutil.rmtree(scratch, ignore_errors=True)
    return restored


def _ingest_all(export: Export, database: Rdict) -> dict[int, int]:
    """All groups of an export as whole tables, at once: fifty times faster than row by row."""
    for place in export.manifest.offsets:
        clear_group(database, place.number)
    ingest_export(export, database)
    return {place.number: place.offset for place in export.manifest.offsets}


def copy_group(source: Rdict, target: Rdict, group: int) -> int:
    """The group's rows, its meta row last; gives the next offset."""
    clear_group(target, group)
    meta_key = codec.checkpoint_key(_META, group)
    _write(target, (row for row in group_rows(source, group) if row[0] != meta_key))
    meta = source[meta_key]
    assert isinstance(meta, bytes)  # raw mode; the manifest knows the group
    _write(target, [(meta_key, meta)])
    return int(codec.decode_meta(meta)[0])


def clear_group(database: Rdict, group: int) -> None:
    """Remove what the checkpoint has of a group, also what a restore that was killed left."""
    _write(database, ((key, None) for key, _ in _meta_first(database, group)))


def _meta_first(database: Rdict, group: int) -> Iterator[tuple[bytes, bytes]]:
    """So that a group that is being removed is at no time a group that looks whole."""
    meta_key = codec.checkpoint_key(_META, group)
    meta = stored_row(database, meta_key)
    if meta is not None:
        yield meta_key, meta
    yield from (row for row in group_rows(database, group) if row[0] != meta_key and row[0][:1] not in _SKIPPED)


def group_rows(database: Rdict, group: int) -> Iterator[tuple[bytes, bytes]]:
    """Every row of a group, of whatever kind, in the order of the keys."""
    with named_damage(database.path()):
        for kind in codec.KINDS:
            # Within bounds: what was removed of the groups beside it is not passed, time and again.
            bounds = ReadOptions()
            bounds.set_iterate_upper_bound(bytes((kind, group + 1)))
            cursor = database.iter(bounds)
            cursor.seek(bytes((kind, group)))
            while cursor.valid():
                yield cursor.key(), cursor.value()
                cursor.next()
            cursor.status()  # a damaged block ends the rows as their end does; the next seek would forget it


def _write(database: Rdict, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
    """In batches of bounded size, each flushed; None removes."""
    batch = WriteBatch(raw_mode=True)
    for key, value in rows:
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
        if batch.size_in_bytes() >= _BATCH_BYTES:
            database.write(batch, write_opt=synced())
            batch = WriteBatch(raw_mode=True)
    if len(batch):
        database.write(batch, write_opt=synced())
