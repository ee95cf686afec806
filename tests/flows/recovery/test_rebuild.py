"""State made from the log alone: what was handled is not handled again, what a crash cut off is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.flow_bench import REGISTRY, Bench, calls, copy_inputs, seconds, until

from connectors.log import NewRecord, Record
from flows.process.open import clock_ms
from flows.recovery.rebuild import is_rebuildable
from state.model.keys import key_group
from state.model.registry import load_registry
from state.model.work import KillWork, PreferenceWork, SliceWork, decode_work

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
INPUTS = ("preferences", "follows", "reads", "events.p1", "events.p2")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    opened.clock.now = clock_ms()
    yield opened
    opened.close()


def _in_two_days() -> int:
    return clock_ms() + 2 * DAY_MS


def _fill(bench: Bench) -> None:
    """Settings, direct events, a fan-out to many groups, a repeat and a record that does not decode."""
    bench.append(*(bench.follow(f"u{number}", "star") for number in range(60)))
    bench.append(bench.preference("u1", frequency_cap={"max_per_hour": 3}))
    bench.append(NewRecord("reads", 0, b"u1", orjson.dumps({"user": "u1"})))
    bench.append(*(bench.event(f"e{number}", "reply", target=f"u{number % 7}") for number in range(30)))
    bench.append(*(bench.event(f"e{number}", "reply", target=f"u{number % 7}") for number in (3, 11, 12)))
    bench.append(NewRecord("events.p1", 0, b"u1", b"{"), NewRecord("events.p1", 1, b"u1", b"{"))
    bench.append(bench.event("post", "live_started", actor="star", target=None, fan_out_type="FOLLOWERS"))
    bench.append(*(bench.event(f"e{number}", "reply", target=f"u{number % 7}") for number in (0, 1, 20)))


def test_repeats_of_long_ago_are_still_repeats(bench: Bench) -> None:
    _fill(bench)
    bench.sequence(calls(40), clock=clock_ms)
    before = bench.sources()
    letters = len(bench.read("dead_letters"))
    assert len(before) > 60
    assert letters == 2
    bench.lose("sequence")
    bench.sequence(calls(40), clock=_in_two_days)
    assert bench.sources() == before
    assert len(bench.read("dead_letters")) == letters
    bench.append(bench.event("new", "reply", target="u1", object="new"))
    bench.sequence(calls(40), clock=_in_two_days)
    assert len(bench.sources()) == len(before) + 1


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("partition", [0, 3])
def test_what_a_crash_cut_off_is_written_and_nothing_else(
    kept: float, partition: int, bench: Bench, tmp_path: Path
) -> None:
    """One partition of `work` ends earlier than the others, as when the process dies between two appends."""
    _fill(bench)
    bench.sequence(calls(40), clock=clock_ms)
    other = Bench(tmp_path / "other")
    try:
        copy_inputs(bench, other, INPUTS)
        _copy_work(bench, other, partition, kept)
        assert len(other.sources()) < len(bench.sources())
        other.sequence(calls(40), clock=clock_ms)
        assert other.sources() == bench.sources()
    finally:
        other.close()


def _copy_work(source: Bench, target: Bench, cut: int, kept: float) -> None:
    records = sorted(source.read("work"), key=lambda each: (each.partition, each.offset))
    of_cut = [record for record in records if record.partition == cut and record.key]  # ticks have none
    lost = {record.offset for record in of_cut[int(len(of_cut) * kept) :]}
    target.append(*(_again(record) for record in records if record.partition != cut or record.offset not in lost))


def _again(record: Record) -> NewRecord:
    return NewRecord(record.topic, record.partition, record.key, record.value, record.headers)


def test_the_log_alone_does_where_it_retains_longer_than_repeats_count(bench: Bench) -> None:
    assert is_rebuildable(bench.log, REGISTRY, clock_ms())
    _fill(bench)
    bench.sequence(calls(40), clock=clock_ms)
    assert is_rebuildable(bench.log, REGISTRY, clock_ms()), "all of it is retained"
    bench.log.maintain(clock_ms() + WEEK_MS + 1)
    assert not is_rebuildable(bench.log, REGISTRY, clock_ms()), "nothing is left to tell"
    bench.lose("sequence")
    bench.sequence(calls(40), clock=clock_ms)
    assert not is_rebuildable(bench.log, REGISTRY, clock_ms())
    assert is_rebuildable(bench.log, REGISTRY, clock_ms() + DAY_MS + 3_700_000)
    longer = load_registry({"campaign_*": {"repeat_window_ms": WEEK_MS}})
    assert not is_rebuildable(bench.log, longer, clock_ms() + DAY_MS + 3_700_000)


def test_a_release_of_long_ago_takes_place_once(bench: Bench) -> None:
    due = bench.clock.now + 60_000
    bench.append(bench.event("e1", "reminder", topic="schedule", deliver_at=due))
    bench.clock.now = due
    bench.schedule(until(lambda: bool(bench.read("events.p1"))))
    assert [orjson.loads(record.value)["event_id"] for record in bench.read("events.p1")] == ["e1"]
    bench.append(bench.event("e2", "reminder", topic="schedule", deliver_at=due + 60_000))
    bench.lose("schedule")
    bench.clock.now = due + 2 * DAY_MS
    bench.schedule(until(lambda: len(bench.read("events.p1")) == 2))
    assert [orjson.loads(record.value)["event_id"] for record in bench.read("events.p1")] == ["e1", "e2"]


def _kill(*, on: bool) -> NewRecord:
    value = {"scope": "channel", "value": "push", "on": on}
    return NewRecord("control", 0, b"channel\0push", orjson.dumps(value))


def _last_settings(bench: Bench) -> tuple[list[object], list[bool]]:
    """What decide ends with for the user's document, and whether the channel is off, per partition of `work`."""
    works = [work for _, _, work in sorted(bench.work(), key=lambda entry: entry[1])]
    documents = [work.doc["n"] for work in works if isinstance(work, PreferenceWork) and work.user == "u1"]
    return documents, [work.on for work in works if isinstance(work, KillWork)]


