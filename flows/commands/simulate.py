"""`carillon simulate`: what the rules make of a record file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import orjson
from rich.console import Console
from rich.progress import Progress

from flows.simulation.run import run_simulation
from state.disk.files import replacing
from state.model.registry import Registry

_STEP = 1000


def simulate(
    source: Path, target: Path | None, *, registry: Registry, inbox: bool, workers: int, batch: int, watched: bool
) -> int:
    """Read records, write the ledger's lines to `target` or standard output; gives the number of lines."""
    with source.open("rb") as stream:
        lines = run_simulation(
            _with_progress(stream, source.stat().st_size, watched),
            inbox=inbox,
            workers=workers,
            batch=batch,
            registry=registry,
        )
    with _writer(target) as out:
        for line in lines:
            out.write(orjson.dumps(line) + b"\n")
    return len(lines)


def _with_progress(stream: BinaryIO, size: int, watched: bool) -> Iterator[bytes]:
    if not watched:
        yield from stream
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("deciding", total=size)
        read = 0
        for number, line in enumerate(stream):
            read += len(line)
            if number % _STEP == 0:
                progress.update(task, completed=read)
            yield line


@contextmanager
def _writer(target: Path | None) -> Iterator[BinaryIO]:
    if target is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with replacing(target) as stream:
        yield stream
