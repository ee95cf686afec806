"""Opening RocksDB the way every store here wants it: raw bytes, a format row, no silent loss.

Damage is refused (`StateDamagedError`), except in the write-ahead log. RocksDB reads that up to the first damaged byte
and goes on with the state of the last whole commit. Every store here keeps its place in the log in the same commit, so
what is missing is read from the log again, as after a crash. If the log does not reach back so far, the flow refuses or
takes an export (`flows/recovery/restore.py`).

The stricter mode `tolerate_corrupted_tail_records` is no alternative. With two write-ahead logs of which the older is
cut off it leaves a hole: newer rows without older ones (measured). Not noticed is an older log that is removed as a
whole while a newer one stays, since the binding does not offer RocksDB's `track_and_verify_wals_in_manifest`. An older
one exists only for the moments until a full buffer is in its table.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBRecoveryMode,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteOptions,
)

from state.model.errors import CarillonError, StateDamagedError, StateError

_WRITE_BUFFER_BYTES, _LOOKUP_CACHE_BYTES = 16 << 20, 32 << 20
_FORMAT_KEY = b"\x00format"
_FIRST_MANIFEST = "MANIFEST-000001"
_LAST = b"\xff" * 9
"""No key goes on like this."""
_REMEDY = "move it away, and the next start restores it from an export or from the log, or says what is missing"


def database_options() -> Options:
    """Modest memory; recovery as the module says (DECISIONS, RocksDB stops at damage)."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(3)
    options.set_keep_log_file_num(3)
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    return options


def lookup_table(cache: Cache | None = None) -> BlockBasedOptions:
    """For a store that is asked for single keys, most of which it does not have: a filter says so without reading.

    Memory does not grow with the store: filters and indexes are in parts, and share the cache with what is read: a
    cache of its own, unless one is given.
    """
    table = BlockBasedOptions()
    table.set_bloom_filter(10, False)
    table.set_index_type(BlockBasedIndexType.two_level_index_search())
    table.set_partition_filters(True)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_pin_top_level_index_and_filter(True)
    table.set_block_cache(cache or Cache(_LOOKUP_CACHE_BYTES))
    return table


def lookup_options() -> Options:
    """`database_options` with a table for look-ups."""
    options = database_options()
    options.set_block_based_table_factory(lookup_table())
    return options


def opened_by(
    options: Options,
    directory: Path | str,
    access_type: AccessType = AccessType.read_write(),  # noqa: B008 - a constant
) -> Rdict:
    """A database by these options; without naming its column family the library takes those that it was written by."""
    return Rdict(str(directory), options, {"default": options}, access_type)


def open_database(directory: Path, expected_format: bytes, options: Options | None = None) -> Rdict:
    """Open or create; by `database_options` unless others are given.

    :raises StateDamagedError: the directory does not open or holds another format.
    :raises StateError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"{directory} cannot be written ({error.strerror}); make it writable, then restart") from error
    refuse_remains(directory)
    with named_damage(directory):
        database = opened_by(options or database_options(), directory)
        found = database.get(_FORMAT_KEY)
    if found is None:
        database[_FORMAT_KEY] = expected_format
    elif found != expected_format:
        database.close()
        raise StateDamagedError(f"{directory}: holds {found!r}, expected {expected_format!r}; point --data elsewhere")
    return database


def refuse_remains(directory: Path) -> None:
    """Call before opening: without the file that names the current state RocksDB removes the rest and starts empty.

    The first manifest alone is no remains: who is killed while a database is made leaves it. The first opening, which
    comes before the first row, begins another one.

    :raises StateDamagedError: there are remains of a database without that file.
    """
    remains = [
        path.name
        for path in directory.iterdir()
        if path.suffix == ".sst" or (path.name.startswith("MANIFEST") and path.name != _FIRST_MANIFEST)
    ]
    if remains and not (directory / "CURRENT").exists():
        raise StateDamagedError(f"{directory}: the file CURRENT is missing beside {len(remains)} others; {_REMEDY}")


@contextmanager
def named_damage(directory: Path | str) -> Iterator[None]:
    """Name what RocksDB finds wrong with the files: it raises plain exceptions.

    :raises StateDamagedError: stored bytes are not what was written, or cannot be read; nothing of them was used.
    :raises StateError: the disk refuses.
    """
    try:
        yield
    except CarillonError:
        raise
    except Exception as error:
        raise _named(error, directory) from error


def _named(error: Exception, directory: Path | str) -> StateError:
    if "No space left" in str(error) or "Read-only file system" in str(error) or "Permission denied" in str(error):
        return StateError(f"{directory}: {error}; free space or make it writable, then restart")
    return StateDamagedError(f"{directory}: RocksDB does not read it ({error}); {_REMEDY}")


def stored_row(database: Rdict, key: bytes) -> bytes | None:
    """The value of a key. Without the block of `named_damage`, which would take as long as the look-up itself.

    :raises StateDamagedError: its block is damaged.
    """
    try:
        value = database.get(key)
    except Exception as error:  # rocksdict raises bare Exception for whatever RocksDB refuses
        raise _named(error, database.path()) from error
    assert value is None or isinstance(value, bytes)  # raw mode
    return value


def stored_rows(database: Rdict, keys: Iterable[bytes]) -> list[bytes | None]:
    """The values of some keys, asked for at once.

    :raises StateDamagedError: a block is damaged.
    """
    with named_damage(database.path()):
        values: list[bytes | None] = database.get([*keys]) or []
    return values


def prefixed_rows(
    database: Rdict, prefix: bytes, start: bytes | None = None, *, backwards: bool = False
) -> Iterator[tuple[bytes, bytes]]:
    """Rows whose key begins with `prefix`, in order, from key `start` on, or from the last one back.

    :raises StateDamagedError: a block is damaged; without the question at the end it would look like the last one.
    """
    with named_damage(database.path()):
        cursor: RdictIter = database.iter()
        step = cursor.prev if backwards else cursor.next
        if backwards:
            cursor.seek_for_prev(prefix + _LAST)
        else:
            cursor.seek(start or prefix)
        while cursor.valid():
            key: bytes = cursor.key()
            if not key.startswith(prefix):
                return
            yield key, cursor.value()
            step()
        cursor.status()


def export_view(database: Rdict) -> RdictIter:
    """A cursor over all rows, as an export reads them: they do not take the cache from what is asked for."""
    options = ReadOptions()
    options.fill_cache(False)  # type: ignore[call-arg]  # its stub lacks the argument
    return database.iter(options)


def synced() -> WriteOptions:
    """Write options with a WAL sync."""
    options = WriteOptions()
    options.sync = True
    return options
