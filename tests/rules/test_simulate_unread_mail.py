"""Mails that go only if their row stays unread (RULES 3.E): no default type waits so, so types are changed here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from crash.model_input import registry_of
from rules.agreement import disagreement, ndjson
from rules.random_streams import random_stream
from rules.writing import EMAIL, HOUR, MINUTE, NOON, PUSH, SECOND, Line, event, like, mention, prefer, quiet, read, tick

from flows.simulation.run import run_simulation
from state.model.registry import load_registry

WAIT = 15 * MINUTE
CHANGED: dict[str, dict[str, Any]] = {
    "mention": {"digest": False, "mail_wait_ms": WAIT},
    "comment": {"digest": False, "mail_wait_ms": WAIT},
    "like": {"channels": ["in_app", "email"], "mail_wait_ms": 2 * MINUTE},
    "maintenance": {"mail_wait_ms": WAIT},
    "newsletter": {"channels": ["email", "in_app"], "mail_wait_ms": WAIT},
}
REGISTRY = load_registry(CHANGED)
simulate_product = partial(run_simulation, registry=REGISTRY)


@pytest.fixture(autouse=True)
def changed() -> Iterator[None]:
    with registry_of(CHANGED):
        yield


@pytest.mark.parametrize("seed", range(5000, 5120))
def test_model_and_product_agree(seed: int) -> None:
    assert disagreement(simulate_product, random_stream(seed)) == "", f"seed {seed}"


@pytest.mark.parametrize("seed", range(5000, 5040))
def test_columns_and_single_decisions_agree(seed: int) -> None:
    lines = ndjson(random_stream(seed))
    assert simulate_product(lines, inbox=True, bulk_from=1) == simulate_product(lines, inbox=True, bulk_from=1 << 30)


def test_the_streams_have_mails_that_waited() -> None:
    mails = [
        line
        for seed in range(5000, 5120)
        for line in simulate_product(ndjson(random_stream(seed)))
        if line["kind"] == "emission" and line["channels"] == ["email"] and line["type"] in CHANGED
    ]
    assert len(mails) > 100
    assert any(line["count"] > 1 for line in mails)


def told(*records: Line) -> list[tuple[str, str, Any]]:
    """Each event's outcome, its time since noon, and its channels."""
    lines = simulate_product(ndjson([EMAIL, *records]))
    found = [
        (each["event_id"], each["outcome"], each["decided_at"] - NOON) for each in lines if each["kind"] == "decision"
    ]
    mails = {each["first_event_id"]: each["count"] for each in lines if each["kind"] == "emission"}
    return [(name, outcome, (at, mails.get(name))) for name, outcome, at in sorted(found)]


def test_what_was_read_in_time_is_not_mailed_and_what_was_not_is() -> None:
    records = [mention("e1", NOON), read(NOON + MINUTE), mention("e2", NOON + 2 * MINUTE), tick(NOON + HOUR)]
    assert told(*records) == [
        ("e1", "INBOX", (MINUTE, None)),
        ("e2", "EMITTED", (2 * MINUTE + WAIT, 1)),
    ]


def test_the_mail_goes_at_the_end_of_the_wait_and_not_a_millisecond_before() -> None:
    assert told(mention("e1", NOON), tick(NOON + WAIT - 1)) == [("e1", "AGGREGATING", (0, None))]
    assert told(mention("e1", NOON), tick(NOON + WAIT)) == [("e1", "EMITTED", (WAIT, 1))]


def test_a_group_waits_together_from_its_first_item_on_and_is_one_mail() -> None:
    likes = [like("e1", NOON, "a"), like("e2", NOON + 10 * SECOND, "b"), like("e3", NOON + 70 * SECOND, "c")]
    assert told(*likes, tick(NOON + HOUR)) == [
        ("e1", "EMITTED", (2 * MINUTE, 2)),
        ("e2", "MERGED", (2 * MINUTE, None)),
        ("e3", "EMITTED", (4 * MINUTE, 1)),
    ]


def test_what_comes_after_a_group_was_read_has_the_whole_time_to_be_read() -> None:
    likes = [like("e1", NOON, "a"), read(NOON + MINUTE), like("e2", NOON + 2 * MINUTE - SECOND, "b")]
    assert told(*likes, tick(NOON + HOUR)) == [
        ("e1", "INBOX", (MINUTE, None)),
        ("e2", "EMITTED", (4 * MINUTE - SECOND, 1)),
    ]


def test_a_phone_is_told_at_once() -> None:
    assert told(PUSH, mention("e1", NOON), tick(NOON + HOUR)) == [("e1", "EMITTED", (0, 1))]


def test_who_has_no_row_gets_his_mail_at_once() -> None:
    by_mail = {"mention": {"channels": ["email"]}}
    assert told(prefer(types=by_mail), mention("e1", NOON)) == [("e1", "EMITTED", (0, 1))]


def test_taken_back_while_it_waits_it_is_mailed_to_nobody() -> None:
    back = {**mention("r1", NOON + MINUTE), "object": "post-e1", "retracts": True}
    assert told(mention("e1", NOON), back, tick(NOON + HOUR)) == [
        ("e1", "SUPPRESSED", (MINUTE, None)),
        ("r1", "SUPPRESSED", (MINUTE, None)),
    ]


def test_waiting_to_be_read_does_not_use_up_the_time_to_live() -> None:
    short = event("e1", NOON, "mention", actor="a", object="p", ttl_ms=MINUTE)
    assert told(short, tick(NOON + HOUR)) == [("e1", "EMITTED", (WAIT, 1))]


def test_quiet_hours_that_began_meanwhile_hold_it_and_reading_still_ends_it() -> None:
    night = quiet("12:10", "13:00")
    assert told(night, mention("e1", NOON), tick(NOON + 2 * HOUR)) == [("e1", "EMITTED", (HOUR, 1))]
    held_then_read = [night, mention("e1", NOON), read(NOON + 30 * MINUTE), tick(NOON + 2 * HOUR)]
    assert told(*held_then_read) == [("e1", "INBOX", (30 * MINUTE, None))]
