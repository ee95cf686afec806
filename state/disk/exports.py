"""Exports: a store's rows at known offsets, outside of its state directory (DECISIONS, Exports).

    DIR/exports/<store>/<number>/manifest.json    see below
    DIR/exports/<store>/<number>/0000.sst ...     the rows in the order of their keys, RocksDB's table format
    DIR/exports/<store>/.writing/                 one that was never finished; nobody reads it
    DIR/exports/<store>/.removing/                one that is being removed, or whose removal was cut off

`store` is `decide/<slot>`, `sequence` or `inbox/<partition>`; numbers have six digits and rise. Tables are copies of
the rows, not hard links to the store's own files, which would share their damage. Everything in an export is flushed
before a rename makes it appear. So an export is whole, or it was damaged later: then its digests say so, and it is
refused. Manifest, version 1, UTF-8 JSON:

    {"digest": sha256 of the bytes of `manifest` as written here, hexadecimal,
     "manifest": {"format": "carillon export", "version": 1, "store", "created_at": ms,
                  "by": "group" | "partition",
                  "offsets": [[topic, number, next offset]],
                  "rows": number of rows, "files": [{"name", "bytes", "rows", "sha256"}]}}

`offsets` says what the rows include: everything below `next offset` of the topic, in that key group of decide (`by`
group), or in that partition of it (`by` partition). The first key of every store is its format row, so what is loaded
says itself what it is.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import msgspec
from rocksdict import IngestExternalFileOptions, Rdict, SstFileWriter

from state.disk.files import flush, rename_flushed, replace_file
from state.disk.rocksdb import database_options
from state.model.errors import StateDamagedError, StateError, StateVersionError

FORMAT, VERSION = "carillon export", 1
FILE_BYTES = 16 << 20
"""A table is closed, and flushed, when its rows reach this size."""
_BYTES_BETWEEN_PAUSES, _ROW_COST_BYTES = 256 << 10, 512
"""What is written between two pauses; a small row costs as much time as so many bytes."""
_WRITING, _REMOVING, _MANIFEST = ".writing", ".removing", "manifest.json"


class ExportedOffset(NamedTuple):
    """Everything below `offset` of a key group or partition of a topic is included."""

    topic: str
    number: int
    offset: int


class ExportFile(msgspec.Struct, frozen=True):
    """One table of an export."""

    name: str
    bytes: int
    rows: int
    sha256: str


class ExportManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an export holds; see the module's text."""

    format: str = FORMAT
    version: int = VERSION
    store: str
    created_at: int
    by: Literal["group", "partition"]
    offsets: list[ExportedOffset]
    rows: int
    files: list[ExportFile]


class Export(NamedTuple):
    """An export whose manifest was read."""

    directory: Path
    number: int
    manifest: ExportManifest

    def offset(self, topic: str, number: int) -> int | None:
        """The next offset of a key group or partition; None where the export knows nothing of it."""
        found = (place.offset for place in self.manifest.offsets if place[:2] == (topic, number))
        return next(found, None)


class RowView(Protocol):
    """A cursor over a store's rows as they were when it was made: RocksDB's own, or one that does the same."""

    def seek_to_first(self) -> None:
        """Go to the first row."""
        ...

    def seek(self, key: Any) -> None:
        """Go to the first row from a key on."""
        ...

    def valid(self) -> bool:
        """Say whether there is a row here."""
        ...

    def key(self) -> Any:
        """Give its key."""
        ...

    def value(self) -> Any:
        """Give its value."""
        ...

    def next(self) -> None:
        """Go to the next one."""
        ...

    def status(self) -> None:
        """Raise what made it end before the last row."""
        ...


class ExportSource(NamedTuple):
    """A store that can be exported."""

    store: str
    by: Literal["group", "partition"]
    view: Callable[[], RowView]
    """Gives a cursor: what was committed when it was made, whatever is written later (`Snapshot.items` is not that)."""
    offsets: Callable[[Any], list[ExportedOffset]]
    """What that view includes; empty: nothing yet, and there is no export."""


OnRefusedExport: TypeAlias = Callable[[Path, StateError], None]
"""Told of every export that is passed over because it is damaged, or a newer program's."""


class _Stored(msgspec.Struct):
    digest: str
    manifest: msgspec.Raw


