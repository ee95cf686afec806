"""A process with flows of a test: `python -m helpers.stalling_flows DIR FLOW...`, each FLOW one of those below.

idle     nothing ever comes
stuck    its third item never comes back: the dataflow stands still, and every other thread lives
long     its third item takes ten seconds, and each part of it is noted
slow     an item takes a second and a half
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import TopicSpec
from connectors.log.source import LogSource, SourceBatch
from flows.process.drain import install_drain
from flows.up.launch import end_with_parent, run_flows
from state.disk.poison import PoisonJournal

_ITEMS_EVERY = timedelta(milliseconds=200)
_EPOCH = timedelta(milliseconds=100)


def build(name: str, directory: Path) -> Dataflow:
    """The flow of that name."""
    flow = Dataflow(name)
    interval = timedelta(days=1) if name == "idle" else _ITEMS_EVERY
    topics = [TopicSpec("t", 1)]

    def open_log() -> EmbeddedLog:
        log = EmbeddedLog(directory / f"log-{name}", clock=lambda: 0)
        log.ensure_topics(topics)
        return log

    source = LogSource(
        open_log, ["t"], start=lambda _topic, _partition: 0, budget=1, drain=install_drain(), tick=interval
    )
    handled = op.map("handle", op.input("ticks", flow, source), _HANDLERS[name](directory / f"poison-{name}"))
    op.output("out", op.filter("none", handled, lambda _: False), StdOutSink())
    return flow


def _idle(_journal: Path) -> Callable[[SourceBatch], SourceBatch]:
    return lambda tick: tick


def _stuck(path: Path) -> Callable[[SourceBatch], SourceBatch]:
    journal = PoisonJournal.open(path)
    seen: list[SourceBatch] = []

    def handle(tick: SourceBatch) -> SourceBatch:
        seen.append(tick)
        with journal.processing("t", 0, len(seen)):
            if len(seen) == 3 and not journal.suspect("t", 0, 3):
                print("stuck", flush=True)
                time.sleep(600)
        if len(seen) == 3:
            print("skipped", flush=True)
        return tick

    return handle


def _long(path: Path) -> Callable[[SourceBatch], SourceBatch]:
    journal = PoisonJournal.open(path)
    seen: list[SourceBatch] = []

    def handle(tick: SourceBatch) -> SourceBatch:
        seen.append(tick)
        for part in range(20 if len(seen) == 3 else 0):
            with journal.processing("t", 0, part):
                time.sleep(0.5)
        print("handled", len(seen), flush=True)
        return tick

    return handle


def _slow(_path: Path) -> Callable[[SourceBatch], SourceBatch]:
    def handle(tick: SourceBatch) -> SourceBatch:
        time.sleep(1.5)
        print("slow", flush=True)
        return tick

    return handle


_HANDLERS = {"idle": _idle, "stuck": _stuck, "long": _long, "slow": _slow}


def _module(name: str, directory: Path) -> str:
    module = ModuleType(f"flows.test_{name}")
    vars(module).update(build=lambda: build(name, directory))
    sys.modules[module.__name__] = module
    return module.__name__.removeprefix("flows.")


if __name__ == "__main__":
    end_with_parent()
    directory, *names = sys.argv[1:]
    modules = [_module(name, Path(directory)) for name in names]
    code = run_flows(modules, epoch=_EPOCH, ready=lambda: print("runs", flush=True))
    os._exit(code)
