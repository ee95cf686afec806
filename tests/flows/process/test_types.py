"""A published type in the decision log: it comes before the events that rely on it, and is decided the same again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers.flow_bench import Bench, calls, decided_in_one_go

from connectors.log.interface import NewRecord
from connectors.types import PublishedTypes, type_publication, types_in_force
from state.model.topics import REGISTRY
from state.model.type_record import TYPE, TypeRecord
from state.model.work import EventWork, VersionsWork, decode_work


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def published(name: str, version: int, table: dict[str, Any] | None) -> NewRecord:
    return type_publication(TypeRecord(type=name, version=version, by="ops", table=table))


def sequence(bench: Bench) -> None:
    with closing(PublishedTypes(bench.log, {}).start()) as types:
        bench.sequence(types=types)


def order(bench: Bench) -> list[Any]:
    """The events of the partition of u1, and the tables between them."""
    found: list[Any] = []
    here = next(record.partition for record in bench.read("work") if b"u1" in record.value)
    works = [decode_work(record.value) for record in bench.read("work") if record.partition == here]
    for work in works:
        if isinstance(work, EventWork):
            found.append(work.event.event_id)
        elif isinstance(work, VersionsWork):
            found.append(work.types)
    return found


def outcomes(bench: Bench) -> dict[str, str]:
    found = [msgspec.json.decode(record.value) for record in bench.read("ledger") if record.value[:1] == b"{"]
    return {
        each["event_id"]: each["outcome"]
        for each in found
        if each.get("kind", "decision") == "decision" and "event_id" in each
    }


def phone(bench: Bench) -> NewRecord:
    return bench.setting(
        "endpoints", "u1", user="u1", channel="push", id="p", platform="ios", address="a", state="active"
    )


SILENT = {"channels": ["in_app"]}


def test_it_binds_what_was_accepted_after_it_and_is_decided_the_same_again(bench: Bench) -> None:
    bench.append(phone(bench), bench.event("e1", "mention"))
    sequence(bench)
    bench.append(published("mention", 1, SILENT), bench.event("e2", "mention", object="two"))
    sequence(bench)
    bench.append(published("mention", 2, None), bench.event("e3", "mention", object="three"))
    sequence(bench)
    assert order(bench) == [{}, "e1", {"mention": SILENT}, "e2", {}, "e3"]
    bench.decide(calls(40))
    first = {(record.partition, record.offset): record.value for record in bench.read("ledger")}
    assert outcomes(bench) == {"e1": "EMITTED", "e2": "INBOX", "e3": "EMITTED"}
    expected = decided_in_one_go(bench)["ledger"]
    ledger = {dict(record.headers)["seq"].decode(): record.value for record in bench.read("ledger")}
    assert ledger == expected
    bench.lose("decide")
    bench.decide(calls(40))
    again = {dict(record.headers)["seq"].decode(): record.value for record in bench.read("ledger")}
    assert (len(first), again) == (len(expected), expected), "every record came again, with the same bytes"


def test_a_sequencer_that_lost_its_state_does_not_judge_anew(bench: Bench) -> None:
    bench.append(phone(bench), bench.event("e1", "mention"), published("mention", 1, SILENT))
    bench.append(bench.event("e2", "mention", object="two"))
    sequence(bench)
    before, sources = order(bench), bench.sources()
    bench.append(published("mention", 2, {"channels": ["push"]}), bench.event("e3", "mention", object="three"))
    bench.lose("sequence")
    sequence(bench)
    after = order(bench)
    assert after[: len(before)] == before
    assert after[len(before) :] == [{"mention": {"channels": ["push"]}}, "e3"]
    assert bench.sources()[: len(sources)] == sources
    bench.decide(calls(40))
    assert outcomes(bench)["e3"] == "EMITTED"


def test_what_this_release_cannot_use_changes_nothing(bench: Bench) -> None:
    bad = TypeRecord(type="like", version=2, by="x", table={"key_of_tomorrow": 1})
    bench.append(published("like", 1, {"window_ms": 5}), NewRecord(REGISTRY, 0, b"type/like", b"{", TYPE.headers))
    bench.append(type_publication(bad), NewRecord(REGISTRY, 0, b"decide/0/credit", b"1000"))
    assert types_in_force(bench.log, {"like": {"window_ms": 9}}).profile("like").window_ms == 5
    with closing(PublishedTypes(bench.log, {"wave": {"ttl_ms": 7}}).start()) as types:
        assert types.current.profile("like").window_ms == 5
        bench.append(published("wave", 1, {"window_ms": 3}))
        assert types.up_to_date().profile("wave").window_ms == 3
        assert types.current.profile("wave").ttl_ms == 3_600_000, "its table in the file does not count any more"