def write_export(
    exports: Path, source: ExportSource, *, at: int, pause: Callable[[], None] = lambda: None
) -> Export | None:
    """Write the store's committed rows as the next export; None where there is nothing yet.

    One writer per store at a time: the owner of its state. `pause` is called between blocks of rows, so that the caller
    can give way. Memory does not grow with the store.

    :raises OSError, Exception: the disk refuses (RocksDB's errors are bare); nothing is left of it.
    """
    view = source.view()
    offsets = source.offsets(view)
    if not offsets:
        return None
    home = exports / source.store
    draft = home / _WRITING
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        files = _write_tables(draft, view, pause)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)  # it may be what fills the disk
        raise
    manifest = ExportManifest(
        store=source.store, created_at=at, by=source.by, offsets=offsets,
        rows=sum(file.rows for file in files), files=files,
    )  # fmt: skip
    _write_manifest(draft / _MANIFEST, manifest)
    number = max(_numbers(home), default=0) + 1
    directory = home / f"{number:06}"
    rename_flushed(draft, directory)
    return Export(directory, number, manifest)


def _write_tables(directory: Path, view: RowView, pause: Callable[[], None]) -> list[ExportFile]:
    files: list[ExportFile] = []
    view.seek_to_first()
    while view.valid():
        path = directory / f"{len(files):04}.sst"
        count = _write_table(path, view, pause)
        flush(path)
        files.append(ExportFile(path.name, path.stat().st_size, count, _sha256(path, pause)))
    view.status()
    return files


def _write_table(path: Path, view: RowView, pause: Callable[[], None]) -> int:
    """Write rows until the table is large enough; gives how many."""
    options = database_options()
    options.set_bytes_per_sync(1 << 20)
    table = SstFileWriter(options)
    table.open(str(path))
    size = count = since_pause = 0
    while view.valid() and size < FILE_BYTES:
        key, value = view.key(), view.value()
        table[key] = value
        view.next()
        count += 1
        size += len(key) + len(value)
        since_pause += len(value) + _ROW_COST_BYTES
        if since_pause >= _BYTES_BETWEEN_PAUSES:
            since_pause = 0
            pause()
    flush(path)  # lets other threads run, which the flush of `finish` does not: little is left to it
    table.finish()
    return count


