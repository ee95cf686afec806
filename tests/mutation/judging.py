"""What a mutant must pass: the examples worked by hand, seeded random streams, and the checks of tests/state.

What is expected comes from the hand and from the reference model, which import nothing of the product: it is made once
by a parent that has not loaded the product either, and inherited by the forked judges.
"""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers.places import TESTS
from mutation.mutants import OWN_TESTS
from reference.model import simulate
from rules.examples import EXAMPLES
from rules.random_streams import random_stream
from rules.writing import Line, expected_lines

CASE_CPU_SECONDS = 6
"""The unchanged product needs less than half a second for the longest case."""
STREAM_SEEDS = range(2000, 2090)
OWN_SECONDS = 90
"""One test of a module's own, which takes a few on an idle machine; what waits for ever fails."""
_HERE_ONLY = "not kill_9 and not four_writes"
"""A process that a test starts would load the module as it is, and figures are no decisions."""
BULK_FROM = (8, 1)
"""Recipients from which columns decide: as shipped, and always."""


class Case(NamedTuple):
    """Records and the lines they must give."""

    name: str
    records: list[bytes]
    expected: list[Line]
    inbox: bool


def prepare() -> list[Case]:
    """Every case, the hand's before the generated, the small before the large."""
    examples = [Case(e.name, _lines(e.records), _plain(expected_lines(e)), e.inbox) for e in EXAMPLES]
    streams = [(f"stream {seed}", random_stream(seed)) for seed in STREAM_SEEDS]
    generated = [Case(name, _lines(stream), simulate(stream, inbox=True), inbox=True) for name, stream in streams]
    return [*examples, *sorted(generated, key=lambda case: len(case.records))]


def _lines(records: list[Line]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


def _plain(lines: list[Line]) -> list[Line]:
    plain: list[Line] = json.loads(json.dumps(lines))
    return plain


def judge(cases: list[Case], module: str) -> str:
    """The name of the first thing that is not as it must be, or nothing. Loads the product."""
    return _own_tests(OWN_TESTS[module]) if module in OWN_TESTS else _decided(cases)


def _own_tests(file: str) -> str:
    """The first test that fails, of those that run what is loaded here and judge more than its speed."""
    first = _FirstFailure()
    arguments = [
        str(TESTS / file),
        "-x",
        "-q",
        "-k",
        _HERE_ONLY,
        "-p",
        "no:cacheprovider",
        "-W",
        "default::pytest.PytestAssertRewriteWarning",
        "-o",
        f"timeout={OWN_SECONDS}",
    ]
    code = pytest.main(["--rootdir", str(TESTS.parent), *arguments], plugins=[first])
    return "" if code == pytest.ExitCode.OK else first.name or f"error {code!r} of pytest"


class _FirstFailure:
    """Remembers the test that failed, as a plugin of pytest."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.name = self.name or report.location[2]


def _decided(cases: list[Case]) -> str:
    for case in cases:
        _within_seconds()
        for bulk_from in BULK_FROM:
            if run(case.records, inbox=case.inbox, bulk_from=bulk_from) != case.expected:
                return f"{case.name} (columns from {bulk_from})"
    for name, check in _state_checks():
        _within_seconds()
        try:
            check()
        except Exception as error:  # noqa: BLE001 - whatever a check raises says that the mutant is dead
            return f"{name}: {type(error).__name__}"
    return ""


def _within_seconds() -> None:
    """The time for one case runs from now; when it is over, the process ends by the signal."""
    signal.setitimer(signal.ITIMER_VIRTUAL, CASE_CPU_SECONDS)


def run(records: list[bytes], *, inbox: bool, bulk_from: int) -> list[Line]:
    """`carillon simulate` without the engine: only the key groups that a record names, one after the other."""
    from flows.simulation.group import SimulatedGroup
    from flows.simulation.run import _sort_key
    from operators.simulation import Simulation
    from state.model.registry import load_registry

    registry = load_registry()
    simulation = Simulation(registry)
    placed = [entry for line in records for entry in simulation.records(json.loads(line))]
    lines: list[Line] = []
    for group in {record.g for _, record in placed if record.g is not None}:
        mine = [(place, record) for place, record in placed if record.g in (group, None)]
        decided = SimulatedGroup(registry, inbox=inbox, bulk_from=bulk_from)
        lines += decided.on_batch([(mine, False), ([simulation.end()], True)])[0]
    return sorted(lines, key=_sort_key)


def _state_checks() -> Iterator[tuple[str, Any]]:
    from mutation import state_checks

    for name, check in state_checks.CHECKS:

        def in_directory(check: Any = check) -> None:
            with tempfile.TemporaryDirectory() as directory:
                check(Path(directory))

        yield name, in_directory
