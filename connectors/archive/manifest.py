"""The manifest of one partition of an archived topic: which parts there are, and where the log goes on behind them.

    DIR/archive/<topic>/<partition>/manifest.json
    {"version": 1, "offset": 4711, "serial": 12,
     "parts":   [{"file": "0000000011-5c0ffee05c0ffee0.parquet", "hour": 489123, "rows": 90, "bytes": 12345,
                  "compacted": false, "first": 4600, "end": 4711}, ..],
     "retired": [{"file": "0000000007-0ddba11c0ddba11c.parquet", "at": 1700000000000}, ..]}

`offset` is the first offset of the topic that no part includes; `hour` is the log's time in hours since 1970;
`serial` is the number of the next part. A part of raw records holds all that the log had in [`first`, `end`); where the
next part begins later, records are missing. Parts of the ledger have -1 there, since a merge drops superseded states.
`retired` parts are used by older queries only, and are removed when these had time to end. A manifest is written to
another file, flushed and renamed: a reader finds the old one or the new one.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from state.disk.files import replace_file
from state.model.errors import StateDamagedError, StateVersionError

VERSION = 1
FILE = "manifest.json"
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
    """The manifest of a partition's directory; an empty one where there is none yet.

    :raises StateDamagedError: it cannot be read; restore it, or move the directory aside to have it written again from
        what the log retains.
    """
    try:
        content = (directory / FILE).read_bytes()
    except FileNotFoundError:
        return ArchiveManifest()
    try:
        manifest = msgspec.json.decode(content, type=ArchiveManifest)
    except msgspec.DecodeError as error:
        raise StateDamagedError(
            f"{directory / FILE}: {error}; put a copy in its place, or move {directory} aside: what the log has "
            "is archived anew"
        ) from error
    if manifest.version != VERSION:
        raise StateVersionError(f"{directory / FILE}: version {manifest.version}, this program knows {VERSION}")
    return manifest


def archived_up_to(archive: Path) -> Callable[[str, int], int | None]:
    """The offset behind what is archived of a topic's partition: from there on the log must not drop anything yet.

    None where the topic is not archived. `archive` is `DIR/archive`.
    """

    def offset(topic: str, partition: int) -> int | None:
        return read_manifest(archive / topic / str(partition)).offset if topic in ARCHIVED else None

    return offset


def write_manifest(directory: Path, manifest: ArchiveManifest) -> None:
    """Make it the manifest, durably and all at once. The parts it names must have been flushed before."""
    replace_file(directory / FILE, msgspec.json.encode(manifest))
