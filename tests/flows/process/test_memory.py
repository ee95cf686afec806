"""What processes set of malloc: freed large pieces are the system's again, whatever small ones came between them."""

import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, sys
from flows.process.memory import settle_memory

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.mallinfo2.restype = ctypes.c_void_p, Heap
if "settled" in sys.argv:
    settle_memory()
for _ in range(3):
    large = []
    for _ in range(32):
        large.append(libc.malloc(1 << 20))
        libc.malloc(20_000)
    for each in large:
        libc.free(ctypes.c_void_p(each))
print(libc.mallinfo2().fordblks >> 20)
"""


def _free_megabytes(*arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_what_large_pieces_leave_is_no_hole_in_the_heap() -> None:
    assert _free_megabytes() >= 32, "as malloc does by itself"
    assert _free_megabytes("settled") < 8
