"""The decision log as `sequence` writes it: order of settings and events, each record once, whatever is lost."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.flow_bench import START, Bench, calls, copy_inputs, decide_all, steady_clock, until, user_in_group
from helpers.replacing import replaced

from connectors.load import load_record
from connectors.log import NewRecord, Record
from connectors.log.backlog import Backlog
from connectors.log.interface import Log
from flows.process.open import clock_ms
from flows.steps.sequence import source
from flows.steps.sequence.reading import SequenceBatch, SequenceOptions, SequenceReading
from state.disk.poison import PoisonJournal
from state.model.keys import key_group, partition_of_group
from state.model.load import AWAY, UNDER_LOAD, LoadReport
from state.model.registry import load_registry
from state.model.work import (
    EventWork,
    FollowWork,
    KillWork,
    PreferenceWork,
    ReadWork,
    SegmentWork,
    SliceWork,
    TickWork,
    VersionsWork,
    decode_work,
)
from state.sequence.store import SequenceStore

GROUPS = (3, 70, 150, 239)


def _events(bench: Bench) -> list[str]:
    return [work.event.event_id for _, _, work in bench.work() if isinstance(work, EventWork)]


def test_settings_that_were_there_before_an_event_precede_it(bench: Bench) -> None:
    bench.append(bench.event("e1", target="u1"))
    bench.append(bench.preference("u1", master=False))
    bench.append(bench.setting("reads", "u1", user="u1", up_to=None))
    bench.sequence()
    kinds = [type(work) for partition, _, work in bench.work() if work.g == key_group("u1")]
    assert sorted(kinds[:2], key=str) == [PreferenceWork, ReadWork]
    assert kinds[2:] == [EventWork]


def test_a_preference_acknowledged_before_an_event_precedes_it_while_both_stream_in(bench: Bench) -> None:
    """RULES 6: the writer appends a document, waits for the acknowledgement, then appends the event."""
    rounds, done = 150, threading.Event()

    def write() -> None:
        for number in range(rounds):
            bench.append(bench.preference("u1", frequency_cap={"max_per_hour": number}))
            bench.append(bench.event(f"e{number}", target="u1", idempotency_key=str(number)))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    bench.sequence(until(lambda: done.is_set() and len(_events(bench)) >= rounds, within_s=120))
    writer.join()
    latest, seen = -1, 0
    for _, _, work in sorted(bench.work(), key=lambda entry: entry[1]):
        if isinstance(work, PreferenceWork):
            latest = work.doc["frequency_cap"]["max_per_hour"]
        elif isinstance(work, EventWork):
            assert latest >= int(work.event.event_id[1:])
            seen += 1
    assert seen == rounds


def test_a_retraction_waits_for_what_is_less_urgent(bench: Bench) -> None:
    for number in range(40):
        bench.append(bench.event(f"p{number}", "like", priority="P2", target="u1", object=f"o{number}"))
    bench.append(bench.event("r", "like", target="u1", object="o39", retracts=True))
    bench.sequence(p2_budget=1)
    assert _events(bench)[-1] == "r"
    assert len(_events(bench)) == 41


def test_p2_is_paid_out_on_credit(bench: Bench) -> None:
    for number in range(40):
        bench.append(bench.event(f"p{number}", priority="P2", target="u1", object=f"o{number}"))
    bench.append(bench.event("urgent", target="u1"))
    bench.sequence(calls(6), p2_budget=3)
    assert _events(bench)[0] == "urgent"
    assert len(_events(bench)) < 41
    bench.sequence(calls(60), p2_budget=3)
    assert _events(bench) == ["urgent", *(f"p{number}" for number in range(40))]


def _fill(bench: Bench) -> None:
    """Settings, direct events with a repeat, a segment and a celebrity over four groups."""
    followers = [user_in_group(group) for group in GROUPS]
    for user in followers:
        bench.append(bench.follow(user, "star"))
        bench.append(bench.preference(user, master=True))
    for chunk, user in enumerate(followers):
        bench.append(bench.setting("segments", "seg", segment="seg", version=1, chunk=chunk, users=[user]))
    bench.append(bench.setting("segments", "seg", segment="seg", version=1, chunks=len(followers)))
    bench.append(NewRecord("control", 0, b"type\0x", orjson.dumps({"scope": "type", "value": "x", "on": True})))
    for number in range(6):
        bench.append(bench.event(f"e{number}", target=followers[number % 4], object=f"o{number}"))
    bench.append(bench.event("again", target=followers[1], object="o1"))
    bench.append(bench.event("post", "new_post", actor="star", target=None, fan_out_type="FOLLOWERS"))
    bench.append(bench.event("news", "announcement", target=None, fan_out_type="SEGMENT", segment="seg"))


def test_everything_is_written_once_and_repeats_never(bench: Bench) -> None:
    _fill(bench)
    bench.sequence()
    assert sorted(_events(bench)) == [f"e{number}" for number in range(6)]
    slices = [(work.event.event_id, work.g) for _, _, work in bench.work() if isinstance(work, SliceWork)]
    assert sorted(slices) == sorted((name, group) for name in ("post", "news") for group in GROUPS)
    members = [work for _, _, work in bench.work() if isinstance(work, SegmentWork)]
    assert sorted(work.g for work in members if work.g is not None) == list(GROUPS)
    assert len(members) == len(GROUPS)
    sources = bench.sources()
    kills = [source for source in sources if source[0] == "control"]
    assert len(kills) == 4, "one for each partition"
    assert len(set(sources)) == len(sources) - 3


@pytest.mark.parametrize("loss", ["the last epoch", "the whole state"])
def test_nothing_is_written_twice_or_lost_after_a_loss(bench: Bench, loss: str) -> None:
    _fill(bench)
    bench.sequence()
    before = bench.sources()
    if loss == "the whole state":
        bench.lose("sequence")
    bench.append(bench.event("new", target="u1"))
    bench.append(bench.event("e3", target="u9", object="its id was there"))
    bench.append(bench.event("repeat", target=user_in_group(GROUPS[2]), object="o2"))
    bench.sequence()
    bench.sequence()
    assert len(bench.sources()) == len(before) + 1
    assert set(before) < set(bench.sources())
    assert sorted(_events(bench)) == sorted([*(f"e{number}" for number in range(6)), "new"])


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 5, 8])
def test_a_fan_out_that_a_crash_cut_off_is_completed(bench: Bench, tmp_path: Path, kept: int) -> None:
    """A second log has the same input and, of each partition of `work`, only what was written first."""
    _fill(bench)
    bench.sequence()
    cut = Bench(tmp_path / "cut")
    copy_inputs(bench, cut, ["preferences", "follows", "segments", "control", "events.p1"])
    written = sorted(bench.read("work"), key=lambda record: (record.partition, record.offset))
    for partition in range(4):
        mine = [record for record in written if record.partition == partition]
        most = kept if partition % 2 else 2 * kept
        cut.log.append([NewRecord("work", partition, r.key, r.value, r.headers) for r in mine[:most]])
    cut.sequence()
    assert cut.sources() == bench.sources()
    assert sorted(_events(cut)) == sorted(_events(bench))
    cut.close()


class _SlowReading(SequenceReading):
    """Brokers that take their time: some epochs have nothing but ticks, then the process is killed."""

    _batches = 8

    def next_batch(self) -> SequenceBatch | None:
        self._batches -= 1
        if self._batches < 0:
            raise StopIteration
        time.sleep(0.02)
        return SequenceBatch([], [], now=0, ticks=True)


@pytest.mark.parametrize("kept", [1, 3, 8])
def test_a_start_that_ends_before_it_read_anything_again_loses_nothing(bench: Bench, tmp_path: Path, kept: int) -> None:
    """A crash cut a batch off between partitions; the next start finds that, and is killed too."""
    bench.append(bench.preference("u1", master=True))
    bench.sequence()
    cut = Bench(tmp_path / "cut")
    copy_inputs(bench, cut, ["preferences"])
    cut.sequence()
    ends = {partition: cut.log.end_offset("work", partition) for partition in range(4)}
    before = {partition: bench.log.end_offset("work", partition) for partition in range(4)}
    assert any(work for _, _, work in cut.work() if not isinstance(work, TickWork))
    _fill(bench)
    bench.sequence()
    topics = ["preferences", "follows", "segments", "control", "events.p1"]
    cut.append(*[r for r in _inputs(bench, topics) if r not in _inputs(cut, topics)])
    for partition in range(3):  # of the last one nothing
        mine = [r for r in bench.read("work") if r.partition == partition and r.offset >= before[partition]]
        written = sorted(mine, key=lambda record: record.offset)[: 4 * kept]
        cut.log.append([NewRecord("work", partition, r.key, r.value, r.headers) for r in written])
    with replaced(source, SequenceReading=_SlowReading):
        cut.sequence()
    assert all(cut.log.end_offset("work", partition) > end for partition, end in ends.items()), "it began to work"
    cut.sequence()
    assert cut.sources() == bench.sources()
    assert sorted(_events(cut)) == sorted(_events(bench))
    cut.close()


class _Emptied:
    """A log of whose P1 events retention left nothing."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def begin_offset(self, topic: str, partition: int) -> int:
        log = self._log
        return log.end_offset(topic, partition) if topic == "events.p1" else log.begin_offset(topic, partition)


