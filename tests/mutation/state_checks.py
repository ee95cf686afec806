"""Checks of tests/state and of what the ledger says beyond a simulation, as functions of a directory."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from helpers.places import TESTS

_MOST = 9
"""Sets of parameters per test: enough to kill, quick enough for hundreds of mutants."""
_FILES = (
    "state/decide/test_pending",
    "state/sequence/test_repeats",
    "state/schedule/test_kept",
    "state/decide/test_audience",
    "state/decide/test_switches",
    "state/decide/test_emitted",
    "state/decide/test_checkpoint",
    "state/decide/test_held",
    "operators/test_decide_given_up",
    "operators/test_decide",
    "flows/steps/decide/test_outputs_two_ways",
    "operators/test_dedup",
    "operators/test_sequence",
)


def _checks() -> list[tuple[str, Callable[[Path], Any]]]:
    found: list[tuple[str, Callable[[Path], Any]]] = []
    for file in _FILES:
        spec = importlib.util.spec_from_file_location(f"checked_{Path(file).name}", TESTS / f"{file}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        tests = [(name, value) for name, value in vars(module).items() if name.startswith("test_")]
        found += [(f"{Path(file).name}.{name}", each) for name, value in tests for each in _calls(value)]
    return found


def _calls(test: Callable[..., Any]) -> list[Callable[[Path], Any]]:
    """One call per set of parameters; `tmp_path` is what the caller gives."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    wants = "tmp_path" in inspect.signature(test).parameters
    chosen: list[dict[str, Any]] = [{}]
    for mark in marks:
        names, values = mark.args
        chosen = [one | _named(names, value) for one in chosen for value in list(values)[:_MOST]]
    return [partial(_call, test, wants, arguments) for arguments in chosen]


def _named(names: str | tuple[str, ...], value: Any) -> dict[str, Any]:
    return {names: value} if isinstance(names, str) else dict(zip(names, value, strict=True))


def _call(test: Callable[..., Any], wants_directory: bool, arguments: dict[str, Any], directory: Path) -> None:
    test(**arguments, **({"tmp_path": directory} if wants_directory else {}))


CHECKS = _checks()
