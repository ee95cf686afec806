"""How much of malloc's memory this process uses: what C libraries keep, which no object of Python shows."""

import ctypes
import sys

import pytest

_FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"

only_where_malloc_tells = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc tells")


class _Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS.split()]


def used_bytes() -> int:
    """What was asked for and not freed, mapped pieces included."""
    tell = ctypes.CDLL(None).mallinfo2
    tell.restype = _Heap
    heap = tell()
    return int(heap.uordblks) + int(heap.hblkhd)