@pytest.mark.parametrize("removed", [False, True])
def test_the_checkpoint_waits_for_what_will_be_read_again_and_for_nothing_else(bench: Bench, removed: bool) -> None:
    bench.append(bench.preference("u1", master=True))
    bench.sequence()
    state, earlier = bench.directory / "state" / "sequence", bench.directory / "earlier"
    shutil.copytree(state, earlier)
    bench.append(bench.event("e1", target="u1"))
    bench.sequence()
    log: Any = _Emptied(bench.log) if removed else bench.log
    store, journal = SequenceStore(earlier), PoisonJournal.open(bench.directory / "poison")
    sequencer = source.Sequencer(log, journal, load_registry())
    restored = sequencer.restore(store, clock_ms())
    assert restored.awaits_rereading() is not removed
    restored.include("events.p1", partition_of_group(key_group("u1"), 4), 0)
    assert not restored.awaits_rereading()
    assert not restored.recovered
    store.close()
    journal.close()


def _inputs(bench: Bench, topics: Sequence[str]) -> list[NewRecord]:
    records = [r for topic in topics for r in sorted(bench.read(topic), key=lambda each: (each.partition, each.offset))]
    return [NewRecord(r.topic, r.partition, r.key, r.value, r.headers) for r in records]


def test_a_completed_fan_out_does_not_grow_when_the_state_is_lost(bench: Bench) -> None:
    """RULES 2: followers as of the event's place; who came afterwards, from another key group, gets no slice of it."""
    _fill(bench)
    bench.sequence()
    late = user_in_group(111)
    bench.append(bench.follow(late, "star"))
    bench.append(bench.setting("segments", "seg", segment="seg", version=2, chunk=0, users=[late]))
    bench.append(bench.setting("segments", "seg", segment="seg", version=2, chunks=1))
    bench.sequence()
    before = bench.sources()
    bench.lose("sequence")
    bench.sequence()
    assert bench.sources() == before


