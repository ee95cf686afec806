"""Lengths of time in milliseconds, as the times of events, records and rows are."""

from datetime import timedelta

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


def in_ms(duration: timedelta) -> int:
    """How many whole ones it is."""
    return duration // timedelta(milliseconds=1)
