"""`carillon followers build`: the copy by follower says again what sequence made it say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_bench import Bench, calls, copy_inputs
from helpers.interrupted_log import InterruptedLog
from typer.testing import CliRunner, Result

from connectors.log import NewRecord
from flows.cli import app
from flows.commands.followers_build import FollowersBuild
from flows.commands.output import Output
from flows.config.settings import Settings
from flows.sequence import DIRECTORY
from state.disk.lock import StateLock
from state.model.errors import StateLockedError
from state.model.work import decode_work

PAIRS = 700


def build(bench: Bench) -> Result:
    return CliRunner().invoke(app, ["followers", "build", "--data", str(bench.directory), "--json"])


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, (result.output, result.exception)
    said: dict[str, Any] = json.loads(result.output.splitlines()[-1])
    return said


def newest(bench: Bench) -> dict[tuple[int, bytes], tuple[int | None, str, str, bool]]:
    """What `followers` says of each pair, and in which partition."""
    found = {}
    for record in bench.read("followers"):
        work: Any = decode_work(record.value)
        found[record.partition, record.key] = (work.g, work.followee, work.follower, work.on)
    return found


@pytest.fixture
def sequenced(tmp_path: Path) -> Iterator[Bench]:
    """Some follow, and some of these no more; one record is none."""
    bench = Bench(tmp_path / "first")
    bench.append(*(bench.follow(f"u{number}", f"star{number % 9}") for number in range(PAIRS)))
    bench.append(*(bench.follow(f"u{number}", f"star{number % 9}", on=False) for number in range(0, PAIRS, 3)))
    bench.append(NewRecord("follows", 0, b"x\0y", b"{}", (("schema", b"follow/1+json"),)))
    bench.sequence(calls(20))
    assert len(newest(bench)) == PAIRS
    yield bench
    bench.close()


@pytest.fixture
def lost(sequenced: Bench, tmp_path: Path) -> Iterator[Bench]:
    """The same without the topic."""
    bench = Bench(tmp_path / "second")
    copy_inputs(sequenced, bench, ["follows"])
    yield bench
    bench.close()


def test_what_was_lost_is_as_sequence_wrote_it(sequenced: Bench, lost: Bench) -> None:
    said, rows = told(build(lost)), PAIRS + len(range(0, PAIRS, 3))
    assert (said["read"], said["written"], said["refused"], said["done_before"]) == (rows + 1, rows, 1, 0)
    assert newest(lost) == newest(sequenced)
    assert not list((lost.directory / "imports").iterdir())


def test_what_is_there_is_not_harmed_and_sequence_goes_on(sequenced: Bench) -> None:
    before = newest(sequenced)
    told(build(sequenced))
    assert newest(sequenced) == before
    sequenced.append(sequenced.follow("u1", "star1", on=False))
    sequenced.sequence(calls(20))
    assert len(newest(sequenced).items() - before.items()) == 1


def test_one_that_was_stopped_goes_on_and_what_came_meanwhile_is_in_it(sequenced: Bench, lost: Bench) -> None:
    log: Any = InterruptedLog(lost.log, 2)
    with pytest.raises(KeyboardInterrupt):
        FollowersBuild(Settings(data_dir=lost.directory), log, Output(as_json=True), batch_rows=100).run()
    for bench in (sequenced, lost):
        bench.append(bench.follow("u0", "star0"), bench.follow("late", "star0"))
    sequenced.sequence(calls(20))
    assert told(build(lost))["done_before"] > 0
    assert newest(lost) == newest(sequenced)


def test_beside_sequence_it_is_refused(lost: Bench) -> None:
    with StateLock.acquire(lost.directory / DIRECTORY, "sequence"):
        refused = build(lost)
    assert isinstance(refused.exception, StateLockedError)
    assert newest(lost) == {}
