"""`carillon kill`: names that exist, and what is in force."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    assert CliRunner().invoke(app, ["topics", "create", "--data", str(tmp_path)]).exit_code == 0
    return tmp_path


def kill(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["kill", *arguments, "--data", str(data)])


@pytest.mark.parametrize(
    ("option", "name", "nearest"),
    [
        ("--type", "lik", "nearest: like"), ("--sender", "suport", "nearest: support"), ("--channel", "psh", "push"),
        ("--drain", "apn", "nearest: apns"), ("--drain", "P9", "there are: P0, P1, P2, apns"),
        ("--key", "op", "nearest: ops"),
        ("--door", "nobody", "there are: admin, marketing, ops, p0_producer, producer, support"),
    ],
)  # fmt: skip
def test_a_name_that_nothing_has_is_refused(data: Path, option: str, name: str, nearest: str) -> None:
    refused = kill(data, option, name)
    assert refused.exit_code != 0
    assert nearest in str(refused.exception)
    assert kill(data, "--list").output == "No kill switch is set, every door is open, and nothing is drained.\n"
    assert kill(data, option, name, "--force").exit_code == 0
    assert kill(data, option, name, "--lift").exit_code == 0, "what is set can be lifted"


def test_what_is_in_force_is_listed(data: Path) -> None:
    for words in (
        ["--type", "like", "--reason", "a loop"],
        ["--all"],
        ["--door", "producer"],
        ["--all", "--lift"],
        ["--drain", "P0"],
        ["--key", "ops", "--reason", "stolen"],
        ["--drain", "apns"],
        ["--drain", "apns", "--lift"],
    ):
        assert kill(data, *words).exit_code == 0
    shown = [json.loads(line) for line in kill(data, "--list", "--json").output.splitlines()]
    assert [(each["scope"], each["value"], each["reason"]) for each in shown] == [
        ("type", "like", "a loop"), ("door", "producer", None), ("drain", "P0", None),
        ("key", "ops", "stolen"),
    ]  # fmt: skip
    assert all(each["by"] and each["since"] for each in shown)
    line = kill(data, "--list").output.splitlines()[0]
    assert line.startswith("type like stopped since 20")
    assert line.endswith(f"Z by {shown[0]['by']}: a loop")
    assert kill(data, "--list", "--all").exit_code == 2
