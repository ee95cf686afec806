"""What P0's lane stored is what it reads again; it forgets in short steps, and a code never waits for the disk."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from connectors.log.embedded.partition import PAGE_BYTES
from state.disk.sqlite import WAL_PAGES_MAX
from state.model.errors import StateDamagedError
from state.transactional.store import (
    FORGET_ROWS,
    BatchCommit,
    StoredDecision,
    StoredSetting,
    TransactionalStore,
    TransactionalTotals,
    read_start,
)

NOW = 1_767_225_600_000
RETENTION_MS = 1_000


def decision(offset: int) -> StoredDecision:
    """Every second one is older than the log retains."""
    return StoredDecision(offset, NOW - offset % 2 * 2 * RETENTION_MS, b"{}", b"[]", b"[]", b"{}")


def counts(store: TransactionalStore) -> tuple[int, int]:
    """Marks and decisions."""
    [[marks]], [[decisions]] = store._run("SELECT count(*) FROM mark"), store._run("SELECT count(*) FROM decision")
    return marks, decisions


@pytest.mark.parametrize("rows", [0, 1, FORGET_ROWS - 1, FORGET_ROWS, FORGET_ROWS + 1, 3 * FORGET_ROWS + 7])
def test_in_steps_all_that_has_ended_goes_and_nothing_else(tmp_path: Path, rows: int) -> None:
    with closing(TransactionalStore(tmp_path / "lane.sqlite")) as store:
        marks = [("id", "", f"e{n}", f"e{n}", NOW + (1 if n % 3 else 0)) for n in range(rows)]
        store.commit(BatchCommit({}, [decision(offset) for offset in range(rows)], marks))
        store.close_decisions([offset for offset in range(rows) if offset % 4], {}, 0)
        steps, before = 1, counts(store)
        while not store.forget(NOW, RETENTION_MS):
            after = counts(store)
            assert all(was - now <= FORGET_ROWS for was, now in zip(before, after, strict=True))
            steps, before = steps + 1, after
        assert steps == max(1, -(-(rows + 1) // FORGET_ROWS)), "each row is looked at once"
        kept = {name for [name] in store._run("SELECT name FROM mark")}
        assert kept == {f"e{n}" for n in range(rows) if n % 3}
        held = {offset for [offset] in store._run('SELECT "offset" FROM decision')}
        assert held == {offset for offset in range(rows) if offset % 2 == 0 or offset % 4 == 0}
        while not store.forget(NOW + 1, RETENTION_MS):
            pass
        assert counts(store)[0] == 0, "it begins again from the first"


def test_a_commit_does_not_carry_over_what_waits_in_the_write_ahead_log(tmp_path: Path) -> None:
    with closing(TransactionalStore(tmp_path / "lane.sqlite")) as store:
        before = (tmp_path / "lane.sqlite").stat().st_size
        large = decision(0)._replace(event=bytes(WAL_PAGES_MAX * PAGE_BYTES))
        store.commit(BatchCommit({}, [large]))
        assert (tmp_path / "lane.sqlite").stat().st_size == before
        assert store.open_decisions(), "it is read from the log"


def test_what_was_stored_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "lane.sqlite"
    assert read_start(path, ("events.p0", 0)) is None
    settings = [
        ("ann", "endpoints", "d1", b"1", 4),
        ("ann", "preferences", "", b"2", 3),
        ("bob", "profiles", "", b"3", 5),
    ]
    with closing(TransactionalStore(path)) as store:
        store.begin_from_ledger(7, {3: TransactionalTotals(2, 1, 1, 0, 6)}, {3: 1})
        store.put_settings(settings, [("type", "otp", True, 8), ("all", "", True, 9)], {("preferences", 0): 4})
        store.put_settings([("ann", "endpoints", "d1", None, 6)], [("all", "", False, 10)], {("preferences", 0): 6})
        store.commit(
            BatchCommit(
                {("events.p0", 0): 9},
                [decision(7), decision(8)],
                [("id", "", "e7", "e7", NOW)],
                {4: TransactionalTotals(1, furthest=8)},
                {3: 0},
            )
        )
        store.close_decisions([7], {4: TransactionalTotals(1, 1, furthest=8)}, attempts_from=5)
    with closing(TransactionalStore(path)) as store:
        assert store.places() == {("events.p0", 0): 9, ("preferences", 0): 6}
        assert (store.ledger_end(), store.attempts_from(), store.lost()) == (7, 5, {3: 0})
        assert store.totals() == {3: TransactionalTotals(2, 1, 1, 0, 6), 4: TransactionalTotals(1, 1, furthest=8)}
        assert store.open_decisions() == [decision(8)]
        assert store.settings_of("ann") == [StoredSetting("preferences", b"2", 3)]
        assert store.settings_of("nobody") == []
        assert store.switches() == {("type", "otp"): 8}
        assert [store.mark("id", "", "e7", now) for now in (NOW - 1, NOW)] == ["e7", None]
    assert read_start(path, ("events.p0", 0)) == 9


@pytest.mark.parametrize("damage", ["UPDATE decision SET event = x'00'", "UPDATE setting SET value = x'00'"])
def test_a_row_that_is_not_what_was_written_is_refused(tmp_path: Path, damage: str) -> None:
    with closing(TransactionalStore(tmp_path / "lane.sqlite")) as store:
        store.put_settings([("ann", "profiles", "", b"1", 0)], [], {})
        store.commit(BatchCommit({}, [decision(0)]))
        store._run(damage)
        with pytest.raises(StateDamagedError, match=r"lane\.sqlite"):
            store.open_decisions(), store.settings_of("ann")
