"""A process that appends to a log, for laws about several processes and about sudden ends."""

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from helpers.log_harness import Harness

from connectors.log.interface import Log, NewRecord


def many(log: Log, topic: str, name: str, batches: str) -> None:
    """Append batches of three and of 40 records in turn, and print the offsets of each batch after it was stored."""
    number = 0
    for batch in range(int(batches)):
        size = 3 if batch % 2 else 40
        records = [NewRecord(topic, 0, name.encode(), str(number + index).encode()) for index in range(size)]
        offsets = log.append(records)
        number += size
        print(json.dumps(offsets), flush=True)


def bell(log: Log, topic: str) -> None:
    """Append the time of the append for every line of input."""
    log.append([NewRecord(topic, 0, b"", b"ready")])
    for _ in sys.stdin:
        log.append([NewRecord(topic, 0, b"", str(time.monotonic()).encode())])


def churn(_log: Log, topic: str, name: str, rounds: str) -> None:
    """Open the log, append, read and close it, over and over."""
    for number in range(int(rounds)):
        log = Harness(**json.loads(sys.argv[1])).open()
        reader = log.reader({(topic, 0): log.begin_offset(topic, 0)})
        log.append([NewRecord(topic, 0, name.encode(), str(number).encode())])
        reader.poll(10, timedelta())
        reader.close()
        log.close()


JOBS: dict[str, Callable[..., None]] = {"churn": churn, "many": many, "bell": bell}

if __name__ == "__main__":
    opened = Harness(**json.loads(sys.argv[1])).open()
    JOBS[sys.argv[2]](opened, *sys.argv[3:])
    opened.close()