def rows_from(view: RowView, first: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows from a key on, in order."""
    view.seek(first)
    while view.valid():
        yield view.key(), view.value()
        view.next()
    view.status()


def _write_manifest(path: Path, manifest: ExportManifest) -> None:
    raw = msgspec.json.encode(manifest)
    stored = _Stored(hashlib.sha256(raw).hexdigest(), msgspec.Raw(raw))
    replace_file(path, msgspec.json.encode(stored))


def read_export(directory: Path) -> Export:
    """Read an export's manifest.

    :raises StateDamagedError: it is not the one that was written.
    :raises StateVersionError: a newer program wrote it.
    """
    path = directory / _MANIFEST
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        if hashlib.sha256(stored.manifest).hexdigest() != stored.digest:
            raise StateDamagedError(f"{path}: its digest does not fit; use another export, and delete this one")
        manifest = msgspec.json.decode(stored.manifest, type=ExportManifest)
    except (OSError, ValueError) as error:  # msgspec's errors and a bad encoding are ValueErrors
        raise StateDamagedError(f"{path}: does not read ({error}); use another export, and delete this one") from error
    if (manifest.format, manifest.version) != (FORMAT, VERSION):
        raise StateVersionError(f"{path}: {manifest.format} {manifest.version}, this program knows {VERSION}")
    return Export(directory, int(directory.name), manifest)


def list_exports(exports: Path, store: str, refused: OnRefusedExport = lambda _path, _error: None) -> list[Export]:
    """The exports of a store whose manifests read, newest first."""
    found: list[Export] = []
    for number in sorted(_numbers(exports / store), reverse=True):
        directory = exports / store / f"{number:06}"
        try:
            found.append(read_export(directory))
        except (StateDamagedError, StateVersionError) as error:
            refused(directory, error)
    return found


def exported_stores(exports: Path, kind: str) -> list[str]:
    """The stores of a kind that have exports: `decide` gives `decide/0`, `decide/1` ..."""
    if _numbers(exports / kind):
        return [kind]
    return sorted(f"{kind}/{each.name}" for each in (exports / kind).glob("*") if _numbers(each))


def newest_export(exports: Path, store: str, fits: Callable[[Export], bool], refused: OnRefusedExport) -> Export | None:
    """The newest export that fits and is undamaged; None where there is none."""
    for export in list_exports(exports, store, refused):
        if not fits(export):
            continue
        try:
            verify_export(export)
        except StateDamagedError as error:
            refused(export.directory, error)
        else:
            return export
    return None


def verify_export(export: Export) -> None:
    """Compare every table with its digest.

    :raises StateDamagedError: one is missing or differs.
    """
    for file in export.manifest.files:
        path = export.directory / file.name
        try:
            sound = path.stat().st_size == file.bytes and _sha256(path) == file.sha256
        except OSError as error:
            raise StateDamagedError(f"{path}: {error.strerror}; use another export, and delete this one") from error
        if not sound:
            raise StateDamagedError(f"{path}: its digest does not fit; use another export, and delete this one")


def load_export(export: Export, target: Path) -> None:
    """Make a store of an export that was verified; `target` must not be there, and appears whole or not at all.

    :raises StateDamagedError: RocksDB refuses a table all the same.
    """
    draft = target.with_name(f".{target.name}.loading")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    with opened_export(export, draft):
        pass
    rename_flushed(draft, target)


@contextmanager
def opened_export(export: Export, scratch: Path) -> Iterator[Rdict]:
    """The rows of an export as a database in the new directory `scratch`, which stays when the block ends."""
    database = Rdict(str(scratch), database_options())
    try:
        ingest_export(export, database)
        yield database
    finally:
        database.close()


def ingest_export(export: Export, database: Rdict) -> None:
    """Put all rows of an export that was verified into a database at once, in place of those with the same keys.

    :raises StateDamagedError: RocksDB refuses a table all the same.
    """
    paths = [str(export.directory / file.name) for file in export.manifest.files]
    try:
        database.ingest_external_file(paths, IngestExternalFileOptions())
    except Exception as error:  # rocksdict raises bare Exception for whatever RocksDB refuses
        raise StateDamagedError(f"{export.directory}: {error}; use another export, and delete this one") from error


def prune_exports(
    exports: Path,
    store: str,
    *,
    keep: int,
    spacing_ms: int,
    begin: Callable[[str, int], int],
    archive_spacing_ms: int = 0,
    archive_begin: Callable[[str, int], int] | None = None,
) -> list[int]:
    """Remove what is not needed any more; gives the numbers of those removed.

    Kept are the `keep` newest, and older ones at a distance of `spacing_ms`. Of the exports that are older than all
    of the log (`begin(topic, number)` gives its oldest offset) only the newest is kept: with it and the log, any time
    that the log retains can be decided again. Where an archive goes back further, exports for its times stay too, at a
    distance of `archive_spacing_ms`.
    """
    found = list_exports(exports, store)
    kept = found[:keep]
    for export in found[keep:]:
        apart_ms = spacing_ms
        if _is_before(kept[-1], begin):
            if archive_begin is None or _is_before(kept[-1], archive_begin):
                break  # everything older is of no use beside it
            apart_ms = archive_spacing_ms
        older = [each for each in found if each.number < export.number]
        follows_soon = older and kept[-1].manifest.created_at - older[0].manifest.created_at < apart_ms
        if not follows_soon:
            kept.append(export)
    removed = sorted({export.number for export in found} - {export.number for export in kept})
    for number in removed:
        _remove(exports / store, number)
    return removed


def _is_before(export: Export, begin: Callable[[str, int], int]) -> bool:
    """Whether it includes nothing from these offsets on."""
    return all(place.offset <= begin(*place[:2]) for place in export.manifest.offsets)


def forget_exports(exports: Path, store: str, *, before_ms: int) -> list[int]:
    """Remove the exports of a store that nobody owns any more which are older than this; gives their numbers."""
    removed = [each.number for each in list_exports(exports, store) if each.manifest.created_at < before_ms]
    for number in removed:
        _remove(exports / store, number)
    return removed


def _remove(home: Path, number: int) -> None:
    """Under another name first, so that a removal that a crash cut off does not look like a damaged export."""
    shutil.rmtree(home / _REMOVING, ignore_errors=True)
    rename_flushed(home / f"{number:06}", home / _REMOVING)
    shutil.rmtree(home / _REMOVING)


def _numbers(home: Path) -> list[int]:
    """Six digits or more; whatever else lies there is not ours."""
    return [int(path.name) for path in home.glob("[0-9]*") if len(path.name) >= 6 and path.name.isdecimal()]


def _sha256(path: Path, pause: Callable[[], None] = lambda: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            pause()
    return digest.hexdigest()