def test_a_record_that_does_not_decode_is_set_aside_and_the_next_ones_pass(bench: Bench) -> None:
    partition = partition_of_group(key_group("u1"), 4)
    for value in (
        b"not json",
        b'{"type":"like"}',
        b'{"event_id":"e","type":"like","ttl_ms":"soon"}',
        b"",
        b"[]",
        b"\xff",
    ):
        bench.append(NewRecord("events.p1", partition, b"u1", value))
    bench.append(
        NewRecord("preferences", partition, b"u1", b'{"user":5}'), NewRecord("preferences", partition, b"u1", b"")
    )
    bench.append(bench.event("good", target="u1"))
    bench.sequence()
    assert _events(bench) == ["good"]
    dead = [orjson.loads(record.value) for record in bench.read("dead_letters")]
    assert sorted(tuple(each["source"]) for each in dead) == [
        *(("events.p1", partition, offset) for offset in range(6)), ("preferences", partition, 0),
    ]  # fmt: skip
    assert all(each["stage"] == "sequence" and each["error"] for each in dead)


BIG = 10**25
POISON = [
    ("preferences", {"user": "u1", "doc": {"frequency_cap": {"max_per_hour": BIG}}}),
    ("preferences", {"user": "u1", "doc": {"frequency_cap": {"max_per_hour": 10**19}, "extra": [BIG]}}),
    ("endpoints", {"user": "u1", "channel": "push", "id": "d", "address": "x", "registered_at": BIG}),
    ("reads", {"user": "u1", "up_to": BIG}),
    ("events.p1", {"event_id": "e", "type": "reply", "target": "u1", "ttl_ms": BIG, "priority": "P1"}),
    ("events.p1", {"event_id": "e", "type": "reply", "target": "u1", "ttl_ms": 1, "ingested_at": BIG}),
    ("events.p1", {"event_id": "e", "type": "reply", "target": "u1", "ttl_ms": 1, "payload": {"n": BIG}}),
    (
        "events.p1",
        {
            "event_id": "e",
            "type": "announcement",
            "fan_out_type": "SEGMENT",
            "segment": "seg",
            "ttl_ms": 1_000_000,
            "ingested_at": START,
            "payload": {"n": BIG},
            "priority": "P1",
            "object": "o",
        },
    ),
    ("events.p1", {"event_id": "e", "type": "reply", "target": "u1", "ttl_ms": 1, "priority": "urgent"}),
    ("events.p1", {"event_id": "e", "type": "reply", "target": "u1", "ttl_ms": 1, "fan_out_type": "ALL"}),
]


