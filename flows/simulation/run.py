"""`carillon simulate`: the decision operators over a totally ordered record file, under a virtual clock (TOPICS,
Records of a simulation).

A real dataflow with one exchange: read and sequence on one worker, decide by key group on all.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main

from flows.simulation.group import GroupBatch, OutputLine, SimulatedGroup
from operators.simulation import Simulation
from state.model.errors import CarillonError, MalformedRecordError
from state.model.group_keys import GROUP_KEYS
from state.model.registry import Registry, load_registry
from state.model.work import BULK_FROM, Work

KeyedBatch = tuple[str, GroupBatch]


class _Lines(StatefulSourcePartition[list[tuple[int, bytes]], None]):
    """Batches of (line number, line); one empty batch says that it was the last."""

    def __init__(self, lines: Iterable[bytes], batch: int) -> None:
        self._lines = iter(enumerate(lines, start=1))
        self._batch = batch
        self._ended = False

    def next_batch(self) -> list[list[tuple[int, bytes]]]:
        if self._ended:
            raise StopIteration
        taken = list(islice(self._lines, self._batch))
        self._ended = not taken
        return [taken]

    def snapshot(self) -> None:
        """A simulation is not resumed."""
        return


class _LineSource(FixedPartitionedSource[list[tuple[int, bytes]], None]):
    def __init__(self, lines: Iterable[bytes], batch: int) -> None:
        self._lines = lines
        self._batch = batch

    def list_parts(self) -> list[str]:
        return ["records"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Lines:
        return _Lines(self._lines, self._batch)


class _Collected(StatelessSinkPartition[OutputLine]):
    def __init__(self, into: list[OutputLine]) -> None:
        self._into = into

    def write_batch(self, items: list[OutputLine]) -> None:
        self._into.extend(items)


class _CollectSink(DynamicSink[OutputLine]):
    """Into a list of this process; a simulation has no other sink to hold back."""

    def __init__(self, into: list[OutputLine]) -> None:
        self._into = into

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Collected:
        return _Collected(self._into)


def _sequencer(simulation: Simulation) -> Callable[[list[tuple[int, bytes]]], Iterator[KeyedBatch]]:
    """Lines to batches by key group, in order; the empty batch ends every group."""

    def sequence(lines: list[tuple[int, bytes]]) -> Iterator[KeyedBatch]:
        groups: dict[int, list[tuple[int, Work]]] = {}
        for number, line in lines:
            for place, record in _parsed(simulation, number, line):
                for group in range(len(GROUP_KEYS)) if record.g is None else (record.g,):
                    groups.setdefault(group, []).append((place, record))
        for group, records in groups.items():
            yield GROUP_KEYS[group], (records, False)
        if not lines:
            for key in GROUP_KEYS:
                yield key, ([simulation.end()], True)

    return sequence


def _parsed(simulation: Simulation, number: int, line: bytes) -> Iterator[tuple[int, Any]]:
    if not line.strip():
        return
    try:
        record = orjson.loads(line)
        if not isinstance(record, dict):
            raise MalformedRecordError("a record is a JSON object")
        yield from simulation.records(record)
    except (orjson.JSONDecodeError, MalformedRecordError) as error:
        raise MalformedRecordError(f"line {number}: {error}") from error


def wire(
    lines: Iterable[bytes],
    into: list[OutputLine],
    registry: Registry,
    *,
    inbox: bool,
    batch: int,
    bulk_from: int = BULK_FROM,
    reads: type[Simulation] = Simulation,
) -> Dataflow:
    """read -> sequence -> (by key group) decide -> collect."""
    flow = Dataflow("simulate")
    read = op.input("read", flow, _LineSource(lines, batch))
    sequenced = op.flat_map("sequence", read, _sequencer(reads(registry)))
    decided = op.stateful_batch(
        "decide", sequenced, lambda _resume: SimulatedGroup(registry, inbox=inbox, bulk_from=bulk_from)
    )
    op.output("collect", op.key_rm("lines", decided), _CollectSink(into))
    return flow


def _sort_key(line: OutputLine) -> tuple[int, str, str, str]:
    time = line["at"] if line["kind"] == "inbox" else line["decided_at"]
    event = line["event_id"] if line["kind"] == "decision" else line["first_event_id"]
    return time, line["user"], event, line["kind"]


def _ours(error: BaseException | None) -> CarillonError | None:
    """The error of ours inside the engine's, if there is one."""
    while error is not None and not isinstance(error, CarillonError):
        error = error.__cause__
    return error


def run_simulation(
    lines: Iterable[bytes],
    *,
    inbox: bool = False,
    workers: int = 1,
    batch: int = 1000,
    registry: Registry | None = None,
    bulk_from: int = BULK_FROM,
    reads: type[Simulation] = Simulation,
) -> list[OutputLine]:
    """The output lines in their final order.

    :param lines: NDJSON records; `ts` never falls.
    :param workers: Bytewax workers (threads of this process).
    :param batch: records that travel through the flow together; it changes nothing but the speed.
    :param bulk_from: recipients in a key group from which an event is decided in columns; it changes only the speed.
    :param reads: what makes records of the decision log of lines; another one may know more kinds.
    :raises MalformedRecordError: with the number of the line, the field and what is wrong.
    """
    collected: list[OutputLine] = []
    registry = registry or load_registry()
    flow = wire(lines, collected, registry, inbox=inbox, batch=batch, bulk_from=bulk_from, reads=reads)
    try:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)
    except BytewaxRuntimeError as error:
        if (ours := _ours(error)) is None:
            raise
        raise ours from None
    return sorted(collected, key=_sort_key)
