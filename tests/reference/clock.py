"""Wall clocks: quiet hours (RULES 3.D.1) and the next 09:00 of the digest (RULES 3.E). Times are ms UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

DAY = 86_400_000
HOUR = 3_600_000
NINE = 9 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HH_MM = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


@cache
def zone(name: Any) -> tzinfo:
    """The IANA zone of that name; UTC when it is missing or invalid, as a mere path in the zone folder is."""
    return ZoneInfo(name) if isinstance(name, str) and name in _names() else UTC


def offset(tz: tzinfo, t: int) -> int:
    """Local wall clock minus UTC at the instant t."""
    delta = (EPOCH + timedelta(milliseconds=t)).astimezone(tz).utcoffset()
    assert delta is not None
    return delta // timedelta(milliseconds=1)


def time_of_day(tz: tzinfo, t: int) -> int:
    """Milliseconds since local midnight, as the wall clock shows them."""
    return (t + offset(tz, t)) % DAY


def first_change(tz: tzinfo, t: int, limit: int) -> int | None:
    """The first instant in (t, limit] at which the offset is not that of t."""
    base = offset(tz, t)
    low = t
    while low < limit:
        high = min(low + HOUR, limit)
        if offset(tz, high) != base:
            return _bisect_change(tz, base, low, high)
        low = high
    return None


def _bisect_change(tz: tzinfo, base: int, low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        if offset(tz, middle) == base:
            low = middle
        else:
            high = middle
    return high


def parse_hh_mm(text: Any) -> int | None:
    """Milliseconds since midnight, or None where the text is not HH:MM, 00:00 to 23:59."""
    if not isinstance(text, str) or HH_MM.fullmatch(text) is None:
        return None
    return (int(text[:2]) * 60 + int(text[3:])) * 60_000


def within(start: int, end: int, clock: int) -> bool:
    """Start included, end excluded, may cross midnight, equal start and end means never."""
    if start <= end:
        return start <= clock < end
    return clock >= start or clock < end


def first_instant_outside(tz: tzinfo, start: int, end: int, now: int) -> int:
    """The first instant after `now` (which is inside) whose wall clock is outside."""
    t = now
    while within(start, end, time_of_day(tz, t)):
        ends = t + ((end - time_of_day(tz, t)) % DAY or DAY)
        change = first_change(tz, t, ends)
        t = ends if change is None else change
    return t


def next_nine(tz: tzinfo, now: int) -> int:
    """The next 09:00 after `now`; where a gap swallows it, the first instant after the gap."""
    t = now
    while True:
        before = offset(tz, t)
        nine = t + ((NINE - (t + before)) % DAY or DAY)
        change = first_change(tz, t, nine)
        if change is None:
            return nine
        if _holds_nine(change + before, change + offset(tz, change)):
            return change
        t = change


def _holds_nine(old_wall: int, new_wall: int) -> bool:
    """Does the clock, jumping from old to new, skip a 09:00 or stop at one?"""
    if new_wall < old_wall:
        return new_wall % DAY == NINE
    return old_wall + (NINE - old_wall) % DAY <= new_wall