def test_settings_that_were_superseded_do_not_come_back(bench: Bench) -> None:
    """Retention took the older ones from `work`; compaction, which is lazy, left them in their topics."""
    bench.append(bench.preference("u1", n="old"), _kill(on=True), bench.follow("u1", "star"))
    bench.sequence(calls(20), clock=clock_ms)
    time.sleep(0.05)
    cut = clock_ms()
    time.sleep(0.05)
    bench.append(bench.preference("u1", n="new"), _kill(on=False))
    bench.sequence(calls(20), clock=clock_ms)
    bench.log.maintain(cut + WEEK_MS)
    kept = ["new"], [False] * 4
    assert _last_settings(bench) == kept
    assert len([record for record in bench.read("preferences") if record.key == b"u1"]) == 2
    bench.lose("sequence")
    for _ in range(2):
        bench.sequence(calls(20), clock=clock_ms)
        assert _last_settings(bench) == kept
    bench.append(bench.preference("u1", n="newest"))
    bench.append(bench.event("post", "live_started", actor="star", target=None, fan_out_type="FOLLOWERS"))
    bench.sequence(calls(20), clock=clock_ms)
    assert _last_settings(bench)[0] == ["new", "newest"]
    assert [source[0] for source in bench.sources()].count("events.p1") == 1, "followers are placed all the same"


@pytest.mark.parametrize("lost", ["all", "since an export"])
def test_what_is_read_again_is_judged_as_of_its_acceptance(lost: str, bench: Bench, tmp_path: Path) -> None:
    """Earlier releases left no trace in `work` of a fan-out without audience: from there on all of its partition is
    read again.
    """
    state, export = bench.directory / "state" / "sequence", tmp_path / "export"
    bench.append(bench.event("e0", "reply"))
    bench.sequence(calls(20), clock=clock_ms)
    shutil.copytree(state, export)
    same = [bench.event(name, "like", actor="x", object="p") for name in ("e1", "e2")]
    lonely = bench.event("nobody", "live_started", actor="lonely", target=None, fan_out_type="FOLLOWERS")
    bench.append(lonely, *same, *(bench.event("e3", "reply", object="q") for _ in range(2)))
    bench.sequence(calls(20), clock=clock_ms)
    with _before_traces(bench, tmp_path / "earlier") as earlier:
        assert len(earlier.sources()) == len(bench.sources()) - 1 == 3
        if lost == "since an export":
            shutil.copytree(export, earlier.directory / "state" / "sequence")
        earlier.sequence(calls(20), clock=_in_two_days)
        assert earlier.sources() == bench.sources()
        later = [bench.event(name, "like", actor="x", object="p") for name in ("e4", "e5")]
        earlier.sequence(calls(40, lambda call: earlier.append(*later) if call == 20 else None), clock=_in_two_days)
        assert len(earlier.sources()) == len(bench.sources()) + 1, "what comes new is judged as of now"


