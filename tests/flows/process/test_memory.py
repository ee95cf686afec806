"""What processes set of malloc: freed large pieces are the system's again, whatever small ones came between them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.topics import topic_specs
from flows.config.settings import Settings

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


def test_arrow_in_track_has_no_store_of_freed_memory_of_its_own(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    log = EmbeddedLog(tmp_path, clock=lambda: 1)
    log.ensure_topics(topic_specs(settings.log.partitions, settings.log.retention))
    log.close()
    program = "import pyarrow, flows.track; flows.track.build(); print(pyarrow.default_memory_pool().backend_name)"
    environment = {**os.environ, "CARILLON_DATA_DIR": str(tmp_path), "CARILLON_CONFIG": os.devnull}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.split()[-1] == "system"
