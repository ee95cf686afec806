"""What metrics say of each sender: why something was refused, and how full his fullest second was."""

import time

import pytest
from prometheus_client import REGISTRY

from connectors.gateway.answers import Accepted
from connectors.gateway.problems import ProblemError, retry_later
from connectors.gateway.sender_figures import FullestSeconds, PostAnswer

MEANT = [
    (Accepted(202, "e"), "accepted"),
    (Accepted(200, "e"), "repeated"),
    (ProblemError(400, "x"), "not_valid"),
    (ProblemError(403, "x"), "not_allowed"),
    (ProblemError(403, "x", why="door_closed"), "door_closed"),
    (ProblemError(409, "x"), "key_used_before"),
    (retry_later(429, "x", 1), "above_limit"),
    (retry_later(429, "x", 1, why="system_loaded"), "system_loaded"),
    (retry_later(503, "x", 1), "not_stored"),
    (ProblemError(500, "x"), "other"),
]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize(("outcome", "word"), MEANT)
def test_every_answer_has_a_word(outcome: Accepted | ProblemError, word: str) -> None:
    before = value("carillon_gateway_sender_events_total", sender="words", answer=word)
    with PostAnswer("words") as answer:
        answer.count([outcome] * 3)
    assert value("carillon_gateway_sender_events_total", sender="words", answer=word) == before + 3


def test_what_is_refused_as_a_whole_counts_by_its_events_and_is_timed() -> None:
    def refused() -> None:
        with PostAnswer("whole") as answer:
            answer.events = 12
            raise retry_later(429, "x", 1)

    with pytest.raises(ProblemError):
        refused()
    assert value("carillon_gateway_sender_events_total", sender="whole", answer="above_limit") == 12
    assert value("carillon_gateway_sender_seconds_count", sender="whole") == 1


def test_the_fullest_second_is_that_of_the_last_minute() -> None:
    fullest, now_ms = FullestSeconds(), time.time_ns() // 1_000_000
    for ago_s, granted in ((65, 90), (59, 2), (30, 40), (30, 35), (0, 7)):
        fullest.note("full", granted, now_ms - 1000 * ago_s)
    assert value("carillon_gateway_sender_fullest_second", sender="full") == 40
    FullestSeconds().note("idle", 5, now_ms - 61_000)
    assert value("carillon_gateway_sender_fullest_second", sender="idle") == 0
