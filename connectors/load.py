"""What stations say of their load in `control`, for those who give way: gateways and `sequence`.

A report is repeated while it says anything, and forgotten when it was not: a place that is gone holds nobody up.
"""

from __future__ import annotations

from datetime import timedelta

from connectors.log.interface import NewRecord, Record
from state.model.load import LOAD, LoadReport
from state.model.topics import CONTROL

REPEATED_EVERY = timedelta(seconds=15)
FORGOTTEN_AFTER = timedelta(seconds=60)
_FORGOTTEN_MS = FORGOTTEN_AFTER // timedelta(milliseconds=1)


def load_record(report: LoadReport) -> NewRecord:
    """The record that says it."""
    return NewRecord(CONTROL, 0, f"load\0{report.place}".encode(), LOAD.encode(report), LOAD.headers)


def is_load(record: Record) -> bool:
    """Whether it is a report, and no switch."""
    return record.topic == CONTROL and dict(record.headers).get("schema") == LOAD.json


class LoadLevels:
    """The last report of each place. One thread notes, any may ask."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[LoadReport, int]] = {}

    def note(self, record: Record) -> None:
        """Take a report, as of the time at which the log took it.

        :raises MalformedRecordError: it does not decode.
        """
        if record.value:
            report = LOAD.decode(record.value)
            self._reports = self._reports | {report.place: (report, record.timestamp_ms)}

    def level(self, now_ms: int, *, but: str = "") -> int:
        """The highest that holds, of all places but those of one flow."""
        return max(
            (each.level for each in self._holding(now_ms) if each.place.partition("/")[0] != but),
            default=0,
        )

    def away(self, now_ms: int) -> frozenset[str]:
        """What cannot be sent by one place at least."""
        return frozenset(name for each in self._holding(now_ms) for name in each.away)

    def _holding(self, now_ms: int) -> list[LoadReport]:
        return [report for report, at in self._reports.values() if now_ms - at < _FORGOTTEN_MS]
