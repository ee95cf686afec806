"""What the command line says before any command runs: its version, help, near names, and names that name nobody."""

from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_version_is_that_of_the_package() -> None:
    shown = typed("--version")
    assert (shown.exit_code, shown.output) == (0, f"carillon {version('carillon')}\n")


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
