"""Counted emissions of one key group: exact rolling counts per user (RULES 3.D).

One log of rows in time order, with the time once for each run of entries that share it: four bytes for a recipient of a
slice. Two cursors follow `now - 1 h` and `now - 24 h` and lower the counts of what they pass. Memory is proportional to
the emissions of a day, not to users times caps, and moving time is vectorised. Entries are numbered from the beginning
of time, so a number stays valid when old entries are dropped.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from state.decide.packed_texts import grown
from state.decide.packed_values import AnyRows
from state.model.durations import DAY_MS, HOUR_MS

_NEVER = 1 << 62
_LOOK_BACK = 1 << 12
"""Entries that are searched first for the latest ones of a user."""
_ROOM = 256
"""Entries that there is always room for."""
_SPARE = 4
"""Room for so many times what is left is given back."""
_ONE = np.int32(1)  # of the counts' type: with a plain 1 `subtract.at` takes ten times as long


class EmissionLog:
    """`hour` and `day` are the counts per row as of the last `advance`."""

    def __init__(self) -> None:
        self.hour: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self.day: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self._rows: npt.NDArray[np.int32] = np.zeros(_ROOM, np.int32)
        self._base = 0  # number of the entry at index 0 of the rows
        self._start = 0  # index of the oldest entry of the day
        self._hour_start = 0  # index of the oldest entry of the hour
        self._end = 0
        self._run_times: npt.NDArray[np.int64] = np.zeros(64, np.int64)
        self._run_firsts: npt.NDArray[np.int64] = np.zeros(64, np.int64)  # number of each run's first entry
        self._runs = 0
        self._next_leave = _NEVER

    @property
    def first_entry(self) -> int:
        """Number of the oldest entry kept."""
        return self._base + self._start

    @property
    def next_entry(self) -> int:
        """Number of the entry that comes next."""
        return self._base + self._end

    def reserve_rows(self, rows: int) -> None:
        """Make room for rows 0..rows-1."""
        known = len(self.hour)
        if rows > known:
            self.hour, self.day = grown(self.hour, known, rows), grown(self.day, known, rows)

    def advance(self, now: int) -> None:
        """Let what is no longer in (now - 1 h, now] and (now - 24 h, now] leave the counts."""
        if now < self._next_leave:
            return
        self._hour_start = self._leave(self.hour, self._hour_start, now - HOUR_MS)
        self._start = self._leave(self.day, self._start, now - DAY_MS)
        if self._start > len(self._rows) // 2:
            self._compact()
        self._next_leave = min(self._leave_time(self._hour_start, HOUR_MS), self._leave_time(self._start, DAY_MS))

    def _leave(self, counts: npt.NDArray[np.int32], start: int, horizon: int) -> int:
        run = int(np.searchsorted(self._run_times[: self._runs], horizon, side="right"))
        end = self._end if run == self._runs else int(self._run_firsts[run]) - self._base
        if end <= start:
            return start
        np.subtract.at(counts, self._rows[start:end], _ONE)
        return end

    def _leave_time(self, start: int, window_ms: int) -> int:
        return int(self._times_at(start)) + window_ms if start < self._end else _NEVER

    def _compact(self) -> None:
        kept = self._end - self._start
        self._rows[:kept] = self._rows[self._start : self._end].copy()
        self._base += self._start
        self._hour_start -= self._start
        self._start, self._end = 0, kept
        if len(self._rows) > max(_ROOM, kept * _SPARE):
            self._rows = self._rows[: max(_ROOM, kept * 3 // 2)].copy()  # when all of these leave, more than half
        gone = max(int(np.searchsorted(self._run_firsts[: self._runs], self._base, side="right")) - 1, 0)
        for column in (self._run_times, self._run_firsts):
            column[: self._runs - gone] = column[gone : self._runs].copy()
        self._runs -= gone
        if len(self._run_times) > max(_ROOM, self._runs * _SPARE):
            room = max(_ROOM, self._runs * 2)
            self._run_times, self._run_firsts = self._run_times[:room].copy(), self._run_firsts[:room].copy()

    def add(self, row: int, now: int) -> None:
        """Count one emission at `now`, which never falls."""
        self._begin(1, now)
        self._rows[self._end - 1] = row
        self.hour[row] += 1
        self.day[row] += 1

    def add_rows(self, rows: AnyRows, now: int) -> None:
        """Count one emission for each of the rows, which are distinct."""
        if len(rows):
            self._begin(len(rows), now)
            self._rows[self._end - len(rows) : self._end] = rows
            self.hour[rows] += 1
            self.day[rows] += 1

    def _begin(self, count: int, now: int) -> None:
        """So many entries more, of a run of their own unless the last one has the same time."""
        while self._end + count > len(self._rows):
            self._rows = _doubled(self._rows)
        runs = self._runs
        if not runs or self._run_times[runs - 1] != now:
            if runs == len(self._run_times):
                self._run_times, self._run_firsts = _doubled(self._run_times), _doubled(self._run_firsts)
            self._run_times[runs], self._run_firsts[runs] = now, self._base + self._end
            self._runs += 1
        self._end += count
        self._next_leave = min(self._next_leave, now + HOUR_MS)

    def nth_latest(self, row: int, count: int) -> int:
        """Time of the `count`-th latest counted emission of a row that has at least so many in the last day."""
        for lower in self._look_back():
            found = np.flatnonzero(self._rows[lower : self._end] == row)
            if len(found) >= count:
                return int(self._times_at(lower + found[-count]))
        raise AssertionError("asked for more than are counted")

    def _look_back(self) -> tuple[int, int]:
        """From where to search: most that are asked for are among the latest."""
        return max(self._start, self._end - _LOOK_BACK), self._start

    def nth_latest_of(self, rows: AnyRows, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`nth_latest` of each of distinct rows with its count."""
        wanted = np.zeros(len(self.hour), np.bool_)
        wanted[rows] = True
        latest_first, found = self._rows[:0], np.zeros(0, np.intp)
        for lower in self._look_back():
            latest_first = self._rows[lower : self._end][::-1]
            found = np.flatnonzero(wanted[latest_first])
            if (np.bincount(latest_first[found], minlength=len(wanted))[rows] >= counts).all():
                break
        by_row = found[np.argsort(latest_first[found], kind="stable")]
        firsts = np.searchsorted(latest_first[by_row], rows)
        times: npt.NDArray[np.int64] = self._times_at(self._end - 1 - by_row[firsts + counts - 1])
        return times

    def _times_at(self, places: Any) -> Any:
        """Of entries by their places among the rows."""
        runs = np.searchsorted(self._run_firsts[: self._runs], places + self._base, side="right") - 1
        return self._run_times[runs]

    def since(self, entry: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """(times, rows) of the entries from number `entry` on, for storing."""
        start = max(self._start, entry - self._base)
        first = max(int(np.searchsorted(self._run_firsts[: self._runs], start + self._base, side="right")) - 1, 0)
        places = np.empty(self._runs - first + 1, np.int64)
        places[:-1] = self._run_firsts[first : self._runs]
        places -= self._base
        places[0], places[-1] = start, self._end
        times = np.repeat(self._run_times[first : self._runs], places[1:] - places[:-1])
        return times, self._rows[start : self._end].copy()

    def restore(self, first_entry: int, times: npt.NDArray[np.int64], rows: npt.NDArray[np.int32]) -> None:
        """Take over stored entries in order, into an empty log."""
        self._base, self._end = first_entry, len(times)
        if not len(times):
            return
        self.reserve_rows(int(rows.max()) + 1)
        self._rows = np.concatenate([rows, np.zeros(max(len(self._rows) - len(rows), 0), np.int32)])
        starts = np.flatnonzero(np.diff(times, prepend=times[0] - 1))
        self._run_times, self._run_firsts, self._runs = times[starts], starts + first_entry, len(starts)
        counts = np.bincount(rows, minlength=len(self.hour)).astype(np.int32)
        self.hour, self.day = counts, counts.copy()
        self._next_leave = int(times[0]) + HOUR_MS


def _doubled(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([column, np.zeros_like(column)])
