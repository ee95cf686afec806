"""What a running system says of itself in files."""

from pathlib import Path

from flows.process.run_files import Rebuild, note_rebuild, take_rebuilds


def test_a_note_that_a_full_disk_cut_off_is_passed_over(tmp_path: Path) -> None:
    note_rebuild(tmp_path, "decide", "the log")
    with (tmp_path / "run" / "rebuilds.ndjson").open("ab") as file:
        file.write(b'{"store":"inb\n\xff\n[]\n')
    note_rebuild(tmp_path, "sequence", "an export")
    with (tmp_path / "run" / "rebuilds.ndjson").open("ab") as file:
        file.write(b'{"store":"inb')
    assert take_rebuilds(tmp_path) == [Rebuild("decide", "the log"), Rebuild("sequence", "an export")]
    assert take_rebuilds(tmp_path) == []
