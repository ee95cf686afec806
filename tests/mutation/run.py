"""Mutation run: every comparison and boolean operator of what decides changed, one mutant per process.

    python tests/mutation/run.py [--sample N --seed S] [--module operators.gate] [--jobs 2]

A mutant is killed by the first case that gives other lines than the hand or the reference model says, by a test of
its module, by an error, or by running out of its time. Survivors are printed; one that is not in `equivalent.txt`, and
one that is there but dies or is gone, make the run fail (exit 1).
"""

from __future__ import annotations

import argparse
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import resource
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from mutation import judging  # noqa: E402 - the path is set above
from mutation.mutants import (  # noqa: E402 - the path is set above
    MODULES,
    SIMULATED,
    UNCHANGED,
    Mutant,
    mutants_of,
    mutated,
    source_path,
    unchanged,
)

CPU_SECONDS = 120
"""Processor time of one mutant, ten times what the unchanged product needs; a single case has its own limit."""
WALL_SECONDS = 300
QUICK_STREAMS = 10
"""A sample meets so many streams at first; only what survives those meets all."""
MEMORY_BYTES = 6 << 30
EQUIVALENT = HERE / "equivalent.txt"


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the changed source for one module, and leaves all others alone."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._mutant.module else None

    def exec_module(self, module: ModuleType) -> None:
        tree = mutated(self._mutant.module, self._mutant.number)
        path = source_path(self._mutant.module)
        exec(compile(tree, str(path), "exec", dont_inherit=True), module.__dict__)


def _warm() -> None:
    """Load what mutants have in common: libraries only, nothing of the product."""
    for name in (
        "bytewax.operators",
        "bytewax.testing",
        "hypothesis",
        "msgspec",
        "numpy",
        "orjson",
        "pyarrow",
        "pytest",
    ):
        importlib.import_module(name)
    for name in ("rocksdict", "rfc8785", "xxhash", "structlog"):
        importlib.import_module(name)
    assert not any(name.split(".")[0] in ("operators", "state", "flows") for name in sys.modules), "not fresh"


def _child(mutant: Mutant, cases: list[judging.Case], answer: int) -> None:
    """Judge in a forked process; never returns."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    if mutant.number != UNCHANGED:
        sys.meta_path.insert(0, _Mutated(mutant))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        found = judging.judge(cases, mutant.module)
    except BaseException as error:  # noqa: BLE001 - whatever it raises, it is dead
        found = f"{type(error).__name__}: {error}"[:200]
    os.write(answer, found.encode() or b"SURVIVED")
    os._exit(0)


class _Running(NamedTuple):
    mutant: Mutant
    process: int
    answer: int
    since: float


def _start(mutant: Mutant, cases: list[judging.Case]) -> _Running:
    receiving, sending = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(receiving)
        _child(mutant, cases, sending)
    os.close(sending)
    return _Running(mutant, process, receiving, time.monotonic())


def _finish(running: _Running) -> str:
    """What killed it; empty if it survived."""
    found = os.read(running.answer, 1000).decode()
    os.close(running.answer)
    os.waitpid(running.process, 0)
    return "" if found == "SURVIVED" else found or "out of time or memory"


def judge_all(mutants: Sequence[Mutant], cases: list[judging.Case], jobs: int) -> dict[Mutant, str]:
    """What killed each mutant; empty for survivors."""
    waiting, running, results = list(reversed(mutants)), dict[int, _Running](), dict[Mutant, str]()
    while waiting or running:
        while waiting and len(running) < jobs:
            started = _start(waiting.pop(), cases)
            running[started.answer] = started
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for each in list(running.values()):
            if each.answer in ready:
                del running[each.answer]
                results[each.mutant] = _finish(each)
                _note(each.mutant, results[each.mutant], len(results), len(mutants))
                assert not results[each.mutant].startswith("ModuleNotFoundError"), results[each.mutant]
            elif time.monotonic() - each.since > WALL_SECONDS:
                os.kill(each.process, signal.SIGKILL)  # its pipe closes, so that the next round takes it in
    return results


def _note(mutant: Mutant, killed_by: str, done: int, of: int) -> None:
    if not killed_by and mutant.number != UNCHANGED:
        print(f"survived {mutant.place}: {mutant.change}: {mutant.text}", flush=True)
    if done % 50 == 0:
        print(f"... {done} of {of}", flush=True)


def read_equivalent() -> dict[str, str]:
    """Names of the mutants that decide the same, with the reason: `name # reason`, one a line."""
    known = {}
    for line in EQUIVALENT.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition("  # ")
            assert reason.strip(), f"equivalent.txt: no reason for {name}"
            known[name.strip()] = reason.strip()
    return known


def _report(results: dict[Mutant, str], *, whole: bool) -> int:
    known = read_equivalent()
    survivors = [mutant for mutant, killed_by in results.items() if not killed_by]
    unknown = [mutant for mutant in survivors if mutant.name not in known]
    stale = sorted(set(known) - {mutant.name for mutant in survivors}) if whole else []
    by = Counter(map(_kind, results.values()))
    print(f"{len(results)} mutants: " + ", ".join(f"{number} {kind}" for kind, number in sorted(by.items())))
    for mutant in unknown:
        print(f"SURVIVOR {mutant.place}: {mutant.change}\n    {mutant.name}")
    for name in stale:
        print(f"STALE in equivalent.txt (killed, or no such mutant): {name}")
    return 1 if unknown or stale else 0


def _kind(killed_by: str) -> str:
    if not killed_by:
        return "survived"
    if killed_by.startswith("stream "):
        return "killed by streams"
    if killed_by.startswith("test_"):
        return "killed by checks"
    if killed_by.startswith("out of"):
        return "killed by their deadline"
    return "killed by hand examples" if "(columns from" in killed_by else "killed by an error"


def _open_questions(results: dict[Mutant, str]) -> list[Mutant]:
    """Survivors of a few cases that are not known to be equivalent: they meet all cases."""
    known = read_equivalent()
    return [
        mutant
        for mutant, killed_by in results.items()
        if not killed_by and mutant.name not in known and mutant.module in SIMULATED and mutant.number != UNCHANGED
    ]


def _judge(mutants: list[Mutant], cases: list[judging.Case], given: argparse.Namespace) -> dict[Mutant, str]:
    """What killed each; a sample meets few streams at first, and all if it survives those."""
    few = cases[: len(cases) - len(judging.STREAM_SEEDS) + QUICK_STREAMS] if given.sample else cases
    results = judge_all(mutants, few, given.jobs)
    return results | judge_all(_open_questions(results), cases, given.jobs) if given.sample else results


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=int, help="so many mutants only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--module", action="append", help="these modules only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    mutants = [mutant for module in given.module or MODULES for mutant in mutants_of(module)]
    if given.sample:
        mutants = random.Random(given.seed).sample(mutants, min(given.sample, len(mutants)))
    _warm()
    cases = judging.prepare()
    gc.freeze()
    results: dict[Mutant, str] = {}
    for part in (unchanged(mutants), mutants, unchanged(mutants)):  # on a broken environment everything would die
        found = _judge(part, cases, given)
        results |= found if part is mutants else {}
        broken = {} if part is mutants else {each.module: why for each, why in found.items() if why}
        if broken:
            print(f"the unchanged product fails: {broken}")
            return 1
    return _report(results, whole=not given.sample and not given.module)


if __name__ == "__main__":
    sys.exit(main())
