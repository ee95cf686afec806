"""Memory in a process that serves.

Decisions and rows make many small objects that live for an epoch and hold no cycles. With the usual thresholds of
Python's garbage collector 15 to 30 % of the time in decide and inbox went to looking through them. So it looks seldom,
and never at what the start left behind.

RocksDB gathers what is written in pieces of a megabyte, some dozens at a time, and then frees them all. Malloc maps a
large piece by itself and unmaps it when it is freed, but once it has seen that it takes the next ones from its heap.
There small pieces that stay come between them, and what is freed is lost to the system: 34 of decide's 206 MB after a
day.
"""

import ctypes
import gc

_THRESHOLDS = (200_000, 50, 100)
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGE_BYTES = 1 << 20
_KEPT_BYTES = 8 << 20
"""At the end of a heap. Once the other number is set, malloc would give back 128 KiB, and take it again soon."""


def settle_memory() -> None:
    """To be called once, when the process has started and before it writes to a store."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # a setting of glibc: another library has its own ways
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
