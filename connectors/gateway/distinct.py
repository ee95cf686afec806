"""How many different texts there are among any number of them, in bounded memory.

Each text is a 64-bit hash in a spooled file, little-endian, that is sorted in place in the end: 8 bytes of disk a text.
Among ten million texts two different ones share a hash, and count as one, with a chance of one in 370 000.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import xxhash

_BUFFER = 65_536


class DistinctCount:
    """Takes texts, then tells how many are different; a context, which frees the file."""

    def __init__(self, directory: Path) -> None:
        """The file lies in `directory` and has no name there."""
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by the context's end
        self._hashes: list[int] = []
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, *texts: str) -> None:
        """Count texts."""
        self._hashes += [xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) for text in texts]
        if len(self._hashes) >= _BUFFER:
            self._spool()

    def _spool(self) -> None:
        import numpy as np  # heavy, and needed by long ones alone

        self._file.write(np.array(self._hashes, "<u8").tobytes())
        self._written += len(self._hashes)
        self._hashes.clear()

    def count(self) -> int:
        """How many of the texts so far are different."""
        if not self._written:
            return len(set(self._hashes))
        import numpy as np

        self._spool()
        self._file.flush()
        hashes = np.memmap(self._file, "<u8", "r+", shape=(self._written,))
        hashes.sort()
        different = 1
        for begin in range(0, self._written - 1, _BUFFER):
            part = hashes[begin : begin + _BUFFER + 1]
            different += int(np.count_nonzero(part[1:] != part[:-1]))
        return different