@pytest.mark.parametrize(("topic", "value"), POISON)
def test_no_number_that_json_can_hold_stops_the_deciders(
    bench: Bench, tmp_path: Path, topic: str, value: object
) -> None:
    """What `sequence` lets into the decision log, decide must be able to decide and to store."""
    partition = partition_of_group(key_group("u1"), 4)
    bench.append(NewRecord(topic, partition, b"u1", json.dumps(value).encode()))
    bench.append(bench.setting("segments", "seg", segment="seg", version=1, chunk=0, users=["u1"]))
    bench.append(bench.setting("segments", "seg", segment="seg", version=1, chunks=1))
    bench.append(bench.event("news", "announcement", target=None, fan_out_type="SEGMENT", segment="seg"))
    bench.append(bench.event("after", "reply", target="u1"))
    bench.sequence()
    assert "after" in _events(bench)
    decide_all(bench, tmp_path / "decide")


def test_every_partition_has_ticks_idle_and_busy(bench: Bench) -> None:
    begun: list[float] = []

    def runs_for() -> float:
        return time.monotonic() - begun[0] if begun else 0.0

    def drain() -> bool:
        begun[:] = begun or [time.monotonic()]
        return runs_for() > 4.5

    def feed() -> None:
        number = 0
        while runs_for() < 3:
            bench.append(*(bench.event(f"e{number}-{n}", target=f"u{n}", object=f"{number}") for n in range(50)))
            number += 1
            time.sleep(0.002)

    feeder = threading.Thread(target=feed)
    feeder.start()
    bench.sequence(drain, clock=steady_clock())
    feeder.join()
    for partition in range(4):
        records = [r for r in bench.read("work") if r.partition == partition]
        ticks = [work.stamp for work in map(decode_work, [r.value for r in records]) if isinstance(work, TickWork)]
        stamps = ticks[:-1]  # the last one belongs to the drain
        gaps = [after - before for before, after in pairwise(stamps)]
        assert len(stamps) >= 6
        assert min(gaps) >= 250, str(gaps)
        assert max(gaps) <= 1_500, "while it is busy it has none, or it stands still"
    stamps_of: dict[int, list[int]] = {}
    for record in bench.read("work"):
        stamps_of.setdefault(record.partition, []).append(decode_work(record.value).stamp)
    assert all(stamps == sorted(stamps) for stamps in stamps_of.values()), "time never falls"


