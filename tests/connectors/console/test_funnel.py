"""The funnel of an event: a bar is the next one and what was lost, and all events together are what owners counted."""

import random
from pathlib import Path

import orjson
from helpers.healthy_ledger import healthy
from helpers.records import open_embedded

from connectors.archive.ledger import LedgerReader
from connectors.console.funnel import UNDER_WAY, FunnelStep, Loss, funnel
from flows.process.directories import LEDGER
from state.model.ledger import TERMINAL_DECISIONS, TERMINAL_DELIVERIES, EventCounts

WAITING = ("HELD", "AGGREGATING")


def closes(steps: tuple[FunnelStep, ...]) -> bool:
    """Whether people add up to people, and messages to messages."""
    people, notified, messages, taken = steps
    return all(
        bar.number == onward.number + sum(loss.number for loss in bar.lost)
        and all(loss.number > 0 for loss in bar.lost)
        for bar, onward in ((people, notified), (messages, taken))
    )


def test_every_loss_is_named_whatever_the_outcomes_are() -> None:
    dice = random.Random(5)
    for _ in range(200):
        why = {
            (outcome, reason): dice.randrange(9)
            for outcome in (*TERMINAL_DECISIONS, *WAITING)
            for reason in ((None,) if outcome != "SUPPRESSED" else ("muted", "cap_day", "dead_letter"))
        }
        ended = {
            (outcome, reason): dice.randrange(9)
            for outcome in TERMINAL_DELIVERIES
            for reason in ((None,) if outcome != "DEAD_LETTER" else ("rejected", "unreachable"))
        }
        summed = [
            {name: sum(number for (each, _), number in found.items() if each == name) for name, _ in found}
            for found in (why, ended)
        ]
        counts = EventCounts(summed[0], dice.randrange(60), summed[1], why=why, why_ended=ended)
        steps = funnel(counts)
        assert closes(steps), counts
        assert max(step.share for step in steps) <= 1
        named = {(loss.outcome, loss.reason) for step in steps for loss in step.lost} - {(UNDER_WAY, None)}
        told = {key for found in (why, ended) for key, number in found.items() if number}
        assert named == told - {("EMITTED", None), ("MERGED", None), ("DELIVERED", None)}


def test_an_event_without_recipients_is_four_empty_bars() -> None:
    steps = funnel(EventCounts())
    assert [(step.number, step.share, step.lost) for step in steps] == [(0, 0, ())] * 4


def test_all_events_together_are_what_the_owners_counted(tmp_path: Path) -> None:
    log = open_embedded(tmp_path)
    records = healthy()
    log.append(records)
    reader = LedgerReader(tmp_path / LEDGER, log)
    values = [orjson.loads(each.value) for each in records if each.topic == "ledger"]
    total = {
        term: sum(each.get(term, 0) for each in values if each["kind"] == "counts")
        for term in ("resolved", "held", "aggregating", "emitted", "fallbacks", "in_flight")
    }
    every = [funnel(reader.progress(event)) for event in ("e1", "e2", "e3", "p1")]
    assert all(map(closes, every))
    lost = [loss for steps in every for step in steps for loss in step.lost]

    def of(*outcomes: str) -> int:
        return sum(loss.number for loss in lost if loss.outcome in outcomes)

    assert sum(people.number for people, *_ in every) == total["resolved"]
    assert of(*WAITING) == total["held"] + total["aggregating"]
    assert sum(messages.number for _, _, messages, _ in every) == total["emitted"] + total["fallbacks"]
    assert of(UNDER_WAY) == total["in_flight"]
    assert Loss("SUPPRESSED", "muted", 1) in lost
    assert Loss("FELL_BACK", "channel_down", 1) in lost
    log.close()
