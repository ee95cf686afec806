"""What preference documents say, as columns by document number, for evaluating thousands of recipients at once.

Derived from `state.decide.preferences`, shared by the key groups of a process, never stored. A document is looked at
again when its number gets another document, and its quiet hours when they begin or end.
"""

import numpy as np
import numpy.typing as npt

from operators.quiet import quiet_end, quiet_state
from operators.route import ordered_channels, type_enabled
from state.decide.preferences import PreferenceTable
from state.model.registry import TypeProfile


def columns_of(table: PreferenceTable) -> "PreferenceColumns":
    """The columns of a table, made at the first call: derived, so one copy serves all groups that share it."""
    if not isinstance(table.derived, PreferenceColumns):
        table.derived = PreferenceColumns(table)
    return table.derived


class _TypeColumns:
    """Per document: is the type enabled, and which list of channels (by number) applies."""

    def __init__(self, renewed: set[int]) -> None:
        self.enabled: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.channels: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self.renewed = renewed


class PreferenceColumns:
    """Columns by document number; call `refresh` before reading."""

    def __init__(self, table: PreferenceTable) -> None:
        self._table = table
        self.master: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.max_per_hour: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.max_per_day: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.quiet: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.quiet_end: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        """Where `quiet`: the first instant outside."""
        self.channel_lists: list[tuple[str, ...]] = []
        self._channel_list_number: dict[tuple[str, ...], int] = {}
        self._quiet_from: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._quiet_until: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        """`quiet` holds from the one instant until before the other: clocks of groups differ."""
        self._fresh = (0, 0)
        """From which instant until before which all of them hold."""
        self._renewed = table.register()
        self._types: dict[TypeProfile, _TypeColumns] = {}

    def refresh(self, now: int) -> None:
        """Bring the columns that no type has up to `now`."""
        size = len(self._table.compiled)
        if self._renewed:
            self._resize(size)
            for number in self._renewed:
                self._renew(number)
            self._renewed.clear()
            self._fresh = (0, 0)
        if not self._fresh[0] <= now < self._fresh[1]:
            self._refresh_quiet(now, size)

    def _resize(self, size: int) -> None:
        for name in ("master", "max_per_hour", "max_per_day", "quiet", "quiet_end", "_quiet_from", "_quiet_until"):
            column = getattr(self, name)
            if len(column) < size:
                room = np.zeros(max(size, 2 * len(column)) - len(column), column.dtype)
                setattr(self, name, np.concatenate([column, room]))

    def _renew(self, number: int) -> None:
        preference = self._table.compiled[number]
        self.master[number] = preference.master
        self.max_per_hour[number] = preference.max_per_hour
        self.max_per_day[number] = preference.max_per_day
        self._quiet_until[number] = 0

    def _refresh_quiet(self, now: int, size: int) -> None:
        """Where quiet hours began or ended since this was looked at, or between this group's clock and another's."""
        stale = (self._quiet_from[:size] > now) | (self._quiet_until[:size] <= now)
        for number in np.flatnonzero(stale).tolist() if stale.any() else ():
            quiet = self._table.compiled[number].quiet
            self.quiet[number], self._quiet_until[number] = quiet_state(quiet, now)
            self._quiet_from[number] = now
            if quiet is not None and self.quiet[number]:
                self.quiet_end[number] = quiet_end(quiet, now)
        self._fresh = int(self._quiet_from[:size].max()), int(self._quiet_until[:size].min())

    def of_type(self, profile: TypeProfile) -> _TypeColumns:
        """The columns of a type, up to date."""
        columns = self._types.get(profile)
        if columns is None:
            columns = self._types[profile] = _TypeColumns(self._table.register())
        if columns.renewed:
            self._renew_type(profile, columns)
        return columns

    def _renew_type(self, profile: TypeProfile, columns: _TypeColumns) -> None:
        missing = len(self._table.compiled) - len(columns.enabled)
        if missing > 0:
            columns.enabled = np.concatenate([columns.enabled, np.zeros(missing, np.bool_)])
            columns.channels = np.concatenate([columns.channels, np.zeros(missing, np.int32)])
        for number in columns.renewed:
            preference = self._table.compiled[number]
            columns.enabled[number] = profile.mandatory or type_enabled(preference, profile)
            columns.channels[number] = self._list_number(ordered_channels(preference, profile))
        columns.renewed.clear()

    def _list_number(self, channels: tuple[str, ...]) -> int:
        number = self._channel_list_number.get(channels)
        if number is None:
            number = self._channel_list_number[channels] = len(self.channel_lists)
            self.channel_lists.append(channels)
        return number
