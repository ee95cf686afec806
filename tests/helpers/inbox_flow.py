"""The inbox flow as a program, and what it leaves on the ledger."""

from datetime import timedelta
from typing import Any

import orjson
from helpers.records import PARTITIONS

from connectors.log.interface import Log, Record

RUN = """
import sys
from datetime import timedelta
from pathlib import Path
from bytewax.testing import cluster_main
from flows.process.drain import install_drain
from flows.inbox import InboxFlowOptions, wire
from connectors.inbox.options import InboxRedisOptions
from helpers.records import open_embedded
data = Path(sys.argv[1])
options = InboxFlowOptions(budget=200, counts_interval=timedelta(milliseconds=200))
redis = InboxRedisOptions(sys.argv[3], sys.argv[4]) if len(sys.argv) > 3 else None
flow = wire(lambda: open_embedded(data), data, drain=install_drain(), options=options, redis=redis)
print("ready", flush=True)
cluster_main(flow, [], 0, worker_count_per_proc=int(sys.argv[2]), epoch_interval=timedelta(milliseconds=50))
"""


def read_all(log: Log, topic: str) -> list[Record]:
    """Every record of a topic."""
    start = {(topic, partition): 0 for partition in range(PARTITIONS)}
    reader = log.reader(start)
    found: list[Record] = []
    while batch := reader.poll(10_000, timedelta()):
        found += batch
    reader.close()
    return found


def last_counts(log: Log) -> dict[int, dict[str, Any]]:
    """The last counts that the inbox flow published, per key group."""
    values = [orjson.loads(each.value) for each in read_all(log, "ledger")]
    return {value["group"]: value for value in values if value.get("owner") == "inbox"}
