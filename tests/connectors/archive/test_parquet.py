"""What a merge took is the system's again: Arrow's allocator keeps it by itself."""

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import random, sys
from pathlib import Path
import pyarrow as pa
from connectors.archive.forms import RAW, raw_table
from connectors.archive.parquet import ArchiveWriter
from connectors.log.interface import Record
from state.model.durations import HOUR_MS

def resident():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) // 1024

writer, choose = ArchiveWriter(Path(sys.argv[1]), form=RAW), random.Random(1)
texts, offset = choose.randbytes(1 << 20), 0
for hour in range(3):
    for part in range(20):
        records = [
            Record("work", 0, offset + n, hour * HOUR_MS, b"k", texts[n * 200 + part : n * 201 + 200], ())
            for n in range(5_000)
        ]
        offset += len(records)
        writer.write(raw_table(records), offset)
    del records
    assert writer.merge_hours((hour + 2) * HOUR_MS)
kept = resident()
pa.default_memory_pool().release_unused()
print(kept - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel tells")
def test_what_a_merge_took_is_given_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert int(done.stdout) < 8
