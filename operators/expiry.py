"""When is it time to say that a credential will end? Pure; times are milliseconds UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from state.model.durations import DAY_MS

THRESHOLDS_DAYS = (60, 30, 14, 7)
"""What is left when it is said, once for each."""


class SaidExpiry(NamedTuple):
    """The last that was said of a credential."""

    ends_ms: int
    threshold_days: int


def end_of(given: str) -> datetime | None:
    """The beginning of a day that is written as 2027-03-01; None: it is written otherwise."""
    try:
        return datetime.strptime(given, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def days_left(ends_ms: int, now: int) -> float:
    """Below 0: it has ended."""
    return (ends_ms - now) / DAY_MS


def expiry_to_say(ends_ms: int, now: int, said: SaidExpiry | None) -> SaidExpiry | None:
    """The threshold that was passed and not said yet; None: there is none.

    Who looks late says the lowest that was passed, and not those above it. A credential with another end is a new one.
    """
    left = days_left(ends_ms, now)
    passed = [days for days in THRESHOLDS_DAYS if left <= days]
    if not passed or (said is not None and said.ends_ms == ends_ms and said.threshold_days <= passed[-1]):
        return None
    return SaidExpiry(ends_ms, passed[-1])
