"""What the command line says before any command runs: its version, help, near names, and names that name nobody."""

import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.places import ROOT
from typer.testing import CliRunner, Result

from flows.cli import app


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_version_is_that_of_the_package() -> None:
    shown = typed("--version")
    assert (shown.exit_code, shown.output) == (0, f"carillon {version('carillon')}\n")


@pytest.mark.parametrize("words", [["ledger"], ["replay", "."], ["replay", ".", "--redeliver"], ["what-if", "."]])
def test_a_stretch_of_time_that_ends_before_it_begins_is_wrong_usage(words: list[str], tmp_path: Path) -> None:
    policy = tmp_path / "new.toml"
    policy.touch()
    more = ["--policy", str(policy)] if words[0] == "what-if" else []
    shown = typed(*words, *more, "--from", "2026-11-30T05:00:00Z", "--to", "2026-11-30T04:00:00Z")
    assert shown.exit_code == 2
    assert "--to is not later than --from" in shown.output


@pytest.mark.parametrize("words", [[], ["check"], ["dead-letters", "show"], ["topics", "create"]])
def test_h_is_help_everywhere(words: list[str]) -> None:
    short, long = typed(*words, "-h"), typed(*words, "--help")
    assert short.exit_code == 0
    assert short.output == long.output


@pytest.mark.parametrize(
    ("words", "near"),
    [(["chek"], "'check'"), (["dead-letters", "lst"], "'list'"), (["topics", "craete"], "'create'")],
)
def test_a_mistyped_command_is_answered_with_the_nearest(words: list[str], near: str) -> None:
    shown = typed(*words)
    assert shown.exit_code == 2
    assert f"Did you mean {near}?" in shown.output


@pytest.mark.parametrize("words", [["types", "--data", "here", "list"], ["templates", "--data=here", "diff"]])
def test_an_option_before_its_command_is_told_where_it_belongs(words: list[str]) -> None:
    shown = typed(*words)
    assert shown.exit_code == 2
    assert f"{words[0]} {words[-1]} --data ..." in shown.output, shown.output


@pytest.mark.parametrize(
    "words",
    [
        ["token", ""], ["explain", "--event", "", "--user", "u"], ["explain", "--event", "e", "--user", ""],
        ["ledger", "--user", ""], ["ledger", "--event", ""], ["dead-letters", "--sender", ""],
        ["dead-letters", "list", "--stage", ""], ["kill", "--sender", ""], ["kill", "--door", ""],
    ],
)  # fmt: skip
def test_an_empty_name_is_no_name(words: list[str], tmp_path: Path) -> None:
    shown = typed(*words, "--data", str(tmp_path))
    assert shown.exit_code == 2, shown.output


def test_what_a_command_stores_is_for_its_account_alone(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    command = [sys.executable, "-m", "flows.cli", "topics", "create", "--data", str(directory)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, umask=0o022)
    stored = [directory, *directory.rglob("*")]
    assert len(stored) > 10
    assert [path for path in stored if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
