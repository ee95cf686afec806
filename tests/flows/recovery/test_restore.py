"""What decide skipped is known before its groups are: a start that is killed in between does that again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_bench import START, Bench, seconds

from connectors.log import NewRecord
from flows.config.settings import Settings
from flows.recovery.bounds import StoreHome
from flows.recovery.prepare_decide import ensure_groups, prepare_decide
from flows.recovery.restore import ensure_store
from flows.steps.dead_letters import read_dead_letters
from flows.steps.decide.group import restore_skips
from state.decide.checkpoint import GroupStore
from state.decide.exports import group_source
from state.disk.exports import ExportedOffset, write_export
from state.model.errors import ConfigurationError, StateDamagedError
from state.model.registry import load_registry
from state.model.work import TickWork, encode_work


class _KilledError(Exception):
    """Stands for the end of the process."""


def test_skips_are_taken_over_before_a_group_looks_whole(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    state = tmp_path / "state" / "decide"
    ticks = [NewRecord("work", 0, b"", encode_work(TickWork(stamp=START + number))) for number in range(25)]
    bench.append(*ticks)
    bench.decide(seconds(1.0))
    store = GroupStore(state)
    assert write_export(tmp_path / "exports", group_source(0, store.database), at=1)
    store.close()
    bench.append(NewRecord("work", 0, b"3", b"poison"), *ticks)
    bench.decide(seconds(1.0))
    bench.lose("decide")
    home, store = StoreHome("decide", state, tmp_path), GroupStore(state)

    def start(*, killed: bool) -> list[int]:
        def before(groups: Collection[int]) -> None:
            restore_skips(store, groups, read_dead_letters(bench.log))
            if killed:
                raise _KilledError

        stored = {group: store.next_offset(group) for group in range(60)}
        return ensure_groups(home, store.database, stored, bench.log, before)

    with pytest.raises(_KilledError):
        start(killed=True)
    assert store.next_offset(3) == 0, "so the next start begins where this one did"
    assert 3 in start(killed=False)
    store.forget_skips()
    assert (list(store.skipped(3)), store.next_offset(3)) == ([25], 25)
    store.close()
    bench.close()


def _always(places: list[ExportedOffset]) -> Callable[[Any], list[ExportedOffset]]:
    return lambda _view: places


def test_exports_of_a_log_that_is_not_here_are_no_first_start(tmp_path: Path) -> None:
    """On another host, with exports and without the log, everybody was as if he had never set anything."""
    bench = Bench(tmp_path)
    state = tmp_path / "state" / "decide"
    bench.append(*(NewRecord("work", 0, b"", encode_work(TickWork(stamp=START + number))) for number in range(25)))
    bench.decide(seconds(1.0))
    store = GroupStore(state)
    exports = tmp_path / "exports"
    assert write_export(exports, group_source(0, store.database), at=1)
    for number, offset in ((10, 25), (2, 0)):
        places = [ExportedOffset("inbox", partition, offset) for partition in range(4)]
        source = group_source(0, store.database)._replace(store=f"inbox/{number}", offsets=_always(places))
        assert write_export(exports, source, at=1)
    store.close()
    bench.close()
    other = Bench(tmp_path / "other")
    (tmp_path / "other" / "exports").symlink_to(exports)
    empty = GroupStore(tmp_path / "other" / "state" / "decide")
    home = StoreHome("decide", tmp_path / "other" / "state" / "decide", tmp_path / "other")

    def decide() -> list[int]:
        return ensure_groups(home, empty.database, dict.fromkeys(range(60), 0), other.log, lambda _groups: None)

    def start(number: int) -> None:
        home = StoreHome(f"inbox/{number}", tmp_path / "other" / "state" / "inbox" / str(number), tmp_path / "other")
        ensure_store(home, list, [("inbox", number % 4)], other.log, rebuildable=lambda: True)

    gone = r": includes .* the log ends at %d: the log was lost, or is another one. Restore the log"
    with pytest.raises(StateDamagedError, match="decide/0" + gone % 0):
        decide()
    with pytest.raises(StateDamagedError, match="inbox/10" + gone % 0):
        start(10)
    start(1)
    start(2)
    other.append(*(NewRecord(topic, place, b"", b"") for topic in ("work", "inbox") for place in range(4)))
    with pytest.raises(StateDamagedError, match="decide/0" + gone % 1):
        decide()  # what was refused is started again, and gateways have written meanwhile
    with pytest.raises(StateDamagedError, match="inbox/10" + gone % 1):
        start(10)
    start(1)
    start(2)
    empty.close()
    other.close()


def test_who_decided_with_a_channel_whose_package_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    """Where the type was changed in the same step, no setting names the channel any more."""
    bench = Bench(tmp_path)
    bench.append(NewRecord("work", 0, b"", encode_work(TickWork(stamp=START))))
    path = tmp_path / "state" / "decide"
    store = GroupStore(path)

    def start(group: int, *channels: str) -> list[int]:
        state = store.load(group, load_registry())
        state.place, state.registry_tables = 0, {"like": {"window_ms": 5}, "fire": {"channels": [*channels]}}
        store.collect(group, state)
        store.commit()
        return prepare_decide(Settings(data_dir=tmp_path), store, path, [group], lambda: bench.log)

    with pytest.raises(ConfigurationError, match=r"types\.fire: .* channel voice, .* Install the package again"):
        start(3, "voice", "in_app")
    assert start(4, "push", "in_app") == []
    store.close()
    bench.close()
