"""Which part of a Bytewax cluster this process is: by the stock runner's arguments, or by the variables it knows.

`python -m bytewax.run FLOW -w 2` is one process with two workers; `-i 1 -a "host:2101;host:2102"` is the second of two
processes. The supervisor's own runner gives the same in `BYTEWAX_PROCESS_ID`, `BYTEWAX_ADDRESSES` and
`BYTEWAX_WORKERS_PER_PROCESS`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from connectors.log.source import LONG_WAIT, SHORT_WAIT
from flows.config.settings import cluster_variables
from state.model.errors import ConfigurationError
from state.model.keys import KEY_GROUPS


class ClusterPlace(NamedTuple):
    """This process among those of its flow; workers count from 0 through all processes, in order."""

    process: int
    processes: int
    workers_per_process: int

    def holds_key(self, number: int) -> bool:
        """Whether Bytewax sends the key `GROUP_KEYS[number]` to a worker of this process.

        :raises ConfigurationError: so many workers that the spelling of the keys does not tell.
        """
        workers = self.processes * self.workers_per_process
        if KEY_GROUPS % workers:
            raise ConfigurationError(f"{workers} workers in all: {KEY_GROUPS} must be a multiple of their number")
        return number % workers // self.workers_per_process == self.process

    def holds_partition(self, number: int) -> bool:
        """Whether this process has the partition of that number, where partitions are dealt out to processes."""
        return number % self.processes == self.process

    def wait(self, *, busy: bool = False) -> timedelta:
        """How long its source may wait for a record: long only while nobody else needs the worker."""
        return SHORT_WAIT if busy or self.processes * self.workers_per_process > 1 else LONG_WAIT

    def name(self, flow: str) -> str:
        """How this process of the flow reports what it obeys."""
        return flow if self.process == 0 else f"{flow}-{self.process}"


ALONE = ClusterPlace(0, 1, 1)


def cluster_place() -> ClusterPlace:
    """Which process of its cluster this one is.

    :raises ConfigurationError: a number that is none, or a process that is not among the addresses.
    """
    from_runner = sys.argv[1:] if sys.argv[0].endswith("run.py") else []
    return place_of(from_runner, cluster_variables())


def place_of(arguments: Sequence[str], variables: Mapping[str, str]) -> ClusterPlace:
    """The place that the runner's arguments name, or these variables where the arguments are silent."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("-w", "--workers-per-process", default=variables.get("BYTEWAX_WORKERS_PER_PROCESS"))
    parser.add_argument("-i", "--process-id", default=variables.get("BYTEWAX_PROCESS_ID"))
    parser.add_argument("-a", "--addresses", default=variables.get("BYTEWAX_ADDRESSES"))
    try:
        given, _ = parser.parse_known_args(list(arguments))
        process, workers = int(given.process_id or 0), int(given.workers_per_process or 1)
    except (argparse.ArgumentError, ValueError) as error:
        raise ConfigurationError(f"-i and -w must be numbers: {error}") from error
    processes = len(given.addresses.split(";")) if given.addresses else 1
    if not 0 <= process < processes or workers < 1:
        raise ConfigurationError(f"-i {process}: there are {processes} addresses, so name 0 to {processes - 1}")
    return ClusterPlace(process, processes, workers)
