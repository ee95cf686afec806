"""How much of malloc's memory this process uses, which no object of Python shows; and objects that are let go of."""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def no_collector(kind: type) -> Iterator[Callable[[], int]]:
    """Python's collector rests meanwhile; gives how many more of a kind are held than before."""

    def held() -> int:
        return sum(isinstance(each, kind) for each in gc.get_objects())

    gc.collect()
    before = held()  # by other tests
    gc.disable()
    try:
        yield lambda: held() - before
    finally:
        gc.enable()