@contextmanager
def _before_traces(bench: Bench, directory: Path) -> Iterator[Bench]:
    """The same log as releases wrote it that left no trace of what concerned nobody."""
    other = Bench(directory)
    try:
        copy_inputs(bench, other, INPUTS)
        records = sorted(bench.read("work"), key=lambda each: (each.partition, each.offset))
        other.append(*(_again(record) for record in records if b'"event_id":"nobody"' not in record.value))
        yield other
    finally:
        other.close()


@pytest.mark.parametrize("kind", ["followers", "segment", "no actor"])
@pytest.mark.parametrize("lost", ["all", "since an export"])
def test_what_concerned_nobody_concerns_nobody_who_came_since(
    kind: str, lost: str, bench: Bench, tmp_path: Path
) -> None:
    """Nor does it count as new when it is sent once more: the log says that it was accepted, and went to nobody."""
    fans: dict[str, dict[str, Any]] = {
        "followers": {"actor": "star", "fan_out_type": "FOLLOWERS"},
        "segment": {"segment": "all", "fan_out_type": "SEGMENT"},
        "no actor": {"actor": None, "fan_out_type": "FOLLOWERS"},
    }
    state, export = bench.directory / "state" / "sequence", tmp_path / "export"
    bench.append(bench.event("e0", "reply"))
    bench.sequence(calls(20), clock=clock_ms)
    shutil.copytree(state, export)
    lonely = bench.event("nobody", "announcement", target=None, **fans[kind])
    bench.append(lonely, bench.event("e1", "reply", actor="star", object="q"))
    bench.sequence(calls(20), clock=clock_ms)
    before = bench.sources()
    assert len(before) == 3
    crowd = [f"u{number}" for number in range(60)]
    bench.append(*(bench.follow(user, "star") for user in crowd))
    bench.append(_segment("0", version=1, chunk=0, users=crowd), _segment("commit", version=1, chunks=1))
    bench.append(lonely)
    bench.lose("sequence")
    if lost == "since an export":
        shutil.copytree(export, state)
    bench.sequence(calls(20), clock=clock_ms)
    added = [source for source in bench.sources() if source not in before]
    assert {source[0] for source in added} == {"follows", "segments"}
    bench.decide(calls(20))
    told = {each["user"] for each in map(orjson.loads, _of_kind(bench, "decision")) if each["event_id"] == "nobody"}
    assert told == set()


def _of_kind(bench: Bench, kind: str) -> Iterator[bytes]:
    return (each.value for each in bench.read("ledger") if f'"kind":"{kind}"'.encode() in each.value)


@pytest.mark.parametrize("lost", ["all", "since an export"])
def test_a_repeat_before_a_newer_one_of_its_kind_is_one_again(lost: str, bench: Bench, tmp_path: Path) -> None:
    """Only the latest of a kind is marked: read again, a repeat must meet the one that was the latest then."""
    state, export = bench.directory / "state" / "sequence", tmp_path / "export"
    bench.append(bench.event("e0", "reply"))
    bench.sequence(calls(20), clock=clock_ms)
    shutil.copytree(state, export)
    contents = (("e1", 1), ("e2", 1), ("e3", 2), ("e4", 2))
    bench.append(*(bench.event(name, actor="x", object="p", payload={"n": content}) for name, content in contents))
    bench.sequence(calls(20), clock=clock_ms)
    before = bench.sources()
    assert len(before) == 3
    bench.lose("sequence")
    if lost == "since an export":
        shutil.copytree(export, state)
    bench.append(bench.event("e5", actor="x", object="p", payload={"n": 2}))
    bench.sequence(calls(20), clock=clock_ms)
    assert bench.sources() == before


