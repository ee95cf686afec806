"""Campaigns on the real flow: nobody is missed and nobody gets it twice, whatever is stopped or killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.flow_bench import PARTITIONS, REGISTRY, START, Bench, seconds, until
from helpers.flow_processes import FlowProcesses
from helpers.log_harness import AT_ONCE
from helpers.waiting import wait_for

from connectors.campaigns import Actor, CampaignDesk
from connectors.gateway.records import event_records
from connectors.log import NewRecord
from connectors.log.embedded.log import EmbeddedLog, EmbeddedOptions
from flows.process.open import clock_ms
from flows.steps.campaigns import CampaignRunner
from state.ledger import latest, ledger_table, records_of
from state.model.campaign import CampaignAudience, CampaignChunk, CampaignText
from state.model.errors import RefusedActError
from state.model.event import EVENT, RawEvent, RolloutPlan, TextDraft, resolve
from state.model.keys import user_hash
from state.model.work import EventWork
from state.schedule.campaigns import TESTS_A_DAY

ANN, BOB = Actor("ann", "marketing"), Actor("bob", "marketing")
LOOKS_S = 0.9


def prepare(
    bench: Bench, chunks: Sequence[Sequence[str]], zones: Sequence[str] = (), per_second: int = 1000,
    stage_chunks: Sequence[int] = (),
) -> CampaignDesk:  # fmt: skip
    """A campaign that is approved."""
    desk = CampaignDesk(bench.log, clock=bench.clock)
    desk.act(ANN, "sale", "create", text=CampaignText("newsletter", {"headline": "sale"}))
    desk.act(ANN, "sale", "throttle", per_second=per_second)
    for number, users in enumerate(chunks):
        zone = zones[number] if zones else "UTC"
        desk.store_chunk(CampaignChunk("sale", 7, number, zone, len(users), list(users)))
    stages, ends = [1, 10, 100][: len(stage_chunks)], list(stage_chunks)
    audience = CampaignAudience(7, len(chunks), sum(map(len, chunks)), stages=stages, stage_chunks=ends)
    desk.act(ANN, "sale", "audience", audience=audience)
    desk.act(BOB, "sale", "approve")
    return desk


def released(bench: Bench) -> list[str]:
    """Recipients of the events that were handed on, each event once, as sequence takes them."""
    events = {(event := orjson.loads(record.value))["event_id"]: event for record in bench.read("events.p2")}
    return [user for event in events.values() for user in event["recipients"]]


def decided(bench: Bench) -> Counter[str]:
    works = [work for _, _, work in bench.work() if isinstance(work, EventWork)]
    return Counter(user for work in works for user in work.users)


def test_nothing_goes_before_it_is_started_and_then_everything_once(bench: Bench) -> None:
    desk = prepare(bench, [["ann", "bob"], ["eve"]])
    bench.schedule(seconds(LOOKS_S))
    assert released(bench) == []
    desk.act(ANN, "sale", "start")
    bench.schedule(until(lambda: len(released(bench)) == 3))
    assert released(bench) == ["ann", "bob", "eve"]
    events = [orjson.loads(record.value) for record in bench.read("events.p2")]
    assert {(each["object"], each["sender_id"], each["priority"], each["fan_out_type"]) for each in events} == {
        ("sale", "campaigns", "P2", "SEGMENT")
    }
    bench.sequence(seconds(2))
    assert decided(bench) == {"ann": 1, "bob": 1, "eve": 1}
    assert not any("recipients" in orjson.loads(record.value).get("event", {}) for record in bench.read("work"))
    bench.schedule(seconds(LOOKS_S))
    campaign = desk.find("sale")
    assert campaign is not None
    assert (campaign.is_done, campaign.released) == (True, {0: 2, 1: 1})
    assert len(bench.read("events.p2")) == 2, "a restart releases nothing again"


def test_a_test_goes_to_its_users_once_before_any_approval_and_with_the_text_it_was_asked_for(bench: Bench) -> None:
    desk = prepare(bench, [["ann"]])
    event_id = desk.test(BOB, "sale", ["eve", "bob"])
    desk.act(ANN, "sale", "edit", text=CampaignText("newsletter", {"headline": "other"}, slot=True))
    bench.schedule(until(lambda: len(released(bench)) == 2))
    bench.schedule(seconds(LOOKS_S))
    (event,) = [orjson.loads(record.value) for record in bench.read("events.p2")]
    assert (event["event_id"], event["sender_id"], event["object"]) == (event_id, "campaign-tests", "sale")
    assert (event["recipients"], event["payload"]) == (["eve", "bob"], {"headline": "sale"})
    desk.test(BOB, "sale", ["eve"])
    desk.act(BOB, "sale", "approve")
    desk.act(ANN, "sale", "start")
    bench.schedule(until(lambda: len(released(bench)) == 4))
    events = [orjson.loads(record.value) for record in bench.read("events.p2")]
    slots = {(each["sender_id"], each.get("slot")) for each in events}
    assert slots == {("campaign-tests", None), ("campaigns", True)}, "a test takes nobody's slot"
    campaign = desk.find("sale")
    assert campaign is not None
    assert (campaign.is_done, campaign.released) == (True, {0: 1})
    bench.sequence(seconds(2))
    assert decided(bench) == {"eve": 2, "bob": 1, "ann": 1}


@pytest.mark.parametrize("then", ["audience", "cancel"])
def test_a_test_goes_though_its_audience_is_replaced_or_its_campaign_over_before_it_is_released(
    bench: Bench, then: str
) -> None:
    desk = prepare(bench, [["ann"]])
    desk.test(BOB, "sale", ["eve"])
    given: dict[str, Any] = {"audience": CampaignAudience(desk.next_generation(), 0, 1)} if then == "audience" else {}
    desk.act(ANN, "sale", then, **given)
    runner = CampaignRunner(bench.log, REGISTRY, bench.clock, timedelta(days=7))
    for record in bench.read("campaigns"):
        runner.take(record)
    assert [*runner.book.garbage()] == [("sale", 7, 0)], "the audience's chunk is thrown away, the test's is not"
    bench.schedule(until(lambda: released(bench) == ["eve"]))
    slow = CampaignDesk(bench.log, clock=lambda: 5)
    campaign = slow.find("sale")
    assert campaign is not None
    assert campaign.audience is not None
    assert slow.next_generation(campaign) == campaign.audience.generation + 1, "a clock that is behind loses nothing"


def test_a_test_that_a_second_person_confirmed_is_sent_once_whoever_carries_it_out(bench: Bench) -> None:
    draft = TextDraft("push", "pt", {"title": "T", "one": "one"})
    text = CampaignText("otp", {"code": "1"}, actor="Ada", draft=draft)
    desks = [CampaignDesk(bench.log, clock=bench.clock) for _ in range(2)]
    [event_id] = {desk.test_text(ANN, text, "eve", approved=START) for desk in (*desks, *desks)}
    acts = [record for record in bench.read("campaigns") if dict(record.headers)["schema"] == b"campaign_act/1+json"]
    assert len(acts) == 1
    bench.schedule(until(lambda: len(bench.read("events.p0")) == 1))
    assert orjson.loads(bench.read("events.p0")[0].value)["event_id"] == event_id


def test_a_test_of_texts_is_one_event_in_the_lane_of_its_class_and_noted_without_them(bench: Bench) -> None:
    desk = CampaignDesk(bench.log, clock=bench.clock)
    draft = TextDraft("push", "pt", {"title": "Oi", "one": "{{ actor }}"})
    event_id = desk.test_text(ANN, CampaignText("mention", {"text": "x"}, actor="Ada", draft=draft), "eve")
    code = desk.test_text(ANN, CampaignText("otp", {"code": "1"}, draft=draft), "eve")
    bench.schedule(until(lambda: bool(bench.read("events.p2") and bench.read("events.p0"))))
    bench.schedule(seconds(LOOKS_S))
    (event,), (urgent,) = (
        [EVENT.decode(record.value) for record in bench.read(topic)] for topic in ("events.p2", "events.p0")
    )
    assert (event.event_id, event.sender_id, event.priority) == (event_id, "campaign-tests", "P2")
    assert (event.target, event.actor, event.payload, event.draft) == ("eve", "Ada", {"text": "x"}, draft)
    assert (urgent.event_id, urgent.priority, urgent.draft) == (code, "P0", draft)
    bench.sequence(seconds(2))
    assert decided(bench) == {"eve": 1}
    noted = [orjson.loads(record.value) for record in bench.read("audit")]
    assert {"type": "mention", "locale": "pt", "channel": "push", "event_id": event_id} in [
        each["about"] for each in noted
    ]
    assert [each["act"] for each in noted] == ["template_test"] * 2
    assert not any("Oi" in str(each) for each in noted)
    assert desk.campaigns() == []
    for _ in range(TESTS_A_DAY - 2):
        desk.test_text(ANN, CampaignText("mention", {}, draft=draft), "eve")
    with pytest.raises(RefusedActError, match="tests within a day"):
        desk.test_text(ANN, CampaignText("mention", {}, draft=draft), "eve")
    desk.test_text(BOB, CampaignText("mention", {}, draft=draft), "eve")


def test_the_throttle_spaces_chunks_and_a_pause_stops_between_two(bench: Bench) -> None:
    chunks = [[f"u{number}a", f"u{number}b"] for number in range(4)]
    desk = prepare(bench, chunks, per_second=2)
    desk.act(ANN, "sale", "start")
    bench.schedule(until(lambda: len(released(bench)) >= 4))
    bench.schedule(seconds(LOOKS_S))
    assert len(released(bench)) == 4, "two seconds' worth: the second that passed in vain, and this one"
    desk.act(ANN, "sale", "pause")
    bench.clock.now += 60_000
    bench.schedule(seconds(LOOKS_S))
    assert len(released(bench)) == 4
    desk.act(ANN, "sale", "resume")
    bench.schedule(until(lambda: len(released(bench)) >= 8))
    assert Counter(released(bench)) == Counter(user for users in chunks for user in users)


def test_each_stage_waits_for_its_hold_or_for_a_word(bench: Bench) -> None:
    desk = prepare(bench, [["ann"], ["bob"], ["eve"]], stage_chunks=[1, 2, 3])
    desk.act(ANN, "sale", "start", hold_ms=3_600_000)
    bench.schedule(until(lambda: released(bench) == ["ann"]))
    bench.clock.now += 3_599_999
    bench.schedule(seconds(LOOKS_S))
    assert released(bench) == ["ann"]
    bench.clock.now += 1
    bench.schedule(until(lambda: len(released(bench)) == 2))
    bench.schedule(seconds(LOOKS_S))
    assert sorted(released(bench)) == ["ann", "bob"], "its hold has begun"
    desk.act(ANN, "sale", "advance")
    bench.clock.now += 1_000  # the throttle
    bench.schedule(until(lambda: len(released(bench)) == 3))
    assert sorted(released(bench)) == ["ann", "bob", "eve"]


def test_what_is_cancelled_between_stages_goes_no_further(bench: Bench) -> None:
    desk = prepare(bench, [["ann"], ["bob"]], stage_chunks=[1, 2])
    desk.act(ANN, "sale", "start")
    bench.schedule(until(lambda: released(bench) == ["ann"]))
    desk.act(ANN, "sale", "cancel")
    with pytest.raises(RefusedActError, match="cancelled"):
        desk.act(ANN, "sale", "advance")
    bench.schedule(until(lambda: any(record.value == b"" for record in bench.read("campaigns"))))
    assert released(bench) == ["ann"]


def test_kill_9_between_stages_misses_nobody_and_reaches_nobody_twice(bench: Bench, tmp_path: Path) -> None:
    bench.clock.now = clock_ms()
    chunks = [[f"u{number}-{each}" for each in range(5)] for number in range(30)]
    stage_chunks, everybody = [3, 10, 30], Counter[str]()
    desk, processes = prepare(bench, chunks, per_second=500, stage_chunks=stage_chunks), FlowProcesses(tmp_path)
    try:
        for name in ("schedule", "sequence"):
            processes.start(name)
        desk.act(ANN, "sale", "start")
        for end in stage_chunks:
            everybody = Counter(user for users in chunks[:end] for user in users)
            wait_for(lambda: len(decided(bench)) >= len(everybody), what="the stage is decided")  # noqa: B023 - asked at once
            processes.kill("schedule")
            assert decided(bench) == everybody, "and nobody of the next"
            if end < stage_chunks[-1]:
                for verb in ("pause", "advance", "resume"):
                    desk.act(ANN, "sale", verb)
            processes.start("schedule")
        before = bench.log.end_offset("campaigns", 0)
        desk.act(ANN, "other", "create", text=CampaignText("newsletter"))
        desk.test(ANN, "other", ["last"])
        wait_for(lambda: decided(bench)["last"] == 1, what="what comes behind it is decided")
        assert bench.log.end_offset("campaigns", 0) > before
        assert decided(bench) == everybody + Counter(["last"])
    finally:
        processes.end()


def test_what_is_cancelled_is_released_no_further_and_leaves_the_topic(bench: Bench) -> None:
    desk = prepare(bench, [["ann"], ["bob"], ["eve"]], per_second=1)
    desk.act(ANN, "sale", "start")
    bench.schedule(until(lambda: len(released(bench)) >= 2))
    desk.act(ANN, "sale", "cancel")
    bench.clock.now += 60_000
    bench.schedule(until(lambda: any(record.value == b"" for record in bench.read("campaigns"))))
    bench.schedule(seconds(LOOKS_S))
    assert released(bench) == ["ann", "bob"]
    emptied = [record.key for record in bench.read("campaigns") if record.value == b""]
    assert emptied == [b"sale\0chunk\x007\x002"]


def test_each_zone_has_its_own_time(bench: Bench) -> None:
    desk = prepare(bench, [["tokyo"], ["paris"]], ["Asia/Tokyo", "Europe/Paris"])
    desk.act(ANN, "sale", "start", start_local="2026-01-01T09:00")  # the bench begins at 00:00 UTC of that day
    bench.schedule(until(lambda: released(bench) == ["tokyo"]))
    bench.clock.now += 8 * 3_600_000 - 1
    bench.schedule(seconds(LOOKS_S))
    assert released(bench) == ["tokyo"]
    bench.clock.now += 1
    bench.schedule(until(lambda: released(bench) == ["tokyo", "paris"]))
    assert released(bench) == ["tokyo", "paris"]


def test_a_record_that_does_not_fit_stops_nobody(bench: Bench) -> None:
    desk = prepare(bench, [["ann"]])
    for schema in (b"campaign_act/1+json", b"campaign_chunk/1+json", b"campaign_order/1+json"):
        bench.append(NewRecord("campaigns", 0, b"x", b"not json", (("schema", schema),)))
    desk.act(ANN, "sale", "start")
    bench.schedule(until(lambda: released(bench) == ["ann"]))
    assert released(bench) == ["ann"]
    assert {orjson.loads(record.value)["stage"] for record in bench.read("dead_letters")} == {"schedule"}


def test_one_campaign_with_a_slot_a_day_whatever_else_came_and_whatever_is_killed(bench: Bench, tmp_path: Path) -> None:
    bench.clock.now = clock_ms()
    users = [f"u{number}" for number in range(40)]
    on = {"types": {"newsletter": {"enabled": True}}, "frequency_cap": {"max_per_day": 1}}
    bench.append(*(bench.preference(user, **on) for user in users))
    phone = {"channel": "push", "id": "d", "platform": "ios", "address": "a" * 64, "state": "active"}
    bench.append(*(bench.setting("endpoints", user, user=user, **phone) for user in users))
    desk, processes = prepare(bench, [users]), FlowProcesses(tmp_path)
    for name, slot in (("may", True), ("june", True)):
        desk.act(ANN, name, "create", text=CampaignText("newsletter", {"headline": name}, slot))
        desk.store_chunk(CampaignChunk(name, 7, 0, "UTC", len(users), users))
        desk.act(ANN, name, "audience", audience=CampaignAudience(7, 1, len(users)))
        desk.act(BOB, name, "approve")
    try:
        for name in ("schedule", "sequence", "decide"):
            processes.start(name)
        for campaign, outcome, killed in (("sale", "EMITTED", "decide"), ("may", "EMITTED", "decide"),
                                          ("june", "cap_day", "schedule")):  # fmt: skip
            desk.act(ANN, campaign, "start")
            wait_for(lambda: outcomes(bench)[campaign, outcome] == len(users), what=f"{campaign} ends as {outcome}")  # noqa: B023 - asked at once
            processes.kill(killed)
            processes.start(killed)
    finally:
        processes.end()
    assert set(outcomes(bench)) == {("sale", "EMITTED"), ("may", "EMITTED"), ("june", "cap_day")}


def outcomes(bench: Bench) -> Counter[tuple[str, str]]:
    """Of each campaign, how its recipients ended, each once."""
    rows = records_of(latest(ledger_table(bench.read("ledger"))[0]))
    return Counter((row["object"], row["reason"] or row["outcome"]) for row in rows if row["kind"] == "decision")


def test_kill_9_while_it_runs_pauses_and_resumes_misses_nobody_and_reaches_nobody_twice(
    bench: Bench, tmp_path: Path
) -> None:
    bench.clock.now = clock_ms()
    chunks = [[f"u{number}-{each}" for each in range(5)] for number in range(60)]
    desk, processes = prepare(bench, chunks, per_second=50), FlowProcesses(tmp_path)
    try:
        for name in ("schedule", "sequence"):
            processes.start(name)
        desk.act(ANN, "sale", "start")
        for _ in range(3):
            before = len(released(bench))
            wait_for(lambda: len(released(bench)) > before, what="it goes on")  # noqa: B023 - asked at once
            processes.kill("schedule")
            desk.act(ANN, "sale", "pause")
            processes.start("schedule")
            time.sleep(0.3)
            processes.kill("schedule")
            desk.act(ANN, "sale", "resume")
            processes.start("schedule")
        everybody = Counter(user for users in chunks for user in users)
        wait_for(lambda: len(decided(bench)) == len(everybody), what="everybody is decided")
        assert decided(bench) == everybody
    finally:
        processes.end()


def stages(bench: Bench, plan: RolloutPlan, event_id: str = "post", **fields: Any) -> CampaignDesk:
    """A broadcast that goes in stages, as the gateway accepts it."""
    raw = RawEvent(
        event_id=event_id,
        type="announcement",
        fan_out_type="BROADCAST",
        sender_id="s",
        actor="a",
        rollout=plan,
        **fields,
    )
    event = resolve(raw, REGISTRY, ingested_at=bench.clock())
    bench.append(*event_records(event, lambda _topic: PARTITIONS, kept=False))
    return CampaignDesk(bench.log, clock=bench.clock)


def parts(bench: Bench) -> list[tuple[int, int]]:
    """The stretches that were handed on, each once, as sequence takes them."""
    events = [orjson.loads(record.value) for record in bench.read("events.p1")]
    return list(
        {each["part"]["id"]: (each["part"]["begin"], each["part"]["end"]) for each in events if "part" in each}.values()
    )


def test_the_event_of_a_part_is_in_the_log_before_the_word_that_it_was_released(bench: Bench) -> None:
    stages(bench, RolloutPlan([100]))
    runner = CampaignRunner(bench.log, REGISTRY, bench.clock, timedelta(days=7))
    words: list[NewRecord] = []
    for _ in range(2):  # what is ordered is carried out when it is read
        bench.append(*words)
        for record in runner.unread():
            runner.take(record)
        words = [*runner.work(runner.next_offset), *runner.due()]
    assert parts(bench) == [(0, 100)], "a sink that appends the word first, or alone, loses nobody"
    assert {record.topic for record in words} == {"campaigns"}


def test_a_fan_out_goes_in_stages_when_it_is_told_or_its_hold_is_over(bench: Bench) -> None:
    desk = stages(bench, RolloutPlan([1, 10, 100], hold_ms=3_600_000))
    bench.schedule(until(lambda: parts(bench) == [(0, 1)]))
    bench.clock.now += 3_599_999
    bench.schedule(seconds(LOOKS_S))
    assert parts(bench) == [(0, 1)]
    bench.clock.now += 1
    bench.schedule(until(lambda: len(parts(bench)) == 2))
    for verb in ("pause", "advance"):
        desk.act(ANN, "event:post", verb)
    bench.schedule(seconds(LOOKS_S))
    assert parts(bench) == [(0, 1), (1, 10)], "it is paused"
    desk.act(ANN, "event:post", "resume")
    bench.schedule(until(lambda: len(parts(bench)) == 3))
    assert parts(bench) == [(0, 1), (1, 10), (10, 100)]
    rollout = desk.rollout("post")
    assert rollout is not None
    assert (rollout.is_done, rollout.percent, rollout.stage, rollout.next_at()) == (True, 100, 2, None)
    with pytest.raises(RefusedActError, match="done"):
        desk.act(ANN, "event:post", "cancel")
    assert desk.campaigns() == [], "marketing does not see it"
    begun = [orjson.loads(record.value) for record in bench.read("events.p1")]
    assert {(each["event_id"], each["ingested_at"] - START) for each in begun} == {("post", 0), ("post", 3_600_000)}
    bench.clock.now += 86_400_001
    bench.schedule(until(lambda: desk.rollout("post") is None))
    assert desk.rollout("post") is None, "and after a day nothing is kept of it"
    bench.schedule(seconds(LOOKS_S))
    kept = {record.key: record.value for record in bench.read("campaigns")}
    assert set(kept.values()) == {b""}
    assert len(parts(bench)) == 3


def compact(bench: Bench) -> None:
    """Of each key in `campaigns`, the newest record is left."""
    bench.append(NewRecord("campaigns", 0, b"event:other\0act\0x", b"", ()))  # the last one always stays
    bench.log.close()
    bench.log = EmbeddedLog(bench.directory, clock=clock_ms, options=EmbeddedOptions(compaction=AT_ONCE))
    bench.log.maintain(clock_ms() + 1_000)


@pytest.mark.parametrize(("verb", "state"), [(None, "running"), ("pause", "paused"), ("cancel", "cancelled")])
def test_a_begin_that_comes_again_counts_for_nothing_also_after_compaction(
    bench: Bench, verb: str | None, state: str
) -> None:
    plan = RolloutPlan([10, 20, 100])
    desk = stages(bench, plan)
    bench.schedule(until(lambda: parts(bench) == [(0, 10)]))
    if verb is not None:
        desk.act(ANN, "event:post", verb)
    stages(bench, plan)
    compact(bench)
    bench.clock.now += 60_000
    bench.schedule(seconds(LOOKS_S))
    rollout = CampaignDesk(bench.log, clock=bench.clock).rollout("post")
    assert rollout is not None
    assert (rollout.state, rollout.percent, rollout.released) == (state, 10, {0: 10})
    assert len(bench.read("events.p1")) == 1, "nothing goes again"
    if state == "cancelled":
        bench.clock.now += 86_400_001
        bench.schedule(seconds(LOOKS_S))
        compact(bench)
        assert {record.value for record in bench.read("campaigns")} == {b""}
        assert CampaignDesk(bench.log, clock=bench.clock).rollout("post") is None
        bench.schedule(seconds(LOOKS_S))
        assert len(bench.read("events.p1")) == 1


def test_the_throttle_of_a_fan_out_lets_one_percent_go_at_a_time_and_makes_nothing_up(bench: Bench) -> None:
    stages(bench, RolloutPlan([100], spread_ms=6_000_000))
    bench.schedule(until(lambda: len(parts(bench)) == 1))
    bench.schedule(seconds(LOOKS_S))
    assert parts(bench) == [(0, 1)]
    bench.clock.now += 600_000
    bench.schedule(seconds(LOOKS_S))
    assert parts(bench) == [(0, 1), (1, 2)], "time that passed in vain is lost"
    bench.clock.now += 59_999
    bench.schedule(seconds(LOOKS_S))
    assert len(parts(bench)) == 2
    bench.clock.now += 1
    bench.schedule(until(lambda: len(parts(bench)) == 3))
    assert parts(bench)[2] == (2, 3)


def test_a_fan_out_for_later_begins_then_and_a_cancel_or_a_retraction_ends_it(bench: Bench) -> None:
    desk = stages(bench, RolloutPlan([10, 100]), deliver_at=bench.clock() + 60_000)
    stages(bench, RolloutPlan([10, 100]), "news", object="news")
    stages(bench, RolloutPlan([10, 100]), "more", object="more")
    bench.schedule(until(lambda: len(parts(bench)) == 2))
    retraction = {"fan_out_type": "BROADCAST", "target": None, "object": "news", "retracts": True}
    bench.append(bench.event("r", "announcement", topic="schedule", **retraction))
    desk.act(ANN, "event:more", "cancel")
    bench.schedule(until(lambda: (found := desk.rollout("news")) is not None and found.state == "cancelled"))
    for event_id in ("news", "more"):
        with pytest.raises(RefusedActError, match="cancelled"):
            desk.act(ANN, f"event:{event_id}", "advance")
    bench.clock.now += 60_000
    bench.schedule(until(lambda: len(parts(bench)) == 3))
    desk.act(ANN, "event:post", "advance")
    bench.schedule(until(lambda: len(parts(bench)) == 4))
    assert sorted(parts(bench)) == [(0, 10), (0, 10), (0, 10), (10, 100)]


def turns(bench: Bench) -> Counter[str]:
    """How many decisions each recipient has had; what a crash wrote twice has the same time."""
    rows = records_of(ledger_table(bench.read("ledger"))[0])
    return Counter(user for user, _ in {(row["user"], row["decided_at"]) for row in rows if row["kind"] == "decision"})


def between(users: Sequence[str], begin: int, end: int) -> Counter[str]:
    return Counter(user for user in users if begin <= user_hash(user) * 100 >> 64 < end)


FLOWS = ("schedule", "sequence", "decide")


def test_kill_9_of_a_fan_out_at_the_border_of_stages_and_while_it_is_paused_misses_nobody_and_tells_nobody_twice(
    bench: Bench, tmp_path: Path
) -> None:
    bench.clock.now = clock_ms()
    users, ends = [f"u{number}" for number in range(600)], [1, 10, 40, 100]
    bench.append(*(bench.preference(user) for user in users))
    processes = FlowProcesses(tmp_path)
    try:
        for name in FLOWS:
            processes.start(name)
        desk = stages(bench, RolloutPlan(ends))
        for number, end in enumerate(ends):
            everybody = between(users, 0, end)
            wait_for(lambda: turns(bench).total() >= everybody.total(), what=f"{end} % are decided")  # noqa: B023 - asked at once
            for name in FLOWS:
                processes.kill(name)
            assert turns(bench) == everybody, "and nobody of the next stage"
            for verb in ("pause", "advance") if end < 100 else ():
                desk.act(ANN, "event:post", verb)
            for name in FLOWS:
                processes.start(name)
            if end < 100:
                reads_on(bench)
                processes.kill("schedule")
                assert len(parts(bench)) == number + 1, "it is paused"
                desk.act(ANN, "event:post", "resume")
                processes.start("schedule")
        stages(bench, RolloutPlan([100]), "last", object="last")
        wait_for(lambda: turns(bench).total() >= 1_200, what="what comes behind it is decided")
        assert turns(bench) == between(users, 0, 100) + between(users, 0, 100)
    finally:
        processes.end()


def reads_on(bench: Bench) -> None:
    """Schedule goes on: what is due by now is released."""
    now = str(time.monotonic_ns())
    event = bench.event(now, "reminder", topic="schedule", deliver_at=bench.clock() + 1, target=None, actor=None)
    bench.append(event)
    wait_for(lambda: any(now.encode() in record.value for record in bench.read("events.p1")), what="schedule reads on")


def test_kill_9_while_a_fan_out_goes_on_misses_nobody_and_tells_nobody_twice(bench: Bench, tmp_path: Path) -> None:
    bench.clock.now = clock_ms()
    users = [f"u{number}" for number in range(600)]
    bench.append(*(bench.preference(user) for user in users))
    processes = FlowProcesses(tmp_path)
    try:
        for name in FLOWS:
            processes.start(name)
        stages(bench, RolloutPlan([50, 100], hold_ms=0, spread_ms=5_000))
        for number, names in enumerate((FLOWS[:1], FLOWS[1:2], FLOWS[2:], FLOWS)):
            wait_for(lambda: len(parts(bench)) > 20 * number, what="it goes on")  # noqa: B023 - asked at once
            for name in names:
                processes.kill(name)
            for name in names:
                processes.start(name)
        wait_for(lambda: turns(bench).total() >= len(users), what="everybody is decided")
        stages(bench, RolloutPlan([100]), "last", object="last")
        wait_for(lambda: turns(bench).total() >= 1_200, what="what comes behind it is decided")
        assert turns(bench) == between(users, 0, 100) + between(users, 0, 100)
        assert [begin for begin, _ in parts(bench)] == [*range(100), 0]
    finally:
        processes.end()
