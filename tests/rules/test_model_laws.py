"""What must hold of the reference model's output whatever the stream."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import pytest
from reference.model import simulate
from rules.random_streams import random_stream
from rules.writing import DAY, HOUR, Line, order

SEEDS = range(60)
FINAL = {"EMITTED", "MERGED", "INBOX", "SUPPRESSED", "EXPIRED"}
WAITING = {"HELD", "AGGREGATING"}
PRIVATE = ("otp", "password_reset", "security_alert", "payment_confirmation", "account_lockout")


@pytest.fixture(scope="module", params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def lines(seed: int) -> list[Line]:
    return simulate(random_stream(seed), inbox=True)


def test_one_decision_per_event_and_recipient(lines: list[Line]) -> None:
    pairs = Counter((line["event_id"], line["user"]) for line in lines if line["kind"] == "decision")
    assert [pair for pair, times in pairs.items() if times > 1] == []


def test_lines_are_in_order_and_fields_belong_to_the_outcome(lines: list[Line]) -> None:
    assert lines == sorted(lines, key=order)
    for line in (line for line in lines if line["kind"] == "decision"):
        assert line["outcome"] in FINAL | WAITING
        assert (line["reason"] is not None) == (line["outcome"] == "SUPPRESSED")
        assert (line["until"] is not None) == (line["outcome"] == "HELD")
        assert bool(line["channels"]) == (line["outcome"] in ("EMITTED", "MERGED"))
        assert (line["emission_id"] is not None) == (line["outcome"] in ("EMITTED", "MERGED"))


def test_an_emission_has_the_items_it_counts(lines: list[Line]) -> None:
    items = Counter(line["emission_id"] for line in lines if line["kind"] == "decision")
    for line in (line for line in lines if line["kind"] == "emission"):
        assert items[line["emission_id"]] == line["count"]
        assert len(set(line["actors"])) == len(line["actors"]) <= 3


def _in_slots(seed: int, lines: list[Line]) -> set[str]:
    """Emissions that count in the pool of dedicated slots: all their items have one."""
    events = [record for record in random_stream(seed) if record["kind"] == "event"]
    slots = {record["event_id"]: record.get("slot") is True for record in events}
    items = [(line["emission_id"], slots[line["event_id"]]) for line in lines if line["kind"] == "decision"]
    digests = {line["emission_id"] for line in lines if line["kind"] == "emission" and line["type"] == "digest"}
    return {name for name, _ in items} - {name for name, slot in items if not slot} - digests


def test_counted_emissions_are_those_the_decisions_saw(seed: int, lines: list[Line]) -> None:
    """cap_hour and cap_day of an emission, counted again from the emissions of its pool themselves."""
    times, in_slots = defaultdict(list), _in_slots(seed, lines)
    for line in lines:
        if line["kind"] == "emission" and line["type"] not in PRIVATE:
            times[line["user"], line["emission_id"] in in_slots].append(line["decided_at"])
    for line in lines:
        if line["kind"] != "decision" or line["outcome"] != "EMITTED" or line["cap_hour"] is None:
            continue
        assert line["emission_id"] not in in_slots or line["cap_day"] == 0, "one a day"
        now, mine = line["decided_at"], times[line["user"], line["emission_id"] in in_slots]
        assert sum(now - HOUR < t < now for t in mine) <= line["cap_hour"] < sum(now - HOUR < t <= now for t in mine)
        assert sum(now - DAY < t < now for t in mine) <= line["cap_day"] < sum(now - DAY < t <= now for t in mine)


def test_items_in_rows_are_decisions_with_inbox_less_what_was_taken_back(lines: list[Line]) -> None:
    in_rows = sum(line["count"] for line in lines if line["kind"] == "inbox")
    entered = [line for line in lines if line["kind"] == "decision" and line["inbox"]]
    retractions = sum(line["kind"] == "decision" and line["reason"] == "retraction" for line in lines)
    gone = sum(line["reason"] == "retracted" for line in entered)
    assert len(entered) - retractions <= in_rows <= len(entered) - gone


@pytest.mark.parametrize("seed", range(10))
def test_every_prefix_decides_the_same_so_far(seed: int) -> None:
    """What is final stays; a longer log only adds to it."""
    records = random_stream(seed)
    half = simulate(records[: len(records) // 2])
    whole = {json.dumps(line, sort_keys=True) for line in simulate(records)}
    for line in half:
        if line["kind"] == "emission" or line["outcome"] in FINAL:
            assert json.dumps(line, sort_keys=True) in whole


def test_streams_reach_every_outcome_and_reason() -> None:
    seen = Counter[str]()
    for seed in range(160):
        for line in simulate(random_stream(seed), inbox=True):
            seen[line["kind"] if line["kind"] != "decision" else line["reason"] or line["outcome"]] += 1
            seen["digest"] += line.get("type") == "digest" and line["kind"] == "emission"
    wanted = WAITING | FINAL - {"SUPPRESSED"} | {"emission", "inbox", "digest", "retraction", "retracted"}
    wanted |= {"kill_switch", "self", "master_off", "type_off", "muted", "no_channel"}
    wanted |= {"quiet_hours", "cap_day", "cap_hour"}
    assert {name for name in wanted if seen[name] < 20} == set(), seen
