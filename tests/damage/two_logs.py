"""Writes a database whose last commits are in two write-ahead logs, and dies as by kill -9."""

import os
import signal
import sys
from pathlib import Path

from rocksdict import AccessType, Rdict, WriteBatch

from state.disk.rocksdb import database_options, synced

ROWS = 400


def main() -> None:
    options = database_options()
    options.set_write_buffer_size(64 << 10)
    options.set_max_write_buffer_number(8)
    options.set_min_write_buffer_number_to_merge(7)  # so that full buffers wait in memory, and their logs on the disk
    database = Rdict(sys.argv[1], options=options, access_type=AccessType.read_write())
    database[b"\x00format"] = b"two"
    for number in range(ROWS):
        batch = WriteBatch(raw_mode=True)
        batch.put(b"r%05d" % number, os.urandom(500))
        batch.put(b"M", b"%d" % number)
        database.write(batch, write_opt=synced())
    assert len(list(Path(sys.argv[1]).glob("*.log"))) > 1
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
