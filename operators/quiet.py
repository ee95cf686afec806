"""Quiet hours and the digest's hour on the local wall clock, exact across DST (RULES 3.D.1, 3.E).

The local clock alone counts: an instant is inside when the time of day it shows lies in [start, end). In a fold the
same time of day is shown twice, in a gap some are never shown.
"""

from state.model.durations import DAY_MS
from state.model.preference import QuietRange
from state.model.zones import next_change, offset_at

DIGEST_TIME_MS = 9 * 3_600_000


def _time_of_day(zone: str, instant_ms: int) -> int:
    return (instant_ms + offset_at(zone, instant_ms)) % DAY_MS


def _contains(quiet: QuietRange, time_of_day_ms: int) -> bool:
    if quiet.start_ms < quiet.end_ms:
        return quiet.start_ms <= time_of_day_ms < quiet.end_ms
    return time_of_day_ms >= quiet.start_ms or time_of_day_ms < quiet.end_ms


def is_quiet(quiet: QuietRange | None, now: int) -> bool:
    """Whether the user's clock shows a quiet time at `now`."""
    return quiet is not None and _contains(quiet, _time_of_day(quiet.zone, now))


def _next_boundary(zone: str, now: int, times_of_day: tuple[int, ...]) -> int:
    """The first instant after `now` at which the clock shows one of the times or its offset changes."""
    shown = _time_of_day(zone, now)
    ahead = min((time - shown) % DAY_MS or DAY_MS for time in times_of_day)
    return next_change(zone, now, now + ahead) or now + ahead


def quiet_end(quiet: QuietRange, now: int) -> int:
    """The first instant after `now` that is outside, for a `now` that is inside."""
    while _contains(quiet, _time_of_day(quiet.zone, now)):
        now = _next_boundary(quiet.zone, now, (quiet.end_ms,))
    return now


def quiet_state(quiet: QuietRange | None, now: int) -> tuple[bool, int]:
    """(inside at `now`, an instant after `now` until which that cannot change)."""
    if quiet is None:
        return False, 1 << 62
    boundary = _next_boundary(quiet.zone, now, (quiet.start_ms, quiet.end_ms))
    return is_quiet(quiet, now), boundary


def next_digest(zone: str, now: int) -> int:
    """The next 09:00 after `now` in the zone; where a gap swallows it, the first instant after the gap."""
    while True:
        shown = _time_of_day(zone, now)
        candidate = now + ((DIGEST_TIME_MS - shown) % DAY_MS or DAY_MS)
        change = next_change(zone, now, candidate)
        if change is None:
            return candidate
        if _skips_digest(zone, change) or _time_of_day(zone, change) == DIGEST_TIME_MS:
            return change
        now = change


def _skips_digest(zone: str, change: int) -> bool:
    """Whether the clock jumps forward over 09:00 at the instant `change`."""
    before = change + offset_at(zone, change - 1)
    after = change + offset_at(zone, change)
    first_nine = before + (DIGEST_TIME_MS - before) % DAY_MS
    return before <= first_nine < after