@pytest.mark.parametrize("lost", ["all", "since an export"])
def test_repeats_count_for_as_long_as_was_configured_when_they_came(lost: str, bench: Bench, tmp_path: Path) -> None:
    """The configuration was changed between the crash and the rebuild."""
    state, export = bench.directory / "state" / "sequence", tmp_path / "export"
    bench.append(bench.event("e0", "reply"))
    bench.sequence(calls(20), clock=clock_ms)
    shutil.copytree(state, export)
    first, second, third = (bench.event(name, "reply", object="p") for name in ("e1", "e2", "e3"))
    bench.append(first)
    time.sleep(0.05)
    bench.append(second)
    bench.sequence(calls(20), clock=clock_ms)
    before = bench.sources()
    assert len(before) == 2
    bench.lose("sequence")
    if lost == "since an export":
        shutil.copytree(export, state)
    shorter = load_registry({"reply": {"repeat_window_ms": 1}})
    bench.sequence(calls(20), clock=clock_ms, types=shorter)
    bench.append(third)
    bench.sequence(calls(20), clock=clock_ms, types=shorter)
    assert bench.sources() == before
    for name in ("e4", "e5"):
        bench.append(bench.event(name, "reply", object="q"))
        bench.sequence(calls(20), clock=clock_ms, types=shorter)
    assert len(bench.sources()) == len(before) + 2, "what is new counts as is configured now"


def _segment(key: str, **value: object) -> NewRecord:
    """Keyed by chunk, as uploads are: a chunk replaces that of the version before."""
    return NewRecord("segments", 0, b"all\0" + key.encode(), orjson.dumps({"segment": "all"} | value))


def test_a_segment_whose_next_upload_was_cut_off_keeps_its_members(bench: Bench) -> None:
    users = [f"u{number}" for number in range(60)]
    bench.append(
        _segment("0", version=1, chunk=0, users=users[:30]), _segment("1", version=1, chunk=1, users=users[30:])
    )
    bench.append(_segment("commit", version=1, chunks=2))
    bench.sequence(calls(20), clock=clock_ms)
    before = bench.sources()
    bench.append(_segment("0", version=2, chunk=0, users=users[:30]))
    bench.append(*(_segment(f"z{number}", version=9, chunk=99, users=[]) for number in range(3)))
    bench.log.maintain(clock_ms() + 600_000)
    assert len(bench.read("segments")) == 6, "compaction took a chunk of the version that counts"
    bench.lose("sequence")
    news = bench.event("news", "announcement", target=None, fan_out_type="SEGMENT", segment="all")
    bench.append(news)
    bench.sequence(calls(20), clock=clock_ms)
    assert [source for source in bench.sources() if source[0] == "segments"] == before
    reached = {work.g for _, _, work in bench.work() if isinstance(work, SliceWork)}
    assert reached >= {key_group(user) for user in users}


def test_a_release_takes_place_once_though_retention_emptied_its_partition(bench: Bench) -> None:
    due = bench.clock.now + 60_000
    bench.append(bench.event("e1", "reminder", topic="schedule", deliver_at=due))
    bench.clock.now = due
    bench.schedule(until(lambda: bool(bench.read("events.p1"))))
    assert len(bench.read("events.p1")) == 1
    bench.log.maintain(clock_ms() + WEEK_MS + 1000)
    assert bench.read("events.p1") == []
    bench.lose("schedule")
    bench.clock.now = due + 8 * DAY_MS
    bench.schedule(seconds(0.7))
    assert bench.read("events.p1") == []


def test_time_does_not_fall_below_what_the_checkpoint_lacks(bench: Bench, tmp_path: Path) -> None:
    """The clock was set back, and the decision log goes on behind the checkpoint."""
    state = bench.directory / "state" / "sequence"
    bench.sequence(calls(12))
    shutil.copytree(state, tmp_path / "older")
    bench.clock.now += 3_600_000
    bench.append(bench.event("e1", "reply"))
    bench.sequence(calls(12))
    bench.lose("sequence")
    shutil.copytree(tmp_path / "older", state)
    bench.clock.now -= 1_800_000
    bench.sequence(calls(12))
    for partition in range(4):
        stamps = [decode_work(each.value).stamp for each in bench.read("work") if each.partition == partition]
        assert len(stamps) > 3
        assert stamps == sorted(stamps)
