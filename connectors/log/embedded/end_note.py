"""A note beside each partition file of the embedded log: up to where appends were acknowledged.

SQLite silently drops a damaged or missing end of its write-ahead log. The file is then sound, but as it was some
commits ago: acknowledged records would be gone, their offsets would be given out again, and no reader would notice. So
after each commit a process notes the offset that follows it. A partition that ends below the highest note is damaged.

File `<partition>.end`: 64 unsigned 64-bit little-endian integers; a process writes number (its pid modulo 64). No lock
is needed, since each process writes its own number and its offsets rise. Two processes with one number can only make
the note lower than it could be. Costs 1 us an append.
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

_PLACES = struct.Struct("<64Q")
_PLACE = struct.Struct("<Q")


def highest_note(path: Path) -> int:
    """What was noted beside the partition file `path`; 0 where nothing was."""
    try:
        content = _note_path(path).read_bytes()
    except FileNotFoundError:
        return 0
    whole = content[: _PLACES.size].ljust(_PLACES.size, b"\0")
    return int(max(_PLACES.unpack(whole)))


class EndNote:
    """One process's place in the file."""

    def __init__(self, path: Path) -> None:
        """Open the file beside the partition file `path`; it is made at its full size, so that no note needs space.

        :raises OSError: the disk refuses.
        """
        self._descriptor = os.open(_note_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, _PLACES.size)
        except (AttributeError, OSError) as error:  # not on this system, or not on this kind of file system
            if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            os.ftruncate(self._descriptor, max(_PLACES.size, os.fstat(self._descriptor).st_size))
        self._at = os.getpid() % 64 * _PLACE.size

    def write(self, end: int) -> None:
        """Note that everything below `end` is committed."""
        os.pwrite(self._descriptor, _PLACE.pack(end), self._at)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _note_path(path: Path) -> Path:
    return path.with_suffix(".end")
