"""A machine whose clock is years ahead starts nothing: what waits would be over, and what the log keeps too old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_records
from state.model.errors import LogError, WildClockError

_TOPIC = "work"
_LOOK = 16
"""Records back from the end, where void ones may lie."""
_DEADLINE = timedelta(seconds=3)


def refuse_wild_clock(log: Log, now_ms: int, furthest: timedelta) -> None:
    """Compare with the newest record of the decision log, which gets a tick every second while the system runs.

    A log that does not tell is passed over: P0 does not wait for the brokers of P1.

    :raises WildClockError: the clock is so much later.
    """
    newest = _newest_ms(log)
    if newest is not None and now_ms - newest > furthest // timedelta(milliseconds=1):
        raise WildClockError(
            f"the machine's clock says {_day(now_ms)}, and the newest decision is of {_day(newest)}: more than "
            f"{furthest.days} days (log.rest_max); set the clock right, or raise it if the system rested for so long"
        )


def _newest_ms(log: Log) -> int | None:
    try:
        starts = {
            (_TOPIC, partition): max(log.begin_offset(_TOPIC, partition), log.end_offset(_TOPIC, partition) - _LOOK)
            for partition in range(log.partitions(_TOPIC))
        }
        return max((record.timestamp_ms for record in stored_records(log, starts, deadline=_DEADLINE)), default=None)
    except LogError:
        return None


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"
