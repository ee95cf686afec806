"""The exporter's thread outlives whatever fails, tells it, and tries again; no store waits for another's failure."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.flow_bench import Bench
from helpers.logs import captured_logs
from helpers.waiting import wait_for
from rocksdict import Rdict

from connectors.metrics import EXPORTS
from flows.process.open import clock_ms
from flows.recovery.export import Exporter
from flows.recovery.options import ExportOptions
from state.disk.exports import (
    Export,
    ExportedOffset,
    ExportSource,
    list_exports,
    newest_export,
    prune_exports,
    write_export,
)
from state.disk.rocksdb import open_database

EVERY = timedelta(seconds=1)
UNLISTABLE = "x" * 300
"""No name of a directory: looking what is in it fails."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path / "bench")
    yield opened
    opened.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Rdict]:
    opened = open_database(tmp_path / "db", b"a test 1")
    yield opened
    opened.close()


def source_of(database: Rdict, store: str = "sequence") -> ExportSource:
    return ExportSource(store, "partition", database.iter, lambda _view: [ExportedOffset("work", 0, 1)])


def failures(kind: str) -> float:
    value: float = EXPORTS.labels(kind, "failed")._value.get()
    return value


def test_a_store_that_cannot_be_listed_stops_nobody(bench: Bench, database: Rdict, tmp_path: Path) -> None:
    exports, before = tmp_path / "exports", failures(UNLISTABLE)
    exporter = Exporter(exports, ExportOptions(every=EVERY), bench.open_log, clock_ms)
    exporter.add(source_of(database, UNLISTABLE))
    exporter.add(source_of(database))
    with captured_logs() as logs:
        exporter.start()
        try:
            wait_for(lambda: len(list_exports(exports, "sequence")) == 1)
            wait_for(lambda: failures(UNLISTABLE) >= before + 2)
            assert any(is_removed_soon(exporter, database) for _ in range(10)), "its flow waits for the next try"
        finally:
            exporter.stop()
    told = [(each["store"], each["error"]) for each in logs if each["event"] == "export_failed"]
    assert set(told) == {(UNLISTABLE, "OSError")}


def is_removed_soon(exporter: Exporter, database: Rdict) -> bool:
    """A busy machine may stand still for a moment: then it is tried again, with another one."""
    began = time.monotonic()
    exporter.remove(UNLISTABLE)
    if time.monotonic() - began < EVERY.total_seconds() / 2:
        return True
    before = failures(UNLISTABLE)
    exporter.add(source_of(database, UNLISTABLE))
    wait_for(lambda: failures(UNLISTABLE) > before)
    return False


def _of_a_later_version(export: Export) -> None:
    path = export.directory / "manifest.json"
    text = json.dumps(json.loads(path.read_text())["manifest"] | {"version": 2})
    path.write_text(f'{{"digest":"{hashlib.sha256(text.encode()).hexdigest()}","manifest":{text}}}')


def test_one_of_a_later_version_is_passed_over(bench: Bench, database: Rdict, tmp_path: Path) -> None:
    exports, source, told = tmp_path / "exports", source_of(database), list[str]()
    _, written = (write_export(exports, source, at=at) for at in (1, 2))
    assert written is not None
    _of_a_later_version(written)
    found = newest_export(exports, "sequence", lambda _: True, lambda _path, error: told.append(str(error)))
    assert found is not None
    assert found.number == 1
    assert [text.endswith("this program knows 1") for text in told] == [True]
    (found.directory / "0000.sst").unlink()  # else there is nothing new to write
    exporter = Exporter(exports, ExportOptions(every=EVERY), bench.open_log, clock_ms)
    exporter.add(source)
    exporter.start()
    try:
        wait_for(lambda: [each.number for each in list_exports(exports, "sequence")] == [3, 1])
    finally:
        exporter.stop()


def test_what_a_cut_off_removal_left_goes_with_the_next_one(database: Rdict, tmp_path: Path) -> None:
    exports, source = tmp_path / "exports", source_of(database)
    for at in range(4):
        write_export(exports, source, at=at)
    home = exports / "sequence"
    (home / "000001").rename(home / ".removing")
    assert [each.number for each in list_exports(exports, "sequence")] == [4, 3, 2]
    assert prune_exports(exports, "sequence", keep=1, spacing_ms=100, begin=lambda _topic, _number: 0) == [3]
    assert sorted(each.name for each in home.iterdir()) == ["000002", "000004"]
