"""A dataflow that copies a topic to another one, as a process that tests kill and start again."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main
from helpers.log_harness import Harness

from connectors.log.interface import NewRecord
from connectors.log.sink import LogSink, keyed
from connectors.log.source import LogSource, SourceBatch, Tick


class Copier:
    """Copies, and keeps the offsets behind the last complete epoch in a file."""

    def __init__(self, path: Path, destination: str) -> None:
        self._path, self._destination = path, destination
        self._next: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}

    def start(self, _topic: str, partition: int) -> int:
        return self._next.get(str(partition), 0)

    def copies(self, records: SourceBatch) -> list[tuple[str, list[NewRecord]]]:
        if isinstance(records, Tick):
            return []
        self._next[str(records[-1].partition)] = records[-1].offset + 1
        return keyed(NewRecord(self._destination, r.partition, r.key, r.value, r.headers) for r in records)

    def commit(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._next))
        new.rename(self._path)


def main(location: str, source: str, sink: str, directory: str, budget: str, workers: str) -> None:
    """Copy until the file `drain` appears."""
    harness, home = Harness(**json.loads(location)), Path(directory)
    copier = Copier(home / "offsets.json", sink)
    flow = Dataflow("copy")
    read = op.input(
        "read",
        flow,
        LogSource(
            harness.open,
            [source],
            start=copier.start,
            budget=int(budget),
            drain=(home / "drain").exists,
            on_epoch=copier.commit,
        ),
    )
    op.output("write", op.flat_map("copy", read, copier.copies), LogSink(harness.open, [sink]))
    print("running", flush=True)
    cluster_main(flow, [], 0, epoch_interval=timedelta(milliseconds=50), worker_count_per_proc=int(workers))
    copier.commit()  # after a drain the last epoch is complete too


if __name__ == "__main__":
    main(*sys.argv[1:])
