"""Campaigns on the real flow: nobody is missed and nobody gets it twice, whatever is stopped or killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from helpers.flow_bench import Bench, seconds, until
from helpers.flow_processes import FlowProcesses
from helpers.waiting import wait_for

from connectors.campaigns import Actor, CampaignDesk
from connectors.log import NewRecord
from flows.process.open import clock_ms
from state.ledger import latest, ledger_table, records_of
from state.model.campaign import CampaignAudience, CampaignChunk, CampaignText
from state.model.errors import RefusedActError
from state.model.event import EVENT, TextDraft
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
