"""A simulation that cannot go on says why: our own error, or the engine's with what caused it."""

import json
from collections.abc import Iterator

import pytest
from bytewax.errors import BytewaxRuntimeError

from flows.simulation.run import run_simulation
from state.model.errors import CarillonError


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize("stages", [[], [10, 5, 100], [1, 10], [0, 100], [100, 200]])
def test_stages_that_are_no_rising_percents_are_named_with_their_line(stages: list[int]) -> None:
    records = [
        line(kind="preference", ts=0, user="bob"),
        line(
            kind="event", ts=1, event_id="e1", type="announcement", fan_out_type="BROADCAST",
            rollout={"stages": stages},
        ),
    ]  # fmt: skip
    with pytest.raises(CarillonError, match=r"line 2: .*rising percents.*rollout"):
        run_simulation(records)


@pytest.mark.parametrize("ts", [-1, 1_700_000_000_000_000, 253_370_764_800_001, "2023-11-14T22:13:20Z"])
def test_a_time_before_1970_or_of_another_unit_is_named_with_its_line(ts: object) -> None:
    records = [line(kind="preference", ts=0, user="bob"), line(kind="event", ts=ts, event_id="e1", type="poke")]
    with pytest.raises(CarillonError, match=r"line 2: ts: .* is no time in ms"):
        run_simulation(records)


def test_holds_of_the_last_time_end_within_the_calendar() -> None:
    quiet = {"enabled": True, "start": "00:00", "end": "23:59", "timezone": "Pacific/Kiritimati"}
    of_ann = {"ts": 253_370_764_800_000, "user": "ann"}
    records = [
        line(kind="endpoint", channel="push", id="p", platform="ios", address="a1", state="active", **of_ann),
        line(kind="preference", doc={"quiet_hours": quiet}, **of_ann),
        line(kind="event", ts=of_ann["ts"], event_id="e1", type="mention", actor="bob", target="ann", object="post"),
    ]
    (held,) = run_simulation(records)
    assert held["outcome"] == "HELD"


def test_an_error_that_is_not_ours_ends_with_its_cause() -> None:
    def broken() -> Iterator[bytes]:
        yield line(kind="preference", ts=0, user="bob")
        raise ZeroDivisionError("the source broke")

    with pytest.raises(BytewaxRuntimeError) as caught:
        run_simulation(broken())
    causes: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__
    assert error is None, "an error that names itself as its cause is never told"
    assert any(isinstance(each, ZeroDivisionError) for each in causes)
