"""Sources that note when they are asked for more: the flow's sign of life is made of it (`flows.process.liveness`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from threading import get_ident
from typing import Any

from bytewax.dataflow import Dataflow, Operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from state.progress import made

Asked = Callable[[int], None]


class _Watched(StatefulSourcePartition[Any, Any]):
    """A partition that tells the number of the thread that asks it."""

    def __init__(self, part: StatefulSourcePartition[Any, Any], asked: Asked) -> None:
        self._part, self._asked = part, asked

    def next_batch(self) -> Any:
        made()
        self._asked(get_ident())
        return self._part.next_batch()

    def next_awake(self) -> datetime | None:
        return self._part.next_awake()

    def snapshot(self) -> Any:
        return self._part.snapshot()

    def close(self) -> None:
        self._part.close()


def watch_sources(flow: Dataflow, asked: Asked) -> None:
    """Let every source of the flow tell which thread asks it, from the first time on."""
    for source in _sources(flow.substeps):
        _watch(source, asked)


def _watch(source: FixedPartitionedSource[Any, Any], asked: Asked) -> None:
    build = source.build_part

    def build_watched(step_id: str, for_part: str, resume_state: Any) -> _Watched:
        return _Watched(build(step_id, for_part, resume_state), asked)

    source.build_part = build_watched  # type: ignore[method-assign]  # a flow cannot be given another source


def _sources(steps: Sequence[Operator]) -> Iterator[FixedPartitionedSource[Any, Any]]:
    for step in steps:
        source = getattr(step, "source", None)
        if isinstance(source, FixedPartitionedSource):
            yield source
        yield from _sources(step.substeps)
