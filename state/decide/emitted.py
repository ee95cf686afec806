"""Counted emissions of one key group: exact rolling counts per user (RULES 3.D).

One log of (time, row, previous entry of the same row) in time order; two cursors follow `now - 1 h` and `now - 24 h`
and lower the counts of what they pass. Memory is proportional to the emissions of a day, not to users times caps, and
moving time is vectorised. Entries are numbered from the beginning of time, so a link stays valid when old entries are
dropped.
"""

import numpy as np
import numpy.typing as npt

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
NONE = -1
_ONE = np.int32(1)  # of the counts' type: with a plain 1 `subtract.at` takes ten times as long


class EmissionLog:
    """`hour` and `day` are the counts per row as of the last `advance`."""

    def __init__(self) -> None:
        self.hour: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self.day: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self.last: npt.NDArray[np.int64] = np.full(64, NONE, np.int64)
        self._times: npt.NDArray[np.int64] = np.zeros(256, np.int64)
        self._rows: npt.NDArray[np.int32] = np.zeros(256, np.int32)
        self._previous: npt.NDArray[np.int64] = np.zeros(256, np.int64)
        self._base = 0  # number of the entry at index 0 of the arrays
        self._start = 0  # index of the oldest entry of the day
        self._hour_start = 0  # index of the oldest entry of the hour
        self._end = 0
        self._next_leave = 1 << 62

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
        while len(self.hour) < rows:
            size = len(self.hour)
            self.hour = np.concatenate([self.hour, np.zeros(size, np.int32)])
            self.day = np.concatenate([self.day, np.zeros(size, np.int32)])
            self.last = np.concatenate([self.last, np.full(size, NONE, np.int64)])

    def advance(self, now: int) -> None:
        """Let what is no longer in (now - 1 h, now] and (now - 24 h, now] leave the counts."""
        if now < self._next_leave:
            return
        self._hour_start = self._leave(self.hour, self._hour_start, now - HOUR_MS)
        self._start = self._leave(self.day, self._start, now - DAY_MS)
        if self._start > len(self._times) // 2:
            self._compact()
        self._next_leave = min(self._leave_time(self._hour_start, HOUR_MS), self._leave_time(self._start, DAY_MS))

    def _leave(self, counts: npt.NDArray[np.int32], start: int, horizon: int) -> int:
        end = start + int(np.searchsorted(self._times[start : self._end], horizon, side="right"))
        if end > start:
            np.subtract.at(counts, self._rows[start:end], _ONE)
        return end

    def _leave_time(self, start: int, window_ms: int) -> int:
        return int(self._times[start]) + window_ms if start < self._end else 1 << 62

    def _compact(self) -> None:
        kept = self._end - self._start
        for column in (self._times, self._rows, self._previous):
            column[:kept] = column[self._start : self._end].copy()
        self._base += self._start
        self._hour_start -= self._start
        self._start, self._end = 0, kept

    def add(self, row: int, now: int) -> None:
        """Count one emission at `now`, which never falls."""
        self._room(1)
        at = self._end
        self._times[at], self._rows[at], self._previous[at] = now, row, self.last[row]
        self.last[row] = self._base + at
        self.hour[row] += 1
        self.day[row] += 1
        self._end = at + 1
        self._next_leave = min(self._next_leave, now + HOUR_MS)

    def add_rows(self, rows: npt.NDArray[np.int32], now: int) -> None:
        """Count one emission for each of the rows, which are distinct."""
        count = len(rows)
        self._room(count)
        part = slice(self._end, self._end + count)
        self._times[part], self._rows[part], self._previous[part] = now, rows, self.last[rows]
        self.last[rows] = self._base + np.arange(self._end, self._end + count)
        self.hour[rows] += 1
        self.day[rows] += 1
        self._end += count
        self._next_leave = min(self._next_leave, now + HOUR_MS)

    def _room(self, count: int) -> None:
        need = self._end + count
        size = len(self._times)
        if need <= size:
            return
        grow = max(size, need - size)
        self._times = np.concatenate([self._times, np.zeros(grow, np.int64)])
        self._rows = np.concatenate([self._rows, np.zeros(grow, np.int32)])
        self._previous = np.concatenate([self._previous, np.zeros(grow, np.int64)])

    def nth_latest(self, row: int, count: int) -> int:
        """Time of the `count`-th latest counted emission of a row that has at least so many in the last day."""
        entry = int(self.last[row])
        for _ in range(count - 1):
            entry = int(self._previous[entry - self._base])
        return int(self._times[entry - self._base])

    def nth_latest_of(self, rows: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`nth_latest` of each row with its count."""
        entries, left = self.last[rows], counts - 1
        while (further := np.flatnonzero(left > 0)).size:
            entries[further] = self._previous[entries[further] - self._base]
            left[further] -= 1
        return self._times[entries - self._base]

    def since(self, entry: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """(times, rows) of the entries from number `entry` on, for storing."""
        part = slice(max(self._start, entry - self._base), self._end)
        return self._times[part].copy(), self._rows[part].copy()

    def restore(self, first_entry: int, times: npt.NDArray[np.int64], rows: npt.NDArray[np.int32]) -> None:
        """Take over stored entries in order, into an empty log."""
        count = len(times)
        self._base, self._end = first_entry, count
        if not count:
            return
        self.reserve_rows(int(rows.max()) + 1)
        room = np.zeros(max(len(self._times) - count, 0), np.int64)
        self._times = np.concatenate([times, room])
        self._rows = np.concatenate([rows, room.astype(np.int32)])
        self._previous = np.concatenate([self._links(rows), room])
        counts = np.bincount(rows, minlength=len(self.hour)).astype(np.int32)
        self.hour, self.day = counts, counts.copy()
        self._next_leave = int(times[0]) + HOUR_MS

    def _links(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """For each entry the number of the row's previous entry; `last` then names the newest of each row."""
        by_row = np.argsort(rows, kind="stable")
        grouped, numbers = rows[by_row], by_row + self._base
        follows = grouped[1:] == grouped[:-1]
        links = np.full(len(rows), NONE, np.int64)
        links[by_row[1:][follows]] = numbers[:-1][follows]
        last = np.append(~follows, [True])
        self.last[grouped[last]] = numbers[last]
        return links
