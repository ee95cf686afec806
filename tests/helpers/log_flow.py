"""A dataflow that copies a topic to another one, as a process that tests kill and start again."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main
from helpers.log_harness import Harness

from connectors.log.bytewax import LogSink, LogSource, keyed
from connectors.log.interface import NewRecord, Record


def copies(records: list[Record], destination: str) -> list[tuple[str, NewRecord]]:
    return [keyed(NewRecord(destination, r.partition, r.key, r.value, r.headers)) for r in records]


def main(location: str, source: str, sink: str, directory: str, budget: str, workers: str) -> None:
    """Copy until the file `drain` appears; the recovery store is made on the first run."""
    harness, home = Harness(**json.loads(location)), Path(directory)
    recovery = home / "recovery"
    if not recovery.exists():
        recovery.mkdir()
        init_db_dir(recovery, 2)
    flow = Dataflow("copy")
    read = op.input(
        "read",
        flow,
        LogSource(
            harness.open,
            [source],
            start=lambda _topic, _partition: 0,
            budget=int(budget),
            drain=(home / "drain").exists,
        ),
    )
    copied = op.flat_map("copy", read, lambda records: copies(records, sink))
    op.output("write", copied, LogSink(harness.open, [sink]))
    print("running", flush=True)
    cluster_main(
        flow,
        [],
        0,
        epoch_interval=timedelta(milliseconds=50),
        recovery_config=RecoveryConfig(recovery),
        worker_count_per_proc=int(workers),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
