"""Decide over a decision log: the same outputs on any number of workers, however often it is stopped or loses all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bytewax.errors import BytewaxRuntimeError
from helpers.decided import TOPICS, assert_complete, complete
from helpers.flow_bench import PARTITIONS, Bench, calls, decided_in_one_go

from connectors.load import load_record
from connectors.log import NewRecord
from state.model.keys import partition_of_group
from state.model.load import LoadReport
from state.model.work import TickWork, encode_work

USERS = [f"u{number}" for number in range(400)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    _fill(opened, random.Random(3))
    yield opened
    opened.close()


def _fill(bench: Bench, choose: random.Random) -> None:
    """Settings, segments and events as `sequence` writes them, then hours passing in ticks."""
    for user in USERS:
        for channel in ("push", "email"):
            bench.append(_endpoint(bench, user, channel))
        hours = {
            "enabled": True,
            "start": "01:00",
            "end": "03:00",
            "timezone": choose.choice(["UTC", "Asia/Kathmandu"]),
        }
        bench.append(bench.preference(
            user, quiet_hours=hours if choose.random() < 0.5 else {},
            frequency_cap={"max_per_hour": choose.choice([1, 2, 50])},
            types={"newsletter": {"enabled": True}, "comment": {"channels": ["email", "in_app"]}},
        ))  # fmt: skip
    bench.append(bench.setting("segments", "all", segment="all", version=1, chunk=0, users=USERS))
    bench.append(bench.setting("segments", "all", segment="all", version=1, chunks=1))
    for number in range(150):
        kind = choose.choice(["like", "like", "comment", "mention", "follow"])
        bench.append(bench.event(
            f"e{number}", kind, target=choose.choice(USERS[:12]), actor=f"a{choose.randrange(4)}",
            retracts=choose.random() < 0.1,
        ))  # fmt: skip
    for number, kind in enumerate(["announcement", "newsletter", "announcement"]):
        fan_out: dict[str, Any] = {"fan_out_type": "SEGMENT", "segment": "all", "payload": {"critical": True}}
        bench.append(bench.event(f"f{number}", kind, target=None, object=f"c{number}", **fan_out))
    bench.append(load_record(LoadReport("deliver/0", 0, 0.0, ("push/*",))))
    bench.sequence()  # push is away from here on, for f3 and for what is held until then
    fan_out = {"fan_out_type": "SEGMENT", "segment": "all", "payload": {"critical": True}}
    bench.append(bench.event("f3", "announcement", target=None, object="c3", **fan_out))
    bench.sequence()
    for hour in range(1, 30):
        tick = encode_work(TickWork(stamp=bench.clock.now + hour * 1_800_000))
        bench.append(*(NewRecord("work", partition, b"", tick) for partition in range(PARTITIONS)))


def _endpoint(bench: Bench, user: str, channel: str) -> NewRecord:
    return bench.setting("endpoints", user, user=user, channel=channel, id="d", address="x", registered_at=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_outputs_are_those_of_the_log(bench: Bench, workers: int) -> None:
    expected = decided_in_one_go(bench)
    assert {len(expected[topic]) > 10 for topic in TOPICS[:4]} == {True}
    assert any(b"passed_over push" in value for value in expected["ledger"].values())
    bench.decide(complete(bench, expected), workers=workers)
    assert_complete(bench, expected)


@pytest.mark.parametrize("seed", range(3))
def test_stops_without_a_last_commit_and_a_lost_state_change_nothing(bench: Bench, seed: int) -> None:
    choose, expected = random.Random(seed), decided_in_one_go(bench)
    for run in range(4):
        bench.decide(
            calls(choose.randrange(20, 160)), workers=choose.choice([1, 2]), budget=choose.choice([7, 60, 400])
        )
        if run == 1 and seed == 1:
            bench.lose("decide")
    bench.decide(complete(bench, expected))
    assert_complete(bench, expected)


def test_order_is_kept_per_group_so_that_one_mark_drops_exactly_the_repeats(bench: Bench) -> None:
    """TOPICS: whoever consumes keeps one mark per (topic, partition, group) and drops what is not above it."""
    expected = decided_in_one_go(bench)
    for most in (60, 120):
        bench.decide(calls(most), workers=2, budget=50)
    bench.decide(complete(bench, expected), workers=2)
    for topic in TOPICS:
        marks: dict[tuple[int, int], tuple[int, int]] = {}
        kept: set[str] = set()
        for record in bench.read(topic):
            seq = dict(record.headers)["seq"].decode()
            _, group, offset, ordinal = seq.split(":")
            if topic != "ledger" or not seq.endswith(str(1 << 30)):
                assert record.partition % PARTITIONS == partition_of_group(int(group), PARTITIONS)
            mark = (int(offset), int(ordinal))
            if mark > marks.get((record.partition, int(group)), (-1, -1)):
                marks[record.partition, int(group)] = mark
                assert seq not in kept
                kept.add(seq)
        assert kept == expected.get(topic, {}).keys(), topic


def test_a_group_of_another_process_is_refused(bench: Bench) -> None:
    """It would be decided from nothing, since its state is elsewhere."""
    theirs = range(60, 120)
    with pytest.raises(BytewaxRuntimeError) as refused:
        bench.decide(calls(100), groups=[group for group in range(240) if group not in theirs])
    causes, cause = list[str](), refused.value.__cause__
    while cause is not None:
        causes.append(str(cause))
        cause = cause.__cause__
    assert any("came to a process that does not decide it" in text for text in causes)
    for topic in TOPICS:
        assert not [r for r in bench.read(topic) if int(dict(r.headers)["seq"].split(b":")[1]) in theirs]
