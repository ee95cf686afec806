"""A seeded sample of the mutation run; `make mutation` runs the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mutation.mutants import MODULES, OWN_TESTS, mutants_of, source_path
from mutation.run import read_equivalent

RUN = Path(__file__).with_name("run.py")


def test_a_sample_of_mutants_dies() -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "--sample", "15", "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "15 mutants: " in done.stdout


def test_every_comparison_and_boolean_of_the_decision_operators_is_changed() -> None:
    mutants = [mutant for module in MODULES for mutant in mutants_of(module)]
    assert len(mutants) > 300
    assert len({(mutant.module, mutant.number) for mutant in mutants}) == len(mutants)
    changes = {mutant.change.split(" (")[0] for mutant in mutants}
    assert {"< -> <=", "< -> >=", "<= -> <", "> -> >=", ">= -> >", "== -> !=", "!= -> ==", "in -> not in"} <= changes
    assert {"not in -> in", "is -> is not", "is not -> is", "and -> or", "or -> and", "drop not", "& -> |"} <= changes
    per_module = {mutant.module for mutant in mutants}
    assert {module for module in MODULES if module not in per_module} == set()


def test_equivalent_mutants_exist_and_have_reasons() -> None:
    known = {mutant.name for module in MODULES for mutant in mutants_of(module)}
    assert set(read_equivalent()) <= known
    assert all(source_path(module).exists() for module in MODULES)
    assert all(RUN.parents[1].joinpath(file).exists() for file in OWN_TESTS.values())
