"""The manifest of one partition of an archived topic: which parts there are, and where the log goes on behind them.

    DIR/archive/<topic>/<partition>/manifest.json
    {"version": 1, "offset": 4711, "serial": 12,
     "parts":   [{"file": "0000000011-5c0ffee05c0ffee0.parquet", "hour": 489123, "rows": 90, "bytes": 12345,
                  "compacted": false, "first": 4600, "end": 4711}, ..],
     "retired": [{"file": "0000000007-0ddba11c0ddba11c.parquet", "at": 1700000000000}, ..],
     "digest": "5ca1ab1e5ca1ab1e"}

`offset` is the first offset of the topic that no part includes; `hour` is the log's time in hours since 1970;
`version` is 2 while a part is one of slices (`.slices`), which earlier programs would take for damaged; they refuse 2.
`serial` is the number of the next part; one of slices has that of the rows that were written with it. A part of raw
records holds all that the log had in [`first`, `end`); where the next part begins later, records are missing. Parts of
the ledger have -1 there, since a merge drops superseded states.
`retired` parts are used by older queries only, and are removed when these had time to end. A manifest is written to
another file, flushed and renamed: a reader finds the old one or the new one. `digest` is that of all before it and a
brace; earlier releases wrote none. `manifest.copy.json` is the same once more, for the day when the first is damaged.
"""

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import structlog
import xxhash

from connectors.metrics import ARCHIVE_DAMAGE
from state.disk.files import rename_flushed, replace_file
from state.model.errors import UNDECODABLE, StateDamagedError, StateVersionError

VERSION, _WITH_SLICES = 1, 2
FILE, COPY = "manifest.json", "manifest.copy.json"
PART_SUFFIX, SLICE_SUFFIX = ".parquet", ".slices"
_DIGEST = b',"digest":"'
_FIRST_PART = "0000000000"
"""Its name begins so. It may be there before there is a manifest."""
_logger = structlog.get_logger(__name__)
COLUMNAR = ("ledger", "outcomes")
"""The topics that are archived as columns."""
ARCHIVED = (*COLUMNAR, "work", "dead_letters", "audit")
"""The topics that are archived."""


class Part(msgspec.Struct, frozen=True):
    """One Parquet file."""

    file: str
    hour: int
    rows: int
    bytes: int
    compacted: bool = False
    first: int = -1
    end: int = -1


class Retired(msgspec.Struct, frozen=True):
    """A file that no manifest names as a part any more, since `at` (ms)."""

    file: str
    at: int


class ArchiveManifest(msgspec.Struct, frozen=True):
    """See the module's text."""

    version: int = VERSION
    offset: int = 0
    serial: int = 0
    parts: tuple[Part, ...] = ()
    retired: tuple[Retired, ...] = ()


def read_manifest(directory: Path) -> ArchiveManifest:
    """The manifest of a partition's directory, or its copy; an empty one where there is none yet.

    :raises StateDamagedError: neither can be read, or both are gone and parts are there.
    """
    return _readable(directory)[0]


def _readable(directory: Path) -> tuple[ArchiveManifest, str]:
    """With what is wrong with the first of the two; empty: nothing."""
    damage = ""
    for file in (directory / FILE, directory / COPY):
        try:
            return _decoded(file), damage
        except FileNotFoundError:
            damage = damage or (f"{file} is gone" if _had_manifest(directory) else "")
        except StateDamagedError as error:
            damage = damage or str(error)
    if damage:
        raise StateDamagedError(
            f"{damage}; put a copy in its place, or move {directory} aside: what the log has is archived anew"
        )
    return ArchiveManifest(), ""


def _decoded(file: Path) -> ArchiveManifest:
    try:
        content = file.read_bytes()
        body, found, end = content.rpartition(_DIGEST)
        if found and end != _end_behind(body):
            raise msgspec.DecodeError("is not what was written")
        manifest = msgspec.json.decode(content, type=ArchiveManifest)
    except (*UNDECODABLE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EIO:
            raise
        raise StateDamagedError(f"{file}: {error}") from error
    if manifest.version not in (VERSION, _WITH_SLICES):
        raise StateVersionError(f"{file}: version {manifest.version}, this program knows {_WITH_SLICES}")
    return manifest


def _end_behind(body: bytes) -> bytes:
    return b'%s"}' % xxhash.xxh3_64_hexdigest(body + b"}").encode()


def _had_manifest(directory: Path) -> bool:
    return any(not part.name.startswith(_FIRST_PART) for part in part_files(directory))


def part_files(directory: Path) -> Iterator[Path]:
    """All files that are parts by their names."""
    return (file for file in directory.glob("*") if file.suffix in (PART_SUFFIX, SLICE_SUFFIX))


def mended_manifest(directory: Path) -> ArchiveManifest:
    """The same for who writes it: it and its copy are sound afterwards.

    :raises StateDamagedError: see there.
    """
    manifest, damage = _readable(directory)
    if damage:
        ARCHIVE_DAMAGE.inc()
        _logger.warning("archive_manifest_restored", problem=damage)
    if manifest != ArchiveManifest() and (damage or not _is_copied(directory)):
        write_manifest(directory, manifest)
    return manifest


def _is_copied(directory: Path) -> bool:
    """Else a start would write, and flush, both of every partition and topic."""
    try:
        return (directory / COPY).read_bytes() == (directory / FILE).read_bytes()
    except OSError:
        return False


def set_unreadable_aside(directory: Path) -> None:
    """Before anything reads it: where neither manifest nor copy tells what a directory holds, another one is begun with
    what the log has. Nothing else waits for somebody who restores it. Beside the topic's directory no query finds it.
    """
    try:
        read_manifest(directory)
    except StateDamagedError as error:
        topic = directory.parent
        aside = topic.with_name(f"{topic.name}.aside-{time.time_ns() // 1_000_000}") / directory.name
        aside.parent.mkdir(exist_ok=True)
        rename_flushed(directory, aside)
        ARCHIVE_DAMAGE.inc()
        _logger.warning(
            "archive_set_aside", problem=str(error), moved_to=str(aside),
            remedy="what the log has is archived anew; to have the rest again, restore its manifest, and put it back "
            "while track is stopped",
        )  # fmt: skip


def archived_up_to(archive: Path) -> Callable[[str, int], int | None]:
    """The offset behind what is archived of a topic's partition: from there on the log must not drop anything yet.

    None where the topic is not archived; the begin where the archive cannot tell. `archive` is `DIR/archive`.
    """

    def offset(topic: str, partition: int) -> int | None:
        try:
            return read_manifest(archive / topic / str(partition)).offset if topic in ARCHIVED else None
        except StateDamagedError:  # track says so, and archives anew
            return 0

    return offset


def write_manifest(directory: Path, manifest: ArchiveManifest) -> None:
    """Make it the manifest, durably and all at once. The parts it names must have been flushed before."""
    kept = any(part.file.endswith(SLICE_SUFFIX) for part in manifest.parts)
    manifest = msgspec.structs.replace(manifest, version=_WITH_SLICES if kept else VERSION)
    body = msgspec.json.encode(manifest).removesuffix(b"}")
    content = body + _DIGEST + _end_behind(body)
    replace_file(directory / FILE, content)
    replace_file(directory / COPY, content)