def test_events_do_not_wait_for_an_import_but_for_what_one_call_posts(bench: Bench) -> None:
    bench.append(*(bench.follow(f"u{number}", "star") for number in range(100)))
    bench.append(bench.event("after a few", target="u1", object="a"))
    bench.sequence()
    before = bench.work()
    [at] = [(partition, offset) for partition, offset, work in before if isinstance(work, EventWork)]
    assert all(
        (partition, offset) < at
        for partition, offset, work in before
        if partition == at[0] and not isinstance(work, EventWork)
    )
    assert sum(isinstance(work, FollowWork) for _, _, work in before) == 100

    bench.append(*(bench.follow(f"v{number}", "star") for number in range(4_000)))
    bench.append(bench.preference("u1", muted_users=["x"]), bench.event("beside many", target="u1", object="b"))
    bench.sequence(lambda: len(bench.work()) >= 4_103, p2_budget=100)
    after = [work for where, offset, work in bench.work() if where == at[0] and offset > at[1]]
    event = next(place for place, work in enumerate(after) if isinstance(work, EventWork))
    assert event < 200, "a few epochs' share comes first, and the rest behind"
    assert any(isinstance(work, PreferenceWork) for work in after[:event])
    assert len(after) - event > 300
    assert sum(isinstance(work, FollowWork) for _, _, work in bench.work()) == 4_100, "none is left"


def test_at_rest_a_tick_comes_every_second_and_a_record_ends_the_rest(bench: Bench) -> None:
    times = iter([0, 250, 500, *range(15_750, 18_000, 250), 18_000, 18_100, 18_350, 18_600])

    def drain() -> bool:
        after = next(times, None)
        if after == 18_000:
            bench.append(bench.event("e", target="u1"))
        bench.clock.now = START + (20_000 if after is None else after)
        return after is None

    bench.sequence(drain)
    stamps = [decode_work(r.value).stamp - START for r in bench.read("work") if r.partition == 0]
    ticks = [0, 250, 500, 15_750, 16_750, 17_750, 18_350, 18_600]
    assert sorted(set(stamps)) == [*ticks, 20_000], "the last one belongs to the drain"


def test_time_does_not_fall_when_the_clock_does(bench: Bench) -> None:
    bench.append(bench.event("e1", target="u1"))
    bench.sequence()
    bench.clock.now -= 3_600_000
    bench.append(bench.event("e2", target="u1", object="other"))
    bench.lose("sequence")
    bench.sequence()
    stamps = [work.stamp for _, _, work in bench.work()]
    assert stamps == [stamps[0]] * 2


def test_followers_are_derived_from_follows(bench: Bench) -> None:
    near, far = user_in_group(5), user_in_group(200)
    bench.append(bench.follow(near, "star"), bench.follow(far, "star"), bench.follow(near, "star", on=False))
    bench.sequence()
    records = bench.read("followers")
    assert sorted((r.partition, r.key.decode(), orjson.loads(r.value)["on"]) for r in records) == sorted([
        (0, f"star\0{near}", True), (0, f"star\0{near}", False), (3, f"star\0{far}", True),
    ])  # fmt: skip
    last = [orjson.loads(r.value) for r in records if r.partition == 0][-1]
    assert (last["followee"], last["follower"], last["on"]) == ("star", near, False)
    follows = [work for _, _, work in bench.work() if isinstance(work, FollowWork)]
    assert sorted((work.follower, work.on) for work in follows) == sorted([(near, True), (near, False), (far, True)])


