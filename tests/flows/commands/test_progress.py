"""How far an event is, on the command line."""

import orjson
import pytest

from flows.commands.output import Output
from flows.commands.progress import show_progress
from state.model.ledger import EventCounts


def test_a_fan_out_is_followed_until_every_planned_group_is_decided(capsys: pytest.CaptureFixture[str]) -> None:
    states = [EventCounts({"INBOX": number}, groups=number, planned=3) for number in range(4)]
    pauses: list[float] = []
    assert show_progress(lambda: states.pop(0), "e1", Output(as_json=False), follow=True, sleep=pauses.append)
    assert "Event e1: 3 recipients decided, in 3 of 3 key groups" in capsys.readouterr().out
    assert len(pauses) == 3


def test_a_fan_out_that_stands_still_is_over_though_a_group_has_nobody_left(capsys: pytest.CaptureFixture[str]) -> None:
    counts = EventCounts({"EMITTED": 5}, 5, {"DELIVERED": 4}, heard={"opened": 1}, groups=2, planned=3)
    pauses: list[float] = []
    assert show_progress(lambda: counts, "e1", Output(as_json=True), follow=True, sleep=pauses.append)
    assert sum(pauses) == 10
    (line,) = capsys.readouterr().out.splitlines()
    assert orjson.loads(line) == {
        "event_id": "e1", "recipients": 5, "outcomes": {"EMITTED": 5}, "deliveries": {"DELIVERED": 4},
        "heard": {"opened": 1}, "fan_out": {"planned": 3, "decided": 2},
        "segments": 0, "cost": 0.0, "rollout": None,
    }  # fmt: skip


def test_an_event_to_one_person_is_not_waited_for_and_an_unknown_one_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses: list[float] = []
    one = EventCounts({"INBOX": 1}, groups=1)
    assert show_progress(lambda: one, "e1", Output(as_json=False), follow=True, sleep=pauses.append)
    assert pauses == []
    assert not show_progress(EventCounts, "e2", Output(as_json=False), follow=False)
    assert "Event e2: 0 recipients decided: it is not decided yet, or there is no such event" in capsys.readouterr().out
