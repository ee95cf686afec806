"""Quiet hours and the digest's hour against a scan of every minute around the changes of 2026.

The scan knows only what a wall clock shows: the pinned zone data through `zoneinfo`, minute by minute.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import pytest

from operators.quiet import is_quiet, next_digest, quiet_end, quiet_state
from state.model.preference import QuietRange

MINUTE_MS = 60_000
DAY_MINUTES = 1440
NINE = 9 * 60

AROUND = {
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),
    "America/Havana": ("2026-03-08",),
    "America/Santiago": ("2026-04-05", "2026-09-06"),
    "Africa/Cairo": ("2026-04-24", "2026-10-30"),
    "Asia/Beirut": ("2026-03-29", "2026-10-25"),
    "Africa/Casablanca": ("2026-02-15", "2026-03-22"),
    "Antarctica/Troll": ("2026-03-29", "2026-10-25"),
    "Europe/Dublin": ("2026-03-29", "2026-10-25"),
    "Pacific/Kiritimati": ("2026-07-01",),
    "Asia/Kathmandu": ("2026-07-01",),
}
DAYS = [(zone, day) for zone, days in AROUND.items() for day in days]
HOURS = [("22:00", "08:00"), ("01:30", "02:30"), ("02:15", "02:45"), ("00:00", "06:00")]
CONSTANT = ("Pacific/Kiritimati", "Asia/Kathmandu")


@cache
def _zone(name: str) -> ZoneInfo:
    with (resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@cache
def shown(zone: str, day: str) -> tuple[int, list[int], list[int]]:
    """(first minute, minute of the local day that the clock shows, offset in minutes) for 4 days around."""
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(days=1)
    times, offsets = [], []
    for minute in range(4 * DAY_MINUTES):
        local = (start + timedelta(minutes=minute)).astimezone(_zone(zone))
        offset = local.utcoffset()
        assert offset is not None
        assert offset.seconds % 60 == 0
        times.append(local.hour * 60 + local.minute)
        offsets.append(int(offset.total_seconds()) // 60)
    return int(start.timestamp()) // 60, times, offsets


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _inside(times: list[int], start: int, end: int) -> list[bool]:
    if start < end:
        return [start <= time < end for time in times]
    return [time >= start or time < end for time in times]


def _sampled(offsets: list[int]) -> list[int]:
    """Every 13th minute of two days, and every minute in the hours around a change."""
    changes = [m for m in range(1, len(offsets)) if offsets[m] != offsets[m - 1]]
    near = {m for change in changes for m in range(change - 200, change + 200)}
    return [m for m in range(2 * DAY_MINUTES + 180) if m % 13 == 0 or m in near]


@pytest.mark.parametrize(("zone", "day"), DAYS)
def test_there_is_a_change_to_look_at(zone: str, day: str) -> None:
    _, _, offsets = shown(zone, day)
    assert (len(set(offsets[: 3 * DAY_MINUTES])) > 1) == (zone not in CONSTANT)


@pytest.mark.parametrize("hours", HOURS, ids="-".join)
@pytest.mark.parametrize(("zone", "day"), DAYS)
def test_quiet_hours_minute_by_minute(zone: str, day: str, hours: tuple[str, str]) -> None:
    first, times, offsets = shown(zone, day)
    start, end = map(_minutes, hours)
    quiet = QuietRange(start * MINUTE_MS, end * MINUTE_MS, zone)
    inside = _inside(times, start, end)
    for minute in range(3 * DAY_MINUTES):
        now = (first + minute) * MINUTE_MS
        assert is_quiet(quiet, now) == inside[minute], minute
        assert is_quiet(quiet, now + MINUTE_MS - 1) == inside[minute], minute
    for minute in _sampled(offsets):
        now = (first + minute) * MINUTE_MS + minute % 3
        if inside[minute]:
            outside = next(m for m in range(minute, len(inside)) if not inside[m])
            assert quiet_end(quiet, now) == (first + outside) * MINUTE_MS, minute
        state, until = quiet_state(quiet, now)
        assert state == inside[minute]
        assert until > now
        last = (until - 1) // MINUTE_MS - first
        assert all(each == state for each in inside[minute : min(last, len(inside) - 1) + 1]), minute


@pytest.mark.parametrize(("zone", "day"), DAYS)
def test_the_digest_comes_at_the_next_nine(zone: str, day: str) -> None:
    first, times, offsets = shown(zone, day)
    for minute in _sampled(offsets):
        if minute > 2 * DAY_MINUTES:
            continue
        due = next(m for m in range(minute + 1, len(times)) if times[m] == NINE)
        assert next_digest(zone, (first + minute) * MINUTE_MS) == (first + due) * MINUTE_MS, minute
        assert next_digest(zone, (first + minute) * MINUTE_MS + 1) == (first + due) * MINUTE_MS, minute


@pytest.mark.parametrize(
    ("zone", "before", "due"),
    [
        # Samoa had no 30 December 2011 at all: 29 December 23:59 is followed by 31 December 00:00 (a gap of 24 hours).
        ("Pacific/Apia", "2011-12-30 09:00", "2011-12-30 10:00"),
        # Kwajalein skipped 21 August 1993 in the same way, at local midnight (12:00 UTC).
        ("Pacific/Kwajalein", "1993-08-21 00:00", "1993-08-21 12:00"),
    ],
)
def test_a_gap_that_swallows_nine_ends_the_wait(zone: str, before: str, due: str) -> None:
    now, expected = (int(datetime.fromisoformat(t).replace(tzinfo=UTC).timestamp()) * 1000 for t in (before, due))
    assert next_digest(zone, now) == expected


def test_no_quiet_hours_never_change() -> None:
    assert is_quiet(None, 0) is False
    assert quiet_state(None, 5) == (False, 1 << 62)
