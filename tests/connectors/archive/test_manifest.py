"""A manifest that is damaged or gone costs nothing while its copy is there; without one all else goes on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.history import History
from helpers.logs import captured_logs
from helpers.records import decision

from connectors.archive.forms import RAW, raw_table
from connectors.archive.ledger import LedgerQuery, LedgerReader
from connectors.archive.manifest import archived_up_to, read_manifest
from connectors.archive.parquet import ArchiveWriter
from connectors.log.interface import Record
from flows.process.directories import LEDGER
from state.model.errors import StateDamagedError
from state.model.keys import key_group, partition_of_group


def written(directory: Path, parts: int = 3) -> ArchiveWriter:
    writer = ArchiveWriter(directory, form=RAW)
    for number in range(parts):
        writer.write(raw_table([Record("work", 2, number, 1_000, b"k", b"v", ())]), number + 1)
    return writer


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    yield made
    made.log.close()


def test_no_flipped_bit_makes_another_manifest(tmp_path: Path) -> None:
    manifest = written(tmp_path).manifest
    file = tmp_path / "manifest.json"
    sound = file.read_bytes()
    for at in range(8 * len(sound)):
        flipped = bytearray(sound)
        flipped[at // 8] ^= 1 << at % 8
        file.write_bytes(flipped)
        assert read_manifest(tmp_path) == manifest
    file.write_bytes(sound)
    (tmp_path / "manifest.copy.json").write_bytes(sound[:-30])
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize("damage", [b"", b'{"version":1,"offs', None])
def test_a_writer_mends_its_manifest_by_the_copy(tmp_path: Path, damage: bytes | None) -> None:
    manifest, parts = written(tmp_path).manifest, set(tmp_path.glob("*.parquet"))
    for name in ("manifest.json", "manifest.copy.json"):
        (tmp_path / name).unlink()
        if damage is not None:
            (tmp_path / name).write_bytes(damage)
        with captured_logs() as events:
            assert ArchiveWriter(tmp_path).manifest == manifest
        assert [each["event"] for each in events] == ["archive_manifest_restored"] * (name == "manifest.json")
        assert (tmp_path / "manifest.json").read_bytes() == (tmp_path / "manifest.copy.json").read_bytes()
    assert {*tmp_path.glob("*.parquet")} == parts


@pytest.mark.skipif(sys.platform != "linux", reason="what the disk cannot read stands for it in /proc")
def test_a_manifest_that_the_disk_cannot_read_is_damaged(tmp_path: Path) -> None:
    manifest, file = written(tmp_path).manifest, tmp_path / "manifest.json"
    file.unlink()
    file.symlink_to("/proc/self/mem")
    assert read_manifest(tmp_path) == manifest
    file.unlink()
    file.mkdir()
    with pytest.raises(IsADirectoryError):
        read_manifest(tmp_path)


def test_a_writer_writes_no_manifest_that_is_sound_but_one_of_an_earlier_release(tmp_path: Path) -> None:
    manifest, file, copy = written(tmp_path).manifest, tmp_path / "manifest.json", tmp_path / "manifest.copy.json"
    sound, inodes = file.read_bytes(), (file.stat().st_ino, copy.stat().st_ino)
    ArchiveWriter(tmp_path)
    assert (file.stat().st_ino, copy.stat().st_ino) == inodes
    file.write_bytes(sound.partition(b',"digest"')[0] + b"}")
    for copied in (sound.replace(b'"offset":3', b'"offset":2'), None):  # it wrote none, or left an older one
        copy.unlink()
        if copied is not None:
            copy.write_bytes(copied)
        with captured_logs() as events:
            assert ArchiveWriter(tmp_path).manifest == manifest
        assert (file.read_bytes(), copy.read_bytes(), events) == (sound, sound, [])
        file.write_bytes(sound.partition(b',"digest"')[0] + b"}")


def test_parts_without_a_manifest_are_no_empty_archive(tmp_path: Path) -> None:
    """All of them were removed as what a crash had left."""
    written(tmp_path)
    parts = set(tmp_path.glob("*.parquet"))
    for file in tmp_path.glob("*.json"):
        file.unlink()
    with pytest.raises(StateDamagedError, match=r"manifest.json is gone; put a copy in its place, or move"):
        ArchiveWriter(tmp_path)
    assert {*tmp_path.glob("*.parquet")} == parts
    for part in sorted(parts)[1:]:
        part.unlink()
    assert ArchiveWriter(tmp_path).offset == 0, "a crash before the first manifest leaves one"


def test_track_goes_on_without_what_nobody_can_read(history: History) -> None:
    """It restarted for ever, and inbox with it."""
    history.log.append([decision("mia", f"e{number}", "INBOX", ("d", number, 0)) for number in range(5)])
    history.track()
    directory = history.directory / LEDGER / str(partition_of_group(key_group("mia"), history.log.partitions("ledger")))
    parts = {part.name for part in directory.glob("*.parquet")}
    for file in directory.glob("*.json"):
        file.write_bytes(b'{"version":1,"offs')
    reader = LedgerReader(history.directory / LEDGER, history.log)
    with pytest.raises(StateDamagedError, match=r"put a copy in its place, or move"):
        reader.records(LedgerQuery())
    assert archived_up_to(history.directory / "archive")("ledger", int(directory.name)) == 0, "the log keeps it"
    with captured_logs() as events:
        history.track()
    [told] = [each for each in events if each["event"] == "archive_set_aside"]
    assert str(directory / "manifest.json") in told["problem"]
    assert {part.name for part in Path(told["moved_to"]).glob("*.parquet")} == parts
    assert Path(told["moved_to"]).parent != directory.parent, "queries of everybody's own read all directories there"
    history.log.maintain((1 << 50), archived_up_to(history.directory / "archive"), timedelta())
    assert {each["event_id"] for each in reader.records(LedgerQuery())} == {f"e{number}" for number in range(5)}
    shutil.rmtree(told["moved_to"])
