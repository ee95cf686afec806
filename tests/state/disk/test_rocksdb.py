"""A database whose making was killed is made again; one that has lost its file CURRENT is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from rocksdict import Rdict

from connectors.inbox.rocksdb import RocksInboxStore
from state.decide.exports import group_source
from state.disk.rocksdb import export_view, lookup_options, open_database, prefixed_rows
from state.model.errors import StateDamagedError

FORMAT = b"a test 1"
BEFORE = {"IDENTITY": b"x" * 36, "LOCK": b"", "LOG": b"begun", "rocksdict-config.json": b'{"raw_mode":true}'}
KILLED: dict[str, dict[str, bytes]] = {
    "before the manifest": {},
    "manifest begun": {"MANIFEST-000001": b""},
    "manifest half written": {"MANIFEST-000001": b"x" * 20},
    "manifest not named yet": {"MANIFEST-000001": b"x" * 52, "000001.dbtmp": b"MANIFEST-000001\n"},
}
"""What is there when, as seen at kills before each call that writes."""


def _opened(directory: Path) -> Any:
    return open_database(directory, FORMAT)


@pytest.mark.parametrize("left", KILLED.values(), ids=KILLED.keys())
@pytest.mark.parametrize("make", [_opened, RocksInboxStore])
def test_killed_while_it_is_made(tmp_path: Path, make: Callable[[Path], Any], left: dict[str, bytes]) -> None:
    directory = tmp_path / "db"
    directory.mkdir()
    for name, content in (BEFORE | left).items():
        (directory / name).write_bytes(content)
    make(directory).close()
    make(directory).close()


def test_what_was_written_is_not_begun_anew_without_its_file_current(tmp_path: Path) -> None:
    database = _opened(tmp_path / "db")
    database[b"k"] = b"v"
    database.close()
    (tmp_path / "db" / "CURRENT").unlink()
    with pytest.raises(StateDamagedError, match="CURRENT is missing"):
        _opened(tmp_path / "db")


def _cached_mb(database: Rdict) -> int:
    return int(database.property_int_value("rocksdb.block-cache-usage") or 0) >> 20


def _gathered_mb(database: Rdict) -> int:
    return int(database.property_int_value("rocksdb.cur-size-active-mem-table") or 0) >> 20


def test_an_export_leaves_no_rows_in_memory(tmp_path: Path) -> None:
    """Each hour it reads all there is; what the flow asks for is to stay."""
    choose = Random(1)
    with closing(_opened(tmp_path / "db")) as database:
        for number in range(400):
            database[b"k%03d" % number] = choose.randbytes(10_000)
        database.flush()
        for view in (export_view(database), group_source(0, database).view()):
            view.seek_to_first()
            rows = 0
            while view.valid():
                rows += len(view.value()) >= 10_000
                view.next()
            assert rows == 400
            assert _cached_mb(database) == 0
        assert len([*prefixed_rows(database, b"k")]) == 400
        assert _cached_mb(database) >= 3, "as others read"


def test_a_store_gathers_little_before_it_writes(tmp_path: Path) -> None:
    choose, most = Random(1), 0
    with closing(_opened(tmp_path / "db")) as database:
        for number in range(4_000):
            database[b"k%04d" % number] = choose.randbytes(10_000)
            most = max(most, _gathered_mb(database))
    assert most <= 17


def test_filters_take_no_memory_beside_the_cache(tmp_path: Path) -> None:
    """What recognises repeats has millions of keys in a day."""
    options = lookup_options()
    with closing(open_database(tmp_path / "db", FORMAT, options)) as database:
        for number in range(100_000):
            database[b"%032d" % number] = b""
        database.flush()
        assert int(database.property_int_value("rocksdb.estimate-table-readers-mem") or 0) < 20_000


def test_a_store_that_was_made_before_goes_by_the_options_of_now(tmp_path: Path) -> None:
    """The library took those that it was written by: from the second start on none of these held."""
    _opened(tmp_path / "db").close()
    with closing(open_database(tmp_path / "db", FORMAT, lookup_options())) as database:
        assert database.property_int_value("rocksdb.block-cache-capacity") == 32 << 20
