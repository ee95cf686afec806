"""A code waits for a short step of what P0's lane forgets at most, and never for the disk."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from connectors.log.embedded.partition import PAGE_BYTES
from state.disk.sqlite import WAL_PAGES_MAX
from state.transactional.store import FORGET_ROWS, BatchCommit, StoredDecision, TransactionalStore

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
