"""Exports hold what was committed, whole or not at all; what is damaged is found out; restores copy one key group."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.flow_bench import Bench
from helpers.waiting import wait_for
from rocksdict import Rdict, RdictIter, WriteBatch

from flows.recovery.export import Exporter
from flows.recovery.options import ExportOptions
from state.disk.exports import (
    FILE_BYTES,
    Export,
    ExportedOffset,
    ExportSource,
    forget_exports,
    list_exports,
    load_export,
    newest_export,
    opened_export,
    prune_exports,
    read_export,
    rows_from,
    verify_export,
    write_export,
)
from state.disk.rocksdb import open_database, synced
from state.model.errors import StateDamagedError, StateVersionError

FORMAT = b"a test 1"
_CHILD = """
import sys
from pathlib import Path
from state.disk.rocksdb import open_database
from state.disk.exports import ExportSource, ExportedOffset, write_export
database = open_database(Path(sys.argv[1]) / "db", b"a test 1")
source = ExportSource("sequence", "partition", database.iter, lambda _view: [ExportedOffset("work", 0, 7)])
print("ready", flush=True)
while True:
    write_export(Path(sys.argv[1]) / "exports", source, at=1)
"""


def opened(directory: Path) -> Rdict:
    return open_database(directory, FORMAT)


def _offsets(view: RdictIter) -> list[ExportedOffset]:
    found = next(rows_from(view, b"offset"), (b"", b""))
    return [ExportedOffset("work", 0, int(found[1]))] if found[0] == b"offset" else []


def source_of(database: Rdict, store: str = "sequence") -> ExportSource:
    return ExportSource(store, "partition", database.iter, _offsets)


def _put(database: Rdict, offset: int, rows: dict[bytes, bytes] | None = None) -> None:
    batch = WriteBatch(raw_mode=True)
    for key, value in (rows or {}).items():
        batch.put(key, value)
    batch.put(b"offset", str(offset).encode())
    database.write(batch, write_opt=synced())


def _rows(directory: Path) -> dict[bytes, bytes]:
    database = opened(directory)
    found = dict(database.items())
    database.close()
    return found  # type: ignore[return-value]  # raw mode


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Rdict]:
    made = opened(tmp_path / "db")
    yield made
    made.close()


def _export(tmp_path: Path, database: Rdict, at: int = 1, store: str = "sequence") -> Export:
    written = write_export(tmp_path / "exports", source_of(database, store), at=at)
    assert written is not None
    return written


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


def test_a_store_without_anything_has_no_export(tmp_path: Path, database: Rdict) -> None:
    assert write_export(tmp_path / "exports", source_of(database), at=1) is None
    assert list_exports(tmp_path / "exports", "sequence") == []


def test_what_is_loaded_is_what_was_committed(tmp_path: Path, database: Rdict) -> None:
    _put(database, 5, {b"k%03d" % number: bytes([number]) * number for number in range(200)})
    database.delete(b"k007")
    export = _export(tmp_path, database, at=99)
    expected = dict(database.items())
    _put(database, 6, {b"later": b"1"})
    load_export(export, tmp_path / "loaded")
    assert _rows(tmp_path / "loaded") == expected
    assert read_export(export.directory) == export
    assert export.manifest.created_at == 99
    assert export.offset("work", 0) == 5
    assert export.offset("work", 1) is None
    stored = json.loads((export.directory / "manifest.json").read_text())
    assert stored["manifest"]["format"] == "carillon export"
    assert stored["manifest"]["offsets"] == [["work", 0, 5]]
    assert sorted(stored["manifest"]) == [
        "by", "created_at", "files", "format", "offsets", "rows", "store", "version",
    ]  # fmt: skip


def test_a_large_store_becomes_several_tables(tmp_path: Path, database: Rdict) -> None:
    choose = random.Random(1)
    for number in range(45):
        _put(database, number + 1, {b"k%03d" % number: choose.randbytes(1 << 20)})
    export = _export(tmp_path, database)
    assert len(export.manifest.files) == 3
    assert max(file.bytes for file in export.manifest.files) < FILE_BYTES + (2 << 20)
    with opened_export(export, tmp_path / "scratch") as rows:
        assert dict(rows.items()) == dict(database.items())


def test_an_export_is_of_one_moment_however_much_is_written_meanwhile(tmp_path: Path, database: Rdict) -> None:
    """Every commit sets all rows to the same number: an export that mixes two commits would show."""
    names = [b"k%04d" % number for number in range(3000)]
    _put(database, 1, dict.fromkeys(names, b"1"))
    done = threading.Event()

    def keep_writing() -> None:
        number = 1
        while not done.is_set():
            number += 1
            _put(database, number, dict.fromkeys(names, str(number).encode()))

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        exports = [
            write_export(tmp_path / "exports", source_of(database), at=1, pause=lambda: time.sleep(0.002))
            for _ in range(3)
        ]
    finally:
        done.set()
        writer.join()
    seen = set()
    for number, export in enumerate(exports):
        assert export is not None
        load_export(export, tmp_path / f"loaded{number}")
        rows = _rows(tmp_path / f"loaded{number}")
        assert {rows[name] for name in names} == {str(export.offset("work", 0)).encode()}
        seen.add(export.offset("work", 0))
    assert len(seen) == 3, "nothing was written meanwhile"


def test_what_is_damaged_is_passed_over_for_an_older_one(tmp_path: Path, database: Rdict) -> None:
    made = []
    for number in range(4):
        _put(database, number + 1, {b"k": b"v" * 2000})
        made.append(_export(tmp_path, database))
    _flip(made[3].directory / "manifest.json", 150)
    _flip(made[2].directory / "0000.sst", 700)
    (made[1].directory / "0000.sst").unlink()
    told: list[str] = []
    found = newest_export(
        tmp_path / "exports", "sequence", lambda _: True, lambda path, error: told.append(f"{path.name} {error}")
    )
    assert found == made[0]
    assert [text[:6] for text in told] == ["000004", "000003", "000002"]
    assert all("use another export" in text for text in told)


@pytest.mark.parametrize("seed", range(30))
def test_any_flipped_bit_is_found(seed: int, tmp_path: Path) -> None:
    database = opened(tmp_path / "db")
    _put(database, 12, {b"k%d" % number: b"v" * number for number in range(50)})
    export = _export(tmp_path, database)
    database.close()
    choose = random.Random(seed)
    path = export.directory / choose.choice(["manifest.json", "0000.sst"])
    _flip(path, choose.randrange(1 << 20))
    with pytest.raises((StateDamagedError, StateVersionError)):
        verify_export(read_export(export.directory))


def test_one_of_a_later_version_says_so(tmp_path: Path, database: Rdict) -> None:
    _put(database, 1)
    path = _export(tmp_path, database).directory / "manifest.json"
    text = json.dumps(json.loads(path.read_text())["manifest"] | {"version": 2})
    path.write_text(f'{{"digest":"{hashlib.sha256(text.encode()).hexdigest()}","manifest":{text}}}')
    with pytest.raises(StateVersionError, match="knows 1"):
        read_export(path.parent)


def test_an_exporter_that_is_killed_leaves_nothing_that_loads_half(tmp_path: Path) -> None:
    database = opened(tmp_path / "db")
    _put(database, 7, {b"k%06d" % number: random.Random(number).randbytes(400) for number in range(20_000)})
    expected = dict(database.items())
    database.close()
    choose, killed_writing = random.Random(5), 0
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE,
            env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(choose.uniform(0.01, 0.3))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        killed_writing += (tmp_path / "exports" / "sequence" / ".writing").exists()
    assert killed_writing > 0, "no kill came while one was written"
    found = list_exports(tmp_path / "exports", "sequence")
    for export in found:
        verify_export(export)
    database = opened(tmp_path / "db")
    last = _export(tmp_path, database)
    database.close()
    assert last.number == max((each.number for each in found), default=0) + 1
    load_export(last, tmp_path / "loaded")
    assert _rows(tmp_path / "loaded") == expected


def _aged(tmp_path: Path, database: Rdict, hours: range) -> None:
    """One per hour, each including ten records more."""
    for hour in hours:
        _put(database, hour * 10 + 1)
        _export(tmp_path, database, at=hour * 3_600_000)


def _kept_hours(tmp_path: Path) -> list[int]:
    return [each.manifest.created_at // 3_600_000 for each in list_exports(tmp_path / "exports", "sequence")]


def _prune(tmp_path: Path, retained_from: int) -> None:
    prune_exports(
        tmp_path / "exports", "sequence", keep=3, spacing_ms=24 * 3_600_000, begin=lambda *_: retained_from
    )  # fmt: skip


def test_newest_are_kept_then_one_a_day_then_one_that_is_older_than_the_log(tmp_path: Path, database: Rdict) -> None:
    for hour in range(24 * 12):
        _aged(tmp_path, database, range(hour, hour + 1))
        retained_from = max(0, (hour - 24 * 7) * 10)
        _prune(tmp_path, retained_from)
        kept = _kept_hours(tmp_path)
        assert kept[:3] == list(range(hour, max(hour - 3, -1), -1))
        assert all(first - second <= 24 for first, second in pairwise(kept))
        assert kept[-1] * 10 + 1 <= max(retained_from, 1), "any retained time can be decided again from one of them"
        assert len(kept) <= 3 + 2 * 8 + 1


def test_what_nobody_owns_any_more_goes_by_its_age(tmp_path: Path, database: Rdict) -> None:
    _put(database, 1)
    for at in (1000, 2000, 3000):
        _export(tmp_path, database, at=at, store="decide/1")
    assert forget_exports(tmp_path / "exports", "decide/1", before_ms=2500) == [2, 1]
    assert [each.number for each in list_exports(tmp_path / "exports", "decide/1")] == [3]


def test_the_exporter_writes_what_is_new_and_survives_a_disk_that_refuses(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench")
    database = opened(tmp_path / "db")
    _put(database, 1)
    exports = tmp_path / "exports"
    exports.touch()  # no directory can be made there
    clock = time.time_ns
    exporter = Exporter(
        exports, ExportOptions(every=timedelta(seconds=1)), bench.open_log, lambda: clock() // 1_000_000
    )
    exporter.add(source_of(database))
    exporter.start()
    try:
        time.sleep(2.5)
        exports.unlink()
        wait_for(lambda: len(list_exports(exports, "sequence")) == 1)
        time.sleep(2.5)
        assert len(list_exports(exports, "sequence")) == 1, "nothing was new"
        _put(database, 2)
        wait_for(lambda: len(list_exports(exports, "sequence")) == 2)
        _flip(list_exports(exports, "sequence")[0].directory / "0000.sst", 10)
        wait_for(lambda: len(list_exports(exports, "sequence")) == 3)
        shutil.rmtree(exports)
        wait_for(lambda: len(list_exports(exports, "sequence")) == 1)
    finally:
        exporter.stop()
        database.close()
        bench.close()
