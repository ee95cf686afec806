"""A database whose making was killed is made again; one that has lost its file CURRENT is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.inbox.rocksdb import RocksInboxStore
from state.disk.rocksdb import open_database
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
