"""When it is said that a credential will end: pure."""

from __future__ import annotations

import pytest

from operators.expiry import SaidExpiry, days_left, end_of, expiry_to_say
from state.model.durations import DAY_MS

END = 2_000_000_000_000


@pytest.mark.parametrize(
    ("left_days", "threshold"),
    [(60.001, None), (60, 60), (30.001, 60), (30, 30), (14, 14), (7.001, 14), (7, 7), (0, 7), (-400, 7)],
)
def test_the_threshold_that_was_passed_last_is_said(left_days: float, threshold: int | None) -> None:
    now = END - int(left_days * DAY_MS)
    due = expiry_to_say(END, now, None)
    assert due == (None if threshold is None else SaidExpiry(END, threshold))
    assert due is None or expiry_to_say(END, now, due) is None, "twice"


def test_each_threshold_is_said_once_however_often_one_looks() -> None:
    said, found = None, []
    for now in range(END - 100 * DAY_MS, END + 10 * DAY_MS, DAY_MS // 24):
        due = expiry_to_say(END, now, said)
        if due is not None:
            found.append((due.threshold_days, days_left(END, now)))
            said = due
    assert found == [(60, 60), (30, 30), (14, 14), (7, 7)]


def test_a_renewed_credential_is_a_new_one() -> None:
    said = SaidExpiry(END, 7)
    renewed = END + 20 * DAY_MS
    assert expiry_to_say(renewed, END, said) == SaidExpiry(renewed, 30)
    assert expiry_to_say(END + 90 * DAY_MS, END, said) is None


@pytest.mark.parametrize(("given", "found"), [("2027-03-01", True), ("2027-13-01", False), ("/tls/site.pem", False)])
def test_a_day_or_else(given: str, found: bool) -> None:
    assert (end_of(given) is not None) == found
