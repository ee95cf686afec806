"""What a process says when it refuses to start, and what `up` reads of it."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from helpers.places import ROOT

from flows.process.refusal import Refusal, refusal_of, refused_in
from state.model.errors import ConfigurationError, StateDamagedError, StateLockedError


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (StateDamagedError("DIR: move it away"), Refusal("DIR: move it away", passes=False)),
        (StateLockedError("DIR is owned"), Refusal("DIR is owned", passes=True)),
        (caused(RuntimeError("the engine"), ConfigurationError("KEY")), Refusal("KEY", passes=False)),
        (
            PermissionError(13, "Permission denied", "/x"),
            Refusal("/x: Permission denied; mend that, then start again", passes=False),
        ),
        (OSError("of no file"), None),
        (ValueError("a fault of ours"), None),
    ],
)
def test_errors_for_people_are_told_from_faults(error: BaseException, refusal: Refusal | None) -> None:
    assert refusal_of(error) == refusal


def test_the_last_refusal_of_a_log_counts_and_half_a_line_does_not() -> None:
    lines = [
        '{"event": "refused", "detail": "first", "passes": true}',
        '{"event": "refused", "detail": "second", "passes": false}',
        '{"event": "flow_drained"}',
        '{"event": "refused", "detail": "thi',
    ]
    assert refused_in(lines) == Refusal("second", passes=False)
    assert refused_in(lines[2:]) is None


def test_a_launched_process_says_why_it_ends(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text('{"keys": {"prod')
    command = [sys.executable, "-m", "flows.up.launch", "gateway", "module", "flows.gateway", "ordinary"]
    environment = {"CARILLON_DATA_DIR": str(tmp_path), "HOME": str(tmp_path), "CARILLON_CONFIG": "/dev/null"}
    its, ours = os.pipe()  # it lives as long as the other end is open
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=its, capture_output=True, timeout=60, check=False)
    os.close(its)
    os.close(ours)
    last = msgspec.json.decode(done.stderr.splitlines()[-1], type=dict[str, object])
    assert done.returncode == 1
    assert {key: last[key] for key in ("process", "event", "passes")} == {
        "process": "gateway", "event": "refused", "passes": False,
    }  # fmt: skip
    assert last["detail"] == f"{tmp_path}/credentials.json does not decode; delete it and new credentials are made"
