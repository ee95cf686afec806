"""A process that owns a place and appends as fast as it can until it is fenced; a file says whether it does now."""

import itertools
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from helpers.log_harness import Harness, now_ms

from connectors.fencing import Fence, FencedLog, Owner, claim_place
from connectors.log.embedded import EmbeddedLog
from connectors.log.interface import Claim, Log, NewRecord
from state.model.errors import StateFencedError

FENCED = 4
OPENED: list[FencedLog] = []
"""What a test has opened, to be closed at its end."""


def owner(lock: str, processes: int = 1) -> Owner:
    """`lock` is a name, or a whole identity; locks of other names are other files of this machine."""
    lock = lock if ":" in lock else f"kernel:1:1:{lock}"
    return Owner(host="here", lock=lock, pid=os.getpid(), processes=processes, at=now_ms())


def claim(
    harness: Harness, log: Log, topic: str, flow: str, lock: str, *, process: int = 0, processes: int = 1,
    patience: timedelta = timedelta(),
) -> Claim:  # fmt: skip
    return claim_place(log, flow, process, processes, owner(lock, processes), [topic], patience=patience)


def open_claimed(harness: Harness, log: Log, claim: Claim) -> tuple[FencedLog, list[StateFencedError]]:
    """A log under a claim, with a fence that only looks when it must, and what the fence said when it was lost."""
    lost: list[StateFencedError] = []
    fence = Fence(log, claim, on_lost=lost.append)
    if harness.kind == "embedded":
        OPENED.append(FencedLog(EmbeddedLog(Path(harness.place), clock=now_ms, claim=claim), fence))
    else:
        OPENED.append(FencedLog(harness.open(), fence))
    return OPENED[-1], lost


def main() -> None:
    harness, topic, flow = Harness(**json.loads(sys.argv[1])), sys.argv[2], sys.argv[3]
    log = harness.open()
    fenced, _ = open_claimed(harness, log, claim(harness, log, topic, flow, "child"))
    fenced.fence.start()
    under_way = os.open(sys.argv[4], os.O_WRONLY)
    print("claimed", flush=True)
    for number in itertools.count():
        try:
            os.pwrite(under_way, b"1", 0)
            fenced.append([NewRecord(topic, 0, b"child", str(number).encode())])
            os.pwrite(under_way, b"0", 0)
            time.sleep(0.001)
        except StateFencedError as error:
            print(error, flush=True)
            os._exit(FENCED)


if __name__ == "__main__":
    main()
