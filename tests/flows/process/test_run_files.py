"""What a running system says of itself in files."""

from pathlib import Path

import pytest

from flows.process.run_files import (
    Rebuild,
    Running,
    forget_processes,
    note_rebuild,
    read_running,
    take_rebuilds,
    write_running,
)
from state.model.errors import StateDamagedError


def test_a_note_that_a_full_disk_cut_off_is_passed_over(tmp_path: Path) -> None:
    note_rebuild(tmp_path, "decide", "the log")
    with (tmp_path / "run" / "rebuilds.ndjson").open("ab") as file:
        file.write(b'{"store":"inb\n\xff\n[]\n')
    note_rebuild(tmp_path, "sequence", "an export")
    with (tmp_path / "run" / "rebuilds.ndjson").open("ab") as file:
        file.write(b'{"store":"inb')
    assert take_rebuilds(tmp_path) == [Rebuild("decide", "the log"), Rebuild("sequence", "an export")]
    assert take_rebuilds(tmp_path) == []


def test_a_damaged_file_of_processes_is_named_and_a_stop_removes_it(tmp_path: Path) -> None:
    write_running(tmp_path, Running("http://u", "http://p0", "embedded", {"decide": 1}))
    path = tmp_path / "run" / "processes.json"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(StateDamagedError, match=r"processes.json does not decode; restart `carillon up`"):
        read_running(tmp_path)
    forget_processes(tmp_path)
    assert read_running(tmp_path) is None
