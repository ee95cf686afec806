"""Flows that keep their own offsets under `-r` with Bytewax's recovery files gone, damaged or of another flow:
what was decided is not decided again, or the engine refuses and nothing is written.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.flow_bench import Bench, calls, decided_in_one_go
from helpers.waiting import wait_for

from connectors.log import Record
from flows.process.open import clock_ms


def _make_store(directory: Path) -> None:
    directory.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(directory), "1"], check=True, timeout=60)


class Run:
    """`decide` or another flow under the stock runner, with recovery files."""

    def __init__(self, data: Path, recovery: Path, flow: str = "decide") -> None:
        self.data = data
        self._output = data / f"{flow}.out"
        with self._output.open("ab") as output:
            recover = ["-r", str(recovery), "-s", "1", "-b", "0"]
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", f"flows.{flow}:build()", *recover],
                env={**os.environ, "CARILLON_DATA_DIR": str(data)}, stdout=output, stderr=output,
            )  # fmt: skip

    def output(self) -> str:
        return self._output.read_text(errors="replace")[-3000:]

    def drain(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def _seq(record: Record) -> str:
    return dict(record.headers)["seq"].decode()


def _decisions(bench: Bench) -> list[Record]:
    return [record for record in bench.read("ledger") if _seq(record).startswith("d:")]


def _feed(bench: Bench, first: int) -> None:
    """More of the decision log."""
    numbers = range(first, first + 40)
    bench.append(*(bench.event(f"e{n}", "reply", target=f"u{n % 10}", object=f"o{n}") for n in numbers))
    bench.sequence(calls(20), clock=clock_ms)


def _run_until_decided(bench: Bench, run: Run) -> None:
    expected = decided_in_one_go(bench)["ledger"]
    wait_for(
        lambda: run.process.poll() is not None or len({_seq(each) for each in _decisions(bench)}) >= len(expected),
        90, run.output(),
    )  # fmt: skip


def _flip(recovery: Path) -> None:
    choose = random.Random(4)
    for path in recovery.glob("part-*.sqlite3"):
        content = bytearray(path.read_bytes())
        for _ in range(60):
            content[choose.randrange(100, len(content))] ^= 0xFF
        path.write_bytes(content)


def _empty(recovery: Path) -> None:
    for path in recovery.iterdir():
        path.write_bytes(b"")


def _renew(recovery: Path) -> None:
    shutil.rmtree(recovery)
    _make_store(recovery)


def _of_another_flow(recovery: Path) -> None:
    shutil.rmtree(recovery)
    shutil.copytree(recovery.with_name("recovery-inbox"), recovery)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "gone": shutil.rmtree,
    "begun anew": _renew,
    "bytes flipped": _flip,
    "emptied": _empty,
    "of another flow": _of_another_flow,
}


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose decision log was decided, with the recovery files of that run; and some of another."""
    directory = tmp_path_factory.mktemp("decided")
    bench = Bench(directory)
    try:
        _feed(bench, 0)
        runs = []
        for flow in ("decide", "inbox"):
            recovery = directory / ("recovery" if flow == "decide" else "recovery-inbox")
            _make_store(recovery)
            runs.append(Run(directory, recovery, flow))
        _run_until_decided(bench, runs[0])
        decided = _epochs(directory)
        wait_for(lambda: all(now >= 2 + decided[path] for path, now in _epochs(directory).items()), 90, "is committed")
        assert [run.drain() for run in runs] == [0, 0], runs[0].output() + runs[1].output()
    finally:
        for run in runs:
            run.end()
        bench.close()
    return directory


def _epochs(directory: Path) -> dict[Path, int]:
    """How far each recovery file has come; decide commits an epoch when the next one begins."""
    return {path: _epoch(path) for path in directory.glob("recovery*/part-*.sqlite3")}


def _epoch(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT max(worker_frontier) FROM fronts").fetchone()[0] or 0)
    finally:
        connection.close()


def _over(data: Path, tmp_path: Path) -> Bench:
    """A bench over a log that is there."""
    bench = Bench(tmp_path / "bench")
    bench.close()
    bench.directory = data
    bench.log = bench.open_log()
    return bench


@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_is_decided_twice_whatever_the_recovery_files_say(damage: str, decided: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(decided, data, ignore=shutil.ignore_patterns("bells", "doorbells"))
    bench = _over(data, tmp_path)
    before = _decisions(bench)
    assert before
    DAMAGES[damage](data / "recovery")
    _feed(bench, 1000)
    run = Run(data, data / "recovery")
    try:
        _run_until_decided(bench, run)
        refused = run.process.poll()
        if refused is None:
            assert run.drain() == 0, run.output()
            expected = decided_in_one_go(bench)["ledger"]
            after = {_seq(each): each.value for each in _decisions(bench)}
            assert after == expected
            assert len(_decisions(bench)) == len(expected), "what was decided before was decided again"
        else:
            assert refused != 0
            assert "Error" in run.output()
            assert _decisions(bench) == before
        if damage in ("begun anew", "of another flow"):
            assert refused is None, run.output()
    finally:
        run.end()
        bench.close()
