"""Who belongs to whom within one key group: followers of each followee, members of each segment, as row sets."""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


class RowSet:
    """A set of rows kept as one sorted array plus the changes since it was last asked for."""

    __slots__ = ("_added", "_removed", "_rows")

    def __init__(self, rows: Rows | None = None) -> None:
        self._rows: npt.NDArray[np.int32] = np.empty(0, np.int32) if rows is None else np.unique(rows).astype(np.int32)
        self._added: set[int] = set()
        self._removed: set[int] = set()

    def add(self, row: int) -> None:
        self._removed.discard(row)
        self._added.add(row)

    def discard(self, row: int) -> None:
        self._added.discard(row)
        self._removed.add(row)

    def rows(self) -> npt.NDArray[np.int32]:
        """The rows, ascending."""
        if self._added or self._removed:
            kept = np.setdiff1d(self._rows, np.fromiter(self._removed, np.int32), assume_unique=True)
            self._rows = np.union1d(kept, np.fromiter(self._added, np.int32)).astype(np.int32)
            self._added.clear()
            self._removed.clear()
        return self._rows

    def __len__(self) -> int:
        return len(self.rows())


class Audience:
    """Named row sets; `changed` collects names whose stored form is stale."""

    def __init__(self) -> None:
        self._sets: dict[str, RowSet] = {}
        self.changed: set[str] = set()

    def add(self, name: str, row: int) -> None:
        self._sets.setdefault(name, RowSet()).add(row)
        self.changed.add(name)

    def discard(self, name: str, row: int) -> None:
        if name in self._sets:
            self._sets[name].discard(row)
            self.changed.add(name)

    def replace(self, name: str, rows: Rows) -> None:
        """Exactly these rows from now on."""
        self._sets[name] = RowSet(rows)
        self.changed.add(name)

    def rows(self, name: str) -> npt.NDArray[np.int32]:
        """Rows of a name, ascending; empty for an unknown one."""
        found = self._sets.get(name)
        return found.rows() if found is not None else np.empty(0, np.int32)

    def names(self) -> list[str]:
        return list(self._sets)
