"""What a change would have done, held against what the system does when the change is there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_bench import Bench, calls

from connectors.types import PublishedTypes, type_publication
from flows.commands.try_type import try_type
from flows.config.settings import Settings
from flows.process.open import clock_ms
from flows.recovery.type_trial import TypeTrial, trial
from state.model.type_record import TypeRecord

PHONE = {"user": "u1", "channel": "push", "id": "p", "platform": "ios", "address": "a" * 64, "state": "active"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.clock.now = clock_ms()
    made.append(made.setting("endpoints", "u1", **PHONE))
    made.append(*(made.event(f"e{n}", "mention", object=f"o{n}", payload={"n": n}) for n in range(6)))
    made.append(*(made.event(f"r{n}", "reply", object=f"o{n}") for n in range(4)))
    made.sequence(clock=clock_ms)
    return made


def tried(bench: Bench, table: dict[str, Any] | None, name: str = "mention") -> TypeTrial:
    return trial(Settings(data_dir=bench.directory), bench.log, name, table)


def test_what_would_be_silent_or_held_back_is_counted_and_nothing_is_written(bench: Bench) -> None:
    ends = [bench.log.end_offset(topic, 0) for topic in ("work", "ledger", "registry")]
    told = tried(bench, {"channels": ["in_app"]})
    assert (told.events, told.partitions, told.partitions_all, told.refused, told.others) == (6, 4, 4, 0, 0)
    assert told.outcomes == [("EMITTED", 6, 0), ("INBOX", 0, 6)]
    assert told.channels == [("push", 6, 0)]
    assert told.moved == [("EMITTED", "INBOX", 6)]
    assert ends == [bench.log.end_offset(topic, 0) for topic in ("work", "ledger", "registry")]


def test_caps_that_others_would_not_have_met_are_told(bench: Bench) -> None:
    bench.append(bench.preference("u1", frequency_cap={"max_per_hour": 5}))
    bench.append(*(bench.event(f"x{n}", "mention", object=f"x{n}") for n in range(3)))
    bench.append(*(bench.event(f"y{n}", "reply", object=f"y{n}") for n in range(3)))
    bench.sequence(clock=clock_ms)
    told = tried(bench, {"channels": ["in_app"]})
    assert {was: count for was, _, count in told.moved} == {"EMITTED": 6, "HELD": 3}
    assert told.others == 1, "four replies count, so one more goes out"


def test_class_ttl_and_schema_of_the_change_count_too(bench: Bench) -> None:
    bulk = {"klass": "P2", "enabled": False, "channels": ["push"], "ttl_ms": 600_000}
    assert tried(bench, bulk).outcomes == [("EMITTED", 6, 0), ("SUPPRESSED type_off", 0, 6)]
    schema = {"channels": ["push"], "schema": '{"properties":{"n":{"maximum":2}}}'}
    told = tried(bench, schema)
    assert (told.refused, told.moved) == (3, [])


def test_it_agrees_with_what_is_decided_once_the_change_is_published(bench: Bench) -> None:
    table = {"channels": ["push"], "enabled": False}
    told = tried(bench, table)
    bench.append(type_publication(TypeRecord(type="mention", version=1, by="ops", table=table)))
    with closing(PublishedTypes(bench.log, {}).start()) as types:
        bench.append(*(bench.event(f"z{n}", "mention", object=f"z{n}") for n in range(6)))
        bench.sequence(clock=clock_ms, types=types)
    bench.decide(calls(40))
    now = [record.value for record in bench.read("ledger") if b'"z' in record.value]
    assert (len(now), sum(b"type_off" in each for each in now)) == (6, 6)
    assert told.outcomes == [("EMITTED", 6, 0), ("SUPPRESSED type_off", 0, 6)]
    back = tried(bench, None)
    assert back.moved == [("SUPPRESSED type_off", "EMITTED", 6), ("SUPPRESSED type_off", "HELD", 6)], "ten an hour"


def test_a_process_of_its_own_tells_the_same_and_why_it_cannot(bench: Bench, tmp_path: Path) -> None:
    told = try_type(bench.directory, "mention", {"channels": ["in_app"]})
    assert (told["events"], told["moved"]) == (6, [["EMITTED", "INBOX", 6]])
    assert "holds no system" in try_type(tmp_path / "nothing", "mention", None)["refused"]
