"""`carillon types`: listed, tried, published and taken back, as `/v1/types` does it, and kept in the audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_bench import Bench
from typer.testing import CliRunner, Result

from connectors.audit import decode_act
from connectors.types import types_in_force
from flows.cli import app
from state.model.errors import ConfigurationError

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def run(bench: Bench, *words: str, table: Any = None) -> Result:
    given = json.dumps(table)
    return CliRunner().invoke(
        app, ["types", *words, "--data", str(bench.directory)], input=given, catch_exceptions=False
    )  # fmt: skip


def told(bench: Bench, *words: str, table: Any = None) -> Any:
    return json.loads(run(bench, *words, "--json", table=table).stdout)


def test_a_type_is_tried_published_and_taken_back_and_the_audit_says_so(bench: Bench) -> None:
    table = {"channels": ["in_app"], "schema": SCHEMA}
    tried = told(bench, "put", "wave", "-", "--trial", table=table)
    assert (tried["events"], tried["moved"]) == (0, [])
    assert "wave" not in run(bench, "list").stdout, "a trial publishes nothing"
    shown = told(bench, "put", "wave", "-", "--reason", "new", table=table)
    assert (shown["source"], shown["version"], shown["reason"]) == ("published", 1, "new")
    assert json.loads(run(bench, "show", "wave").stdout) == shown
    [line] = [line for line in run(bench, "list").stdout.splitlines() if line.startswith("wave ")]
    assert line.split() == ["wave", "P1", "in_app", "published,", "version", "1"]
    assert types_in_force(bench.log, {}).profile("wave").schema
    assert "decided again" in run(bench, "delete", "wave", "--trial").stdout
    assert told(bench, "delete", "wave", "--reason", "over") == {"type": "wave", "published": None}
    assert not types_in_force(bench.log, {}).profile("wave").registered
    acts = [decode_act(record) for record in bench.read("audit")]
    assert [(act.act, act.about["version"], act.reason, act.role) for act in acts] == [
        ("type", "1", "new", "command line"), ("type", "2", "over", "command line"),
    ]  # fmt: skip
    assert acts[1].after == {"table": None}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema":"\xff"}', b'{"schema":' + b"[" * 60_000])
def test_a_file_that_is_no_table_is_told_as_such(bench: Bench, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "table.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"the table: .*write an object"):
        run(bench, "put", "wave", str(tmp_path / "table.json"))


def test_what_may_not_be_published_is_told_by_its_field(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match=r"table\.channels"):
        run(bench, "put", "wave", "-", table={"channels": ["fax"]})
    with pytest.raises(ConfigurationError, match=r"table\.klass"):
        run(bench, "put", "otp", "-", table={"klass": "P1"})
    with pytest.raises(ConfigurationError, match="write an object"):
        run(bench, "put", "wave", "-", table=[])
    with pytest.raises(ConfigurationError, match="nothing is published"):
        run(bench, "delete", "wave")
    with pytest.raises(ConfigurationError, match="no type has the name"):
        run(bench, "show", "wave")
    assert bench.read("registry") == bench.read("audit") == []


def test_a_schema_follows_the_one_that_was_taken_back(bench: Bench) -> None:
    told(bench, "put", "wave", "-", table={"channels": ["in_app"], "schema": SCHEMA})
    told(bench, "delete", "wave")
    with pytest.raises(ConfigurationError, match=r"schema\.properties\.n is gone"):
        run(bench, "put", "wave", "-", table={"channels": ["in_app"]})
    assert told(bench, "put", "wave", "-", table={"channels": ["push"], "schema": SCHEMA})["version"] == 3