def test_a_segment_counts_from_its_commit_record(bench: Bench) -> None:
    one, two = user_in_group(5), user_in_group(200)
    bench.append(bench.setting("segments", "s", segment="s", version=1, chunk=0, users=[one]))
    bench.sequence()
    assert bench.work() == []
    bench.append(bench.setting("segments", "s", segment="s", version=1, chunk=1, users=[two]))
    bench.append(bench.setting("segments", "s", segment="s", version=1, chunks=2))
    bench.sequence()
    members = {work.g: work.users for _, _, work in bench.work() if isinstance(work, SegmentWork)}
    assert members == {5: [one], 200: [two]}
    bench.append(bench.setting("segments", "s", segment="s", version=2, chunk=0, users=[two]))
    bench.append(bench.setting("segments", "s", segment="s", version=2, chunks=1))
    bench.clock.now += 1000
    bench.sequence()
    later = [w for _, _, w in bench.work() if isinstance(w, SegmentWork) and w.stamp == bench.clock.now]
    assert sorted((work.g, work.users) for work in later) == [(5, []), (200, [two])], (
        "a group that has no member any more learns it too"
    )


def test_backlogs_are_read_in_bounded_batches_in_the_right_order(bench: Bench) -> None:
    """A first start may find millions of settings, a retraction a night's P2: neither is held in memory at once."""
    users = [f"u{number}" for number in range(5_000)]
    bench.append(*(bench.preference(user) for user in users))
    bench.append(*(bench.event(f"p{n}", priority="P2", target=user) for n, user in enumerate(users)))
    bench.append(bench.event("r", target="u1", retracts=True))
    part = SequenceReading(bench.log, {}, SequenceOptions(100, 100), clock=bench.clock, drain=lambda: False)
    settings, events = list[Record](), list[str]()
    for _ in range(40):
        batch = part.next_batch()
        if batch is not None:
            assert len(batch.settings) <= 2_000
            assert len(batch.events) <= 2_100
            assert not batch.events or len(settings) + len(batch.settings) == len(users)
            settings += batch.settings
            events += [orjson.loads(record.value)["event_id"] for record in batch.events]
    part.close()
    assert sorted(events[:-1]) == sorted(f"p{number}" for number in range(5_000))
    assert events[-1] == "r"


def test_a_drain_hands_on_what_was_read(bench: Bench) -> None:
    bench.append(*(bench.preference(f"u{number}") for number in range(3_000)))
    bench.append(*(bench.event(f"p{n}", priority="P2", target="u1", object=f"o{n}") for n in range(10)))
    bench.append(bench.event("r", target="u1", object="o1", retracts=True))
    bench.sequence(calls(0))
    assert len(_events(bench)) == 11
    last = [decode_work(record.value) for record in bench.read("work")][-1]
    assert isinstance(last, TickWork)


def test_a_lost_state_begins_with_what_retention_left(bench: Bench) -> None:
    """Older records are gone from events and work alike: it goes on with the oldest there is, nothing twice."""
    _fill(bench)
    bench.sequence()
    week_ms = 7 * 86_400_000
    bench.log.maintain(clock_ms() + week_ms + 1)
    bench.append(bench.event("new", target="u1"))
    begins = [bench.log.begin_offset("events.p1", partition) for partition in range(4)]
    assert max(begins) > 0
    bench.lose("sequence")
    bench.sequence()
    assert "new" in _events(bench)
    assert len(_events(bench)) == len(set(_events(bench)))


def _pay_out(bench: Bench, place: str, level: int) -> list[str]:
    """What one epoch's credit of 4 brings of P1 and P2 under a report."""
    bench.append(load_record(LoadReport(place, level, 0.9)))
    now = clock_ms()
    options = SequenceOptions(4, 4)
    part = SequenceReading(bench.log, {}, options, clock=lambda: now, drain=lambda: False)
    for _ in range(6):
        part.next_batch()
    part.refill()
    taken = [batch for _ in range(8) if (batch := part.next_batch())]
    part.close()
    return [record.topic for batch in taken for record in batch.events]


def test_p2_waits_and_p1_is_halved_while_another_station_is_loaded(bench: Bench) -> None:
    for number in range(40):
        bench.append(bench.event(f"p{number}", priority="P2", target="u1", object=f"o{number}"))
        bench.append(bench.event(f"e{number}", target="u1", object=f"o{number}"))
    every = ["events.p1"] * 4
    assert _pay_out(bench, "decide/0", 0) == every + ["events.p2"] * 4
    assert _pay_out(bench, "decide/0", 1) == every
    assert _pay_out(bench, "decide/0", 2) == ["events.p1"] * 2
    assert _pay_out(bench, "decide/0", 0) == every + ["events.p2"] * 4
    assert _pay_out(bench, "sequence/0", 3) == every + ["events.p2"] * 4, "its own lag does not slow it down"


