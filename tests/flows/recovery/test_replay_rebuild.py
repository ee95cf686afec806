"""decide's state is gone: it is built anew from export, archive and log, and decide goes on as if nothing had been."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.flow_bench import PARTITIONS
from helpers.history import OUTPUTS, History, Outputs, outputs, read_all, work_records, works

from connectors.log import NewRecord
from flows.config.settings import LaneOptions, load_settings
from flows.process.cluster import ClusterPlace
from flows.process.open import clock_ms
from flows.recovery.replay import Rebuilt, opened_origin, rebuild_state
from flows.recovery.slots import DecideSlot
from flows.steps.decide.epoch_credit import highest_credit, note_credit
from state.decide.exports import group_source
from state.disk.exports import write_export
from state.disk.lock import StateLock
from state.model.errors import StateError, StateLockedError
from state.model.keys import groups_of_partition, partition_of_group

BUDGET = 100
SETTINGS = replace(load_settings(environment={}), lanes=LaneOptions(p1_per_epoch=BUDGET))
AT = 1_800_000_000_000


@pytest.fixture(scope="module")
def story() -> list[NewRecord]:
    """With this seed every partition has outputs near its end, so that it is known how far it was written."""
    return work_records(works(14, 400))


@pytest.fixture(scope="module")
def expected(story: list[NewRecord], tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """What nothing interrupted."""
    history = History(tmp_path_factory.mktemp("uninterrupted"))
    history.log.append(story)
    history.decide(budget=10_000)
    found = outputs(history.log)
    history.log.close()
    return found


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "data")
    yield made
    made.log.close()


def lose(history: History) -> None:
    shutil.rmtree(history.directory / "state")


def rebuild(history: History, *, force: bool = False) -> Rebuilt:
    with opened_origin(str(history.directory), SETTINGS) as origin:
        return rebuild_state(origin, SETTINGS, force=force, at_ms=AT)


def ends(history: History) -> dict[int, int]:
    return {partition: history.log.end_offset("work", partition) for partition in range(PARTITIONS)}


def test_from_the_log_up_to_what_was_certainly_written(
    history: History, story: list[NewRecord], expected: Outputs
) -> None:
    history.log.append(story[: len(story) // 2])
    history.decide(budget=BUDGET)
    before = ends(history)
    lose(history)
    history.log.append(story[len(story) // 2 :])
    history.store().close()  # a start that was refused leaves an empty one
    rebuilt = rebuild(history)
    assert rebuilt.appended == 0
    assert rebuilt.records > 0
    assert all(before[p] - 4 * BUDGET <= end <= before[p] for p, end in rebuilt.ends.items())
    slot = DecideSlot(history.directory / "state" / "decide", ClusterPlace(0, 1, 1))
    assert {slot.store.next_offset(group) for group in groups_of_partition(2, PARTITIONS)} == {rebuilt.ends[2]}
    slot.close()
    history.decide(budget=BUDGET)
    assert outputs(history.log) == expected


def test_from_an_export_that_is_newer_than_what_else_is_certain(
    history: History, story: list[NewRecord], expected: Outputs
) -> None:
    history.log.append(story[: len(story) // 2])
    history.decide(budget=BUDGET)
    store = history.store()
    write_export(history.directory / "exports", group_source(0, store.database), at=AT)
    exported = min(store.next_offset(group) for group in range(60))
    store.close()
    lose(history)
    history.log.append(story[len(story) // 2 :])
    rebuilt = rebuild(history)
    assert rebuilt.ends[0] >= exported > 0
    assert rebuilt.records < sum(rebuilt.ends.values()) // 2, "the export saved nothing"
    history.decide(budget=BUDGET)
    assert outputs(history.log) == expected


def _torn(full: History, torn: History, story: list[NewRecord], epoch: int) -> None:
    """As when all processes end while outputs of an epoch of so many records are written: they came to the ledger."""
    torn.log.append(story)
    ends_of_epoch = ends(full)
    for topic in OUTPUTS:
        for partition in range(full.log.partitions(topic)):
            for record in read_all(full.log, topic, partition):
                sequence = dict(record.headers)["seq"].decode().split(":")
                end = ends_of_epoch[partition_of_group(int(sequence[1]), PARTITIONS)]
                if topic == "ledger" or int(sequence[2]) < end - epoch:
                    torn.log.append([NewRecord(topic, partition, record.key, record.value, record.headers)])


def test_what_a_larger_epoch_of_before_was_cut_off_in_is_not_taken_for_written(
    history: History, story: list[NewRecord], expected: Outputs, tmp_path: Path
) -> None:
    """`lanes.p1_per_epoch` was lowered between the crash and the rebuild."""
    epoch, lowered = 200, replace(SETTINGS, lanes=LaneOptions(p1_per_epoch=10))
    full = History(tmp_path / "full")
    full.log.append(story)
    full.decide(budget=10_000)
    for process, credit in ((0, epoch), (1, 10), (0, 10)):
        note_credit(history.log, process, credit)
    _torn(full, history, story, epoch)
    full.log.close()
    assert outputs(history.log) != expected
    with opened_origin(str(history.directory), lowered) as origin:
        rebuilt = rebuild_state(origin, lowered, force=False, at_ms=AT)
    assert rebuilt.records > 0
    history.decide(budget=10)
    assert outputs(history.log) == expected


def test_the_highest_credit_is_noted_once(history: History) -> None:
    assert highest_credit(history.log) == 0
    for process, credit in ((0, 500), (0, 500), (1, 700), (0, 20), (1, 600)):
        note_credit(history.log, process, credit)
    assert highest_credit(history.log) == 700
    notes = read_all(history.log, "registry", 0)
    assert [(each.key, each.value, each.headers) for each in notes] == [
        (b"decide/0/credit", b'{"work_per_epoch":500}', (("schema", b"credit/1+json"),)),
        (b"decide/1/credit", b'{"work_per_epoch":700}', (("schema", b"credit/1+json"),)),
    ]


def test_the_archive_fills_what_the_log_no_longer_has(
    history: History, story: list[NewRecord], expected: Outputs
) -> None:
    history.log.append(story[: len(story) // 2])
    history.decide(budget=BUDGET)
    history.track()
    seen = outputs(history.log)
    history.trim()
    gone = ends(history)
    lose(history)
    history.log.append(story[len(story) // 2 :])
    rebuilt = rebuild(history)
    assert (rebuilt.ends, rebuilt.records) == (gone, sum(gone.values()))
    history.decide(budget=BUDGET)
    late = outputs(history.log)
    assert all(expected[key] == value for key, value in late.items())
    assert seen | late == expected


def test_what_decide_had_not_written_when_retention_passed_it_is_written(
    history: History, story: list[NewRecord], expected: Outputs
) -> None:
    """It stood still for longer than the log keeps records, then its state was lost as well."""
    history.track()
    history.log.append(story[: len(story) // 2])
    history.track()
    history.trim()
    history.log.append(story[len(story) // 2 :])
    rebuilt = rebuild(history)
    assert rebuilt.appended == len(outputs(history.log)) > 100
    history.decide(budget=BUDGET)
    assert outputs(history.log) == expected


def test_state_that_is_there_is_replaced_on_request_only(history: History, story: list[NewRecord]) -> None:
    history.log.append(story[:2000])
    history.decide(budget=BUDGET)
    before = outputs(history.log)
    with pytest.raises(StateError, match="there is state; --force moves it aside"):
        rebuild(history)
    with (
        StateLock.acquire(history.directory / "run", "carillon up"),
        pytest.raises(StateLockedError, match="carillon up"),
    ):
        rebuild(history, force=True)
    with StateLock.acquire(history.directory / "state" / "decide", "decide"), pytest.raises(StateLockedError):
        rebuild(history, force=True)
    rebuilt = rebuild(history, force=True)
    assert rebuilt.moved_to == history.directory / "state" / f"decide.before-{AT}"
    assert (rebuilt.moved_to / "rocksdb" / "CURRENT").exists()
    history.decide(budget=BUDGET)
    assert outputs(history.log) == before


def test_an_archive_alone_has_no_state_to_rebuild(history: History, story: list[NewRecord]) -> None:
    history.log.append(story[:200])
    history.track()
    with (
        opened_origin(str(history.directory / "archive"), SETTINGS) as origin,
        pytest.raises(StateError, match="name a data directory or kafka"),
    ):
        rebuild_state(origin, SETTINGS, force=False, at_ms=clock_ms())
