"""Channels that are away are passed over (RULES 3.E), in random streams.

No record of a simulation says so, so what reads them is taught the switches that `sequence` writes then.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from rules.agreement import disagreement, ndjson
from rules.random_streams import random_stream
from rules.writing import EMAIL, NOON, PUSH, SECOND, Line, endpoint, event, kill, prefer

from flows.simulation.run import run_simulation
from operators.simulation import Simulation
from state.model.load import AWAY
from state.model.work import KillWork, Work


class TaughtSimulation(Simulation):
    """Takes switches of scope `away` as well."""

    def _plan(self, line: dict[str, Any], now: int) -> Iterator[Work]:
        if line.get("scope") == AWAY:
            yield KillWork(stamp=now, scope=AWAY, value=line["value"], on=line["on"])
        else:
            yield from super()._plan(line, now)


simulate_taught = partial(run_simulation, reads=TaughtSimulation)
PLACES = ("push/android", "push/ios", "email/*")


def stream_with_outages(seed: int) -> list[Line]:
    """Some of the phones are Apple's; what is away comes and goes."""
    rng = random.Random(seed)
    records: list[Line] = []
    for record in random_stream(seed):
        apples = record["kind"] == "endpoint" and record["channel"] == "push" and rng.random() < 0.5
        records.append({**record, "platform": "ios"} if apples else record)
        if rng.random() < 0.1:
            records.append(kill(record["ts"], "away", rng.choice(PLACES), on=rng.random() < 0.6))
    return records


@pytest.mark.parametrize("seed", range(6000, 6100))
def test_model_and_product_agree(seed: int) -> None:
    assert disagreement(simulate_taught, stream_with_outages(seed)) == "", f"seed {seed}"


@pytest.mark.parametrize("seed", range(6000, 6040))
def test_columns_and_single_decisions_agree(seed: int) -> None:
    lines = ndjson(stream_with_outages(seed))
    assert simulate_taught(lines, inbox=True, bulk_from=1) == simulate_taught(lines, inbox=True, bulk_from=1 << 30)


def channels_of(*records: Line) -> list[list[str]]:
    """Of each reminder, where it went: the first of push and email that is there."""
    lines = simulate_taught(ndjson(records))
    return [each["channels"] for each in lines if each["kind"] == "decision"]


def reasons_of(*records: Line) -> list[tuple[str, str | None]]:
    lines = simulate_taught(ndjson(records))
    return [(each["outcome"], each["reason"]) for each in lines if each["kind"] == "decision"]


def reminder(name: str, ts: int) -> Line:
    return event(name, ts, "reminder", actor="u", object=name)


def test_first_takes_the_next_channel_while_the_phones_of_the_user_are_out_of_reach() -> None:
    other_phone = {**endpoint("push", name="2"), "platform": "ios"}
    away = kill(NOON, "away", "push/android")
    assert channels_of(PUSH, EMAIL, away, reminder("e1", NOON)) == [["email"]]
    assert channels_of(PUSH, EMAIL, other_phone, away, reminder("e1", NOON)) == [["push"]]
    back = kill(NOON + SECOND, "away", "push/android", on=False)
    assert channels_of(PUSH, EMAIL, away, back, reminder("e1", NOON + SECOND)) == [["push"]]


def test_where_nothing_else_is_left_the_first_is_waited_for() -> None:
    push_away, mail_away = kill(NOON, "away", "push/android"), kill(NOON, "away", "email/*")
    assert channels_of(PUSH, push_away, reminder("e1", NOON)) == [["push"]]
    assert channels_of(PUSH, EMAIL, push_away, mail_away, reminder("e1", NOON)) == [["push"]]


def test_the_record_names_what_was_passed_over() -> None:
    away = kill(NOON, "away", "push/android")
    assert reasons_of(PUSH, EMAIL, away, reminder("e1", NOON)) == [("EMITTED", "passed_over push")]
    assert reasons_of(PUSH, away, reminder("e1", NOON)) == [("EMITTED", None)]
    assert reasons_of(PUSH, EMAIL, kill(NOON, "away", "email/*"), reminder("e1", NOON)) == [("EMITTED", None)]


def test_a_mail_that_waits_takes_nothing_over_and_is_not_passed_over() -> None:
    """RULES 4, "Breaker": the mention of 12:00:10 waits for APNs, and not until 09:00."""
    away = (kill(NOON, "away", "push/android"), kill(NOON, "away", "email/*"))
    mention = event("e1", NOON, "mention", object="o")
    assert channels_of(PUSH, EMAIL, away[0], mention) == [["push"]]
    mail_first = prefer(NOON, types={"mention": {"channels": ["email", "push"]}})
    assert reasons_of(PUSH, EMAIL, mail_first, away[1], mention) == [("AGGREGATING", None)]


def test_all_takes_what_is_away_too() -> None:
    away = kill(NOON, "away", "push/android")
    assert channels_of(PUSH, EMAIL, away, event("e1", NOON, "security_alert")) == [["push", "email"]]
