"""A process that owns a place and appends as fast as it can until it is fenced, and no value twice."""

import itertools
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from helpers.log_harness import SMALL_SEGMENTS, Harness, now_ms

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import Claim, ClaimableLog, Log, NewRecord
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.options import KafkaOptions
from connectors.log.owners import Fence, FencedLog, OwnerRecord, claim_place
from state.model.errors import StateFencedError

FENCED = 4
_OPENED: list[FencedLog] = []


def owner(lock: str, processes: int = 1) -> OwnerRecord:
    """`lock` is a name, or a whole identity; locks of other names are other files of this machine."""
    lock = lock if ":" in lock else f"kernel:1:1:{lock}"
    return OwnerRecord(host="here", lock=lock, pid=os.getpid(), processes=processes, at=now_ms())


def claim(log: ClaimableLog, topic: str, flow: str, lock: str, *, process: int = 0, processes: int = 1) -> Claim:
    return claim_place(log, flow, process, processes, owner(lock, processes), [topic])


def open_claimed(harness: Harness, log: Log, claim: Claim) -> tuple[FencedLog, list[StateFencedError]]:
    """A log under a claim, with a fence that only looks when it must, and what the fence said when it was lost."""
    lost: list[StateFencedError] = []
    fence = Fence(log, claim, on_lost=lost.append)
    _OPENED.append(FencedLog(under(harness, claim), fence))
    return _OPENED[-1], lost


def close_opened() -> None:
    """Close what this test opened under claims."""
    while _OPENED:
        _OPENED.pop().close()


def under(harness: Harness, claim: Claim) -> ClaimableLog:
    """A log whose appends are those of a claim, whether it holds or not."""
    if harness.kind == "embedded":
        return EmbeddedLog(Path(harness.place), clock=now_ms, claim=claim)
    options = KafkaOptions(deadline=timedelta(seconds=harness.deadline_s), topic_settings=SMALL_SEGMENTS)
    return KafkaLog(harness.place, prefix=harness.prefix, options=options, claim=claim)


def record(topic: str, number: int, padding: int) -> NewRecord:
    return NewRecord(topic, 0, os.urandom(padding), str(number).encode())


def main() -> None:
    harness, topic, flow = Harness(**json.loads(sys.argv[1])), sys.argv[2], sys.argv[3]
    log = harness.open()
    fenced, _ = open_claimed(harness, log, claim(log, topic, flow, "child"))
    fenced.fence.start()
    print("claimed", flush=True)
    count, padding = (int(given) for given in sys.argv[4:6]) if len(sys.argv) > 4 else (1, 0)
    for first in itertools.count(0, count):
        try:
            fenced.append([record(topic, number, padding) for number in range(first, first + count)])
            time.sleep(0.001)
        except StateFencedError as error:
            print(error, flush=True)
            os._exit(FENCED)


if __name__ == "__main__":
    main()