def _switched(bench: Bench) -> list[tuple[int, bool]]:
    """Partition and state of each switch of the load, in order."""
    works = bench.work()
    return [(place, work.on) for place, _, work in works if isinstance(work, KillWork) and work.scope == UNDER_LOAD]


def test_the_decision_log_says_from_where_on_it_sheds(bench: Bench) -> None:
    everywhere = range(bench.log.partitions("work"))
    bench.append(load_record(LoadReport("decide/0", 2, 0.9)))
    bench.sequence()
    assert _switched(bench) == []
    bench.append(load_record(LoadReport("decide/0", 3, 1.0)))
    bench.sequence()
    bench.append(load_record(LoadReport("decide/0", 3, 1.0)))
    bench.sequence()
    assert _switched(bench) == [(partition, True) for partition in everywhere]
    bench.append(load_record(LoadReport("decide/0", 2, 0.9)))
    bench.sequence()
    assert sorted(_switched(bench)) == sorted((p, on) for p in everywhere for on in (True, False))


def test_after_a_loss_of_state_it_is_said_again_whether_it_sheds(bench: Bench) -> None:
    bench.append(load_record(LoadReport("decide/0", 3, 1.0)))
    bench.sequence()
    bench.append(load_record(LoadReport("decide/0", 0, 0.1)))
    bench.lose("sequence")
    bench.sequence()
    everywhere = range(bench.log.partitions("work"))
    assert [each for each in _switched(bench) if each[0] == 0][-1] == (0, False)
    assert len(_switched(bench)) == 2 * len(everywhere)


def _away(bench: Bench) -> list[tuple[str, bool]]:
    """What the first partition of the decision log says of channels."""
    works = [work for place, _, work in bench.work() if place == 0]
    return [(work.value or "", work.on) for work in works if isinstance(work, KillWork) and work.scope == AWAY]


def test_the_decision_log_says_from_where_on_channels_are_away(bench: Bench) -> None:
    bench.append(load_record(LoadReport("deliver/0", 0, 0.0, ("email/*", "push/ios"))))
    bench.sequence()
    bench.append(load_record(LoadReport("deliver/0", 0, 0.0, ("email/*", "push/ios"))))
    bench.sequence()
    assert _away(bench) == [("email/*", True), ("push/ios", True)], "a store remembers it"
    bench.append(load_record(LoadReport("deliver/0", 0, 0.0, ("push/ios",))))
    bench.sequence()
    assert _away(bench)[2:] == [("email/*", False)]
    bench.append(load_record(LoadReport("deliver/0", 0, 0.0)))
    bench.lose("sequence")
    bench.sequence()
    assert dict(_away(bench)) == {"email/*": False, "push/ios": False}, "after a loss of state it is said again"


def test_p1_is_behind_until_it_is_read(bench: Bench) -> None:
    backlog, before = Backlog(), clock_ms()
    bench.append(bench.event("e1", target="u1"))
    part = SequenceReading(
        bench.log, {}, SequenceOptions(4, 4), clock=clock_ms, drain=lambda: False, backlog=backlog
    )  # fmt: skip
    part.next_batch()
    assert 0 < backlog.lags_ms(before + 60_000)[0] <= 60_000
    part.next_batch()
    assert backlog.lags_ms(before + 60_000) == [0]
    part.close()


def test_a_report_of_load_is_no_record_of_the_decision_log_and_a_broken_one_is_set_aside(bench: Bench) -> None:
    report = load_record(LoadReport("decide/0", 1, 0.8))
    bench.append(report, report._replace(value=b'{"level":9}'), bench.event("e1", target="u1"))
    bench.sequence()
    assert {type(work) for _, _, work in bench.work()} <= {TickWork, EventWork, VersionsWork}
    assert _events(bench) == ["e1"]
    assert len(bench.read("dead_letters")) == 1
