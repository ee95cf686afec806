"""Bytes of some rows, in one buffer: a row without any costs four bytes at most, and those behind the last none."""

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from state.model.arrow import Column

AnyRows = npt.NDArray[np.integer[Any]]
"""Numbers of rows; those of the type `numpy.intp` index in half the time."""
_LENGTH = 4
_MANY = 400
_SHORT = 12
_KEPT_WASTE = 1 << 16
"""So many bytes are not worth a pass over all rows."""


class ValueStretch(NamedTuple):
    """Values of neighbouring rows, one behind the other."""

    content: bytes
    """Each behind its length, as a buffer has them."""
    sizes: npt.NDArray[np.int32]
    """Of each row, in these bytes; 0: it has none."""


def stretch_of_values(values: Sequence[bytes | None]) -> ValueStretch:
    """Of single values."""
    stored = [b"" if value is None else _headed(value) for value in values]
    return ValueStretch(b"".join(stored), np.fromiter(map(len, stored), np.int32, len(stored)))


def _headed(value: bytes) -> bytes:
    return len(value).to_bytes(_LENGTH, "little") + value


class PackedValues:
    """A value that was replaced stays in the buffer until a third of it is such waste."""

    def __init__(self, none: bytes = b"", kept_waste: int = _KEPT_WASTE) -> None:
        """`none` stands for the value of a row without one where many are read."""
        self._none, self._kept_waste = none, kept_waste
        self._bytes = bytearray(_headed(none))
        """Each value behind its length; that of no row at 0."""
        self._starts = array("I")
        self._waste = 0

    def get(self, row: int) -> bytes | None:
        """The value of a row."""
        start = self._starts[row] if row < len(self._starts) else 0
        return self._value(start) if start else None

    def _value(self, start: int) -> bytes:
        return self._stored(start)[_LENGTH:]

    def _stored(self, start: int) -> bytes:
        begin = start + _LENGTH
        return bytes(self._bytes[start : begin + int.from_bytes(self._bytes[start:begin], "little")])

    def column(self, rows: AnyRows) -> "Column":
        """The values of rows, as a column of a batch."""
        import pyarrow as pa  # heavy, and needed by large fan-outs alone

        if not len(rows):
            return pa.array([], pa.binary())
        known = np.frombuffer(self._starts, np.uint32)
        if int(np.maximum.reduce(rows)) < len(known):
            starts = known[rows].astype(np.int64)
        else:
            starts, stored = np.zeros(len(rows), np.int64), rows < len(known)
            starts[stored] = known[rows[stored]]
        if len(rows) < _MANY:
            return self._joined(starts)
        buffers = [None, pa.py_buffer(self._views(starts).data), pa.py_buffer(self._bytes)]
        return pa.Array.from_buffers(pa.binary_view(), len(rows), buffers).cast(pa.binary())

    def _views(self, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """Of each value, what Arrow's binary views say: its size, and where it lies or itself if it is short."""
        held = np.frombuffer(self._bytes, np.uint8)
        sizes = np.ndarray((len(held) - _LENGTH + 1,), "<u4", self._bytes, strides=(1,))[starts]
        views = np.zeros((len(starts), 4), np.uint32)
        views[:, 0], views[:, 3] = sizes, starts + _LENGTH
        short = (sizes <= _SHORT).nonzero()[0]
        if len(short):
            places = starts[short, None] + np.arange(_LENGTH, _LENGTH + _SHORT)
            views[short, 1:] = held[np.minimum(places, len(held) - 1)].view("<u4")
        return views

    def _joined(self, starts: npt.NDArray[np.int64]) -> "Column":
        from state.model.arrow_stream import PlainColumn

        held, begins = self._bytes, starts + _LENGTH
        heads = np.frombuffer(held, np.uint8)[starts[:, None] + np.arange(_LENGTH)]
        sizes, offsets = heads.view("<u4")[:, 0], np.zeros(len(starts) + 1, np.int32)
        sizes.cumsum(out=offsets[1:], dtype=np.int32)
        values = [held[begin:end] for begin, end in zip(begins.tolist(), (begins + sizes).tolist(), strict=True)]
        return PlainColumn("binary", len(starts), 0, (b"", offsets.tobytes(), b"".join(values)))

    def put(self, row: int, value: bytes) -> None:
        """Let this be the value of a row."""
        missing = row + 1 - len(self._starts)
        if missing > 0:
            self._starts.extend(bytes(missing))
        elif self._starts[row]:
            self._waste += _LENGTH + len(self._value(self._starts[row]))
        self._starts[row] = len(self._bytes)
        self._bytes += _headed(value)
        if self._waste > max(self._kept_waste, len(self._bytes) // 3):
            self._compact()

    def stored(self, row: int) -> bytes:
        """The value of a row behind its length; nothing where it has none."""
        start = self._starts[row] if row < len(self._starts) else 0
        return self._stored(start) if start else b""

    def stretch(self, part: range) -> ValueStretch:
        """The values of neighbouring rows."""
        values = [*map(self.stored, part)]
        return ValueStretch(b"".join(values), np.fromiter(map(len, values), np.int32, len(values)))

    def extend(self, first: int, values: ValueStretch) -> None:
        """The values of neighbouring rows behind all that have one."""
        sizes = values.sizes.astype(np.uint32)
        starts = sizes.cumsum(dtype=np.uint32) - sizes + np.uint32(len(self._bytes))
        starts[sizes == 0] = 0
        self._starts.frombytes(bytes(_LENGTH * (first - len(self._starts))) + starts.tobytes())
        self._bytes += values.content

    def trim(self) -> None:
        """Give back room that was taken for more."""
        self._bytes, self._starts = self._bytes[:], self._starts[:]

    def replace(self, first: int, values: ValueStretch) -> None:
        """The values of neighbouring rows in place of theirs; one without keeps what it has."""
        begin = 0
        for row, size in enumerate(values.sizes.tolist(), first):
            if size:
                self.put(row, values.content[begin + _LENGTH : begin + size])
            begin += size

    def _compact(self) -> None:
        kept = PackedValues(self._none)
        kept.extend(0, self.stretch(range(len(self._starts))))
        self._bytes, self._starts, self._waste = kept._bytes, kept._starts, 0

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Rows that have one, ascending; none may change meanwhile."""
        return ((row, self._value(start)) for row, start in enumerate(self._starts) if start)
