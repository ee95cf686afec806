"""Opening RocksDB the way every store here wants it: raw bytes, a format row, no silent loss."""

from collections.abc import Iterator
from pathlib import Path

from rocksdict import AccessType, DBRecoveryMode, Options, Rdict, WriteOptions

from state.model.errors import StateDamagedError

_FORMAT_KEY = b"\x00format"


def database_options() -> Options:
    """Modest memory; a bad byte in the WAL before its tail is an error (DESIGN 5)."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(32 << 20)
    options.set_max_write_buffer_number(3)
    options.set_keep_log_file_num(3)
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    return options


def open_database(directory: Path, expected_format: bytes) -> Rdict:
    """Open or create.

    :raises StateDamagedError: the directory does not open or holds another format.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        database = Rdict(str(directory), options=database_options(), access_type=AccessType.read_write())
    except Exception as error:
        remedy = "delete it and let it be rebuilt from the log"
        raise StateDamagedError(f"{directory}: RocksDB does not open it ({error}); {remedy}") from error
    found = database.get(_FORMAT_KEY)
    if found is None:
        database[_FORMAT_KEY] = expected_format
    elif found != expected_format:
        database.close()
        raise StateDamagedError(f"{directory}: holds {found!r}, expected {expected_format!r}; point --data elsewhere")
    return database


def prefixed_rows(database: Rdict, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Rows whose key begins with `prefix`, in order."""
    for key, value in database.items(from_key=prefix):
        assert isinstance(key, bytes)  # raw mode
        assert isinstance(value, bytes)
        if not key.startswith(prefix):
            return
        yield key, value


def synced() -> WriteOptions:
    """Write options with a WAL sync."""
    options = WriteOptions()
    options.sync = True
    return options
