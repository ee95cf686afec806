"""Distinct texts, numbered as they come, in one buffer of bytes: user ids, and names of followees and segments.

A Python string with its place in a list and a dictionary costs about 140 bytes; here it is its bytes and some 20. A
hash table of numbers finds them: open addressing, at most two thirds full. Texts are never removed. The buffers are
those of an Arrow array of texts, so such an array costs nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from state.decide.local_numbers import place_all

if TYPE_CHECKING:
    import pyarrow as pa

    from state.model.arrow import Column

_HOME = 32
"""Where a text's place in the table begins in its hash: in the lower bits the users of one key group are alike."""
_MANY = 1_000
"""Of so many texts Arrow makes a column as quickly."""
_FREE = -1
_SMALL = 1024
_WORD = 8


def encoded(text: str) -> bytes:
    """UTF-8; lone surrogates, which no valid id has, as they are."""
    return text.encode("utf-8", "surrogatepass")


def grown(column: npt.NDArray[Any], used: int, wanted: int) -> npt.NDArray[Any]:
    """A longer column with the same beginning, zeros behind it: twice as long while it is short, then a quarter."""
    longer = np.zeros(max(wanted, len(column) * 2 if len(column) < _SMALL else len(column) * 5 // 4), column.dtype)
    longer[:used] = column[:used]
    return longer


class TextStretch(NamedTuple):
    """Texts one behind the other."""

    content: bytes
    """In UTF-8."""
    lengths: npt.NDArray[np.int32]
    """Of each, in bytes."""
    hashes: npt.NDArray[np.uint64]


def stretch_of(texts: Sequence[str], hashes: npt.NDArray[np.uint64]) -> TextStretch:
    """Of single texts and their hashes."""
    content, lengths = encoded("".join(texts)), np.fromiter(map(len, texts), np.int32, len(texts))
    if lengths.sum() != len(content):
        lengths = np.fromiter((len(encoded(text)) for text in texts), np.int32, len(texts))
    return TextStretch(content, lengths, hashes)


def _gathered(
    content: npt.NDArray[np.uint8], starts: npt.NDArray[np.int32], offsets: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint8]:
    """Stretches of bytes, one behind the other: each between two of the offsets, which begin with 0."""
    places = np.repeat(starts - offsets[:-1], offsets[1:] - offsets[:-1])
    places += np.arange(len(places), dtype=np.int32)
    return content.take(places)


def _offsets(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    lengths.cumsum(out=offsets[1:])
    return offsets


def _words(content: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The eight bytes from each place on."""
    return np.ndarray((len(content) - _WORD + 1,), "<u8", content.data, strides=(1,))


def _some(texts: TextStretch, chosen: npt.NDArray[np.bool_]) -> TextStretch:
    """Those of them that are chosen."""
    inside = np.repeat(chosen, texts.lengths)
    content = np.frombuffer(texts.content, np.uint8)[inside].tobytes()
    return TextStretch(content, texts.lengths[chosen], texts.hashes[chosen])


class PackedTexts:
    """`hash` has the texts' 64-bit hashes by number, and perhaps some zeros behind them."""

    def __init__(self, digest: Callable[[bytes], int] = xxhash.xxh3_64_intdigest) -> None:
        """`digest` is the hash of a text in UTF-8."""
        self._digest = digest
        self.count = 0
        """As `len`, which takes longer."""
        self._last = -1, ""
        """The text that was found or added last: it is mostly asked for next."""
        self._most = 20
        """So many texts the table may have; -1: it lacks some."""
        self._bytes: npt.NDArray[np.uint8] = np.zeros(256, np.uint8)
        self._ends: npt.NDArray[np.int32] = np.zeros(17, np.int32)
        self.hash: npt.NDArray[np.uint64] = np.zeros(16, np.uint64)
        self._slots: npt.NDArray[np.int32] = np.full(32, _FREE, np.int32)
        self._view()

    def _view(self) -> None:
        """Single numbers are read three times as fast through these."""
        self._byte, self._end, self._hashes, self._slot = (
            column.data for column in (self._bytes, self._ends, self.hash, self._slots)
        )
        self._mask = len(self._slots) - 1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> str:
        if number == self._last[0]:
            return self._last[1]
        return str(self._byte[self._end[number] : self._end[number + 1]], "utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(self.count))

    def find(self, text: str) -> int | None:
        """The number of a text, if it has one."""
        content = encoded(text)
        place = self._place(content, self._digest(content))
        number = self._slot[place]  # not before: looking may build another table
        return None if number == _FREE else number

    def add(self, text: str) -> int:
        """The number of a text, which is `len` of before if it is new."""
        content = text.encode("utf-8", "surrogatepass")  # as `encoded`, without the call
        hashed = self._digest(content)
        place = self._place(content, hashed)
        number = self._slot[place]
        if number != _FREE:
            self._last = number, text
            return number
        number = self.count
        self._append(content, [len(content)], [hashed])
        self._slot[place] = number
        return number

    def extend(self, texts: "TextStretch") -> None:
        """Texts that are not there yet."""
        if len(texts.lengths):
            self._append(*texts)
            self._most = -1

    def add_all(self, texts: "TextStretch") -> npt.NDArray[np.int32]:
        """The numbers of distinct texts, of which any may be new."""
        numbers = self._candidates(texts.hashes)
        new = numbers == _FREE
        self._check(texts, numbers)
        alike = np.flatnonzero((numbers == _FREE) & ~new)
        first, indexed = self.count, self._most
        self.extend(_some(texts, new))
        numbers[new] = np.arange(first, self.count)
        if self.count <= indexed:
            self._place_from(first)
            self._most = indexed
        ends = np.cumsum(texts.lengths)
        for at in alike.tolist():
            content = texts.content[ends[at] - texts.lengths[at] : ends[at]]
            numbers[at] = self.add(str(content, "utf-8", "surrogatepass"))
        return numbers

    def _candidates(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """Of each hash, the first text that has it."""
        if self.count > self._most:
            self._index()
        found, left, places = np.full(len(hashes), _FREE, np.int32), np.arange(len(hashes)), self._homes(hashes)
        while len(left):
            numbers = self._slots[places]
            taken = numbers != _FREE
            same = taken & (self.hash[numbers] == hashes[left])
            found[left[same]] = numbers[same]
            on = taken & ~same
            left, places = left[on], places[on] + 1 & self._mask
        return found

    def _check(self, texts: "TextStretch", numbers: npt.NDArray[np.int32]) -> None:
        """Take away numbers of other texts than these: eight bytes of each at a time."""
        self._grow(self.count, self._end[self.count] + _WORD)
        at = np.flatnonzero(numbers != _FREE)
        starts, lengths = self._ends[numbers[at]], texts.lengths[at]
        asked_starts = (np.cumsum(texts.lengths) - texts.lengths)[at]
        ours, asked = _words(self._bytes), _words(np.frombuffer(texts.content + bytes(_WORD), np.uint8))
        differs = self._ends[numbers[at] + 1] - starts != lengths
        for begin in range(0, lengths.max(initial=0), _WORD):
            some = np.flatnonzero((lengths > begin) & ~differs)
            unlike = ours[starts[some] + begin] ^ asked[asked_starts[some] + begin]
            behind = np.clip(begin + _WORD - lengths[some], 0, _WORD - 1) * 8  # bits of what follows the text
            differs[some] = unlike << behind.astype(np.uint64) != 0
        numbers[at[differs]] = _FREE

    def take(self, numbers: npt.NDArray[np.int32]) -> "TextStretch":
        """Some texts, one behind the other."""
        starts, lengths = self._ends[numbers], self._ends[numbers + 1] - self._ends[numbers]
        content = _gathered(self._bytes, starts, _offsets(lengths)).tobytes()
        return TextStretch(content, lengths, self.hash[numbers])

    def _append(
        self,
        content: bytes,
        lengths: Sequence[int] | npt.NDArray[np.int32],
        hashes: Sequence[int] | npt.NDArray[np.uint64],
    ) -> None:
        first, count, used = self.count, self.count + len(lengths), self._end[self.count]
        if used + len(content) > len(self._bytes) or count > len(self.hash):
            self._grow(count, used + len(content))
        self._byte[used : used + len(content)] = content
        if len(lengths) == 1:
            self._end[count], self._hashes[first] = used + int(lengths[0]), int(hashes[0])
        else:
            self._ends[first + 1 : count + 1] = used + np.cumsum(lengths)
            self.hash[first:count] = np.asarray(hashes, np.uint64)
        self.count = count

    def reserve(self, count: int) -> None:
        """Room for the numbers of so many texts."""
        self._grow(count, 0)

    def trim(self) -> None:
        """Give back room that was taken for more bytes."""
        self._bytes = self._bytes[: max(self._end[self.count], 1)].copy()
        self._view()

    def _grow(self, count: int, size: int) -> None:
        if size > len(self._bytes):
            self._bytes = grown(self._bytes, self._end[self.count], size)
        if count > len(self.hash):
            self.hash = grown(self.hash, self.count, count)
            self._ends = grown(self._ends, self.count + 1, len(self.hash) + 1)
        self._view()

    def _place(self, content: bytes, hashed: int) -> int:
        """Where the table has the text, or the free place where it belongs."""
        if self.count > self._most:
            self._index()
        slots, mask, end = self._slot, self._mask, self._end
        place = hashed >> _HOME & mask
        while (number := slots[place]) != _FREE:
            if self._hashes[number] == hashed and self._byte[end[number] : end[number + 1]] == content:
                break
            place = place + 1 & mask
        return place

    def _index(self) -> None:
        """Build the table again, all texts at once."""
        size = max(32, 1 << (self.count * 3 // 2 + 1).bit_length())
        self._slots, self._most = np.full(size, _FREE, np.int32), size * 2 // 3 - 1
        self._view()
        self._place_from(0)

    def _place_from(self, first: int) -> None:
        numbers = np.arange(first, self.count, dtype=np.int32)
        place_all(self._slots, self._homes(self.hash[first : self.count]), numbers)

    def _homes(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        return (hashes >> np.uint64(_HOME) & np.uint64(self._mask)).astype(np.int64)

    def array(self) -> "pa.Array[Any]":
        """All texts, as Arrow text that shares the bytes."""
        import pyarrow as pa  # heavy, and needed by large fan-outs alone

        return pa.StringArray.from_buffers(self.count, pa.py_buffer(self._end), pa.py_buffer(self._byte))

    def column(self, numbers: npt.NDArray[np.integer[Any]]) -> "Column":
        """Some texts, as a column of a batch."""
        from state.model.arrow_stream import PlainColumn

        if len(numbers) >= _MANY:
            return self.array().take(numbers)
        starts = self._ends[numbers]
        offsets = _offsets(self._ends[numbers + 1] - starts)
        content = _gathered(self._bytes, starts, offsets)
        return PlainColumn("text", len(numbers), 0, (b"", offsets.tobytes(), content.tobytes()))
