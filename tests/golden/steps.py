"""The steps of a flow, by building it: step ids name rows of Bytewax's recovery store, so they are on-disk format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers.places import ROOT

from flows.commands.graph import prepare_directory
from flows.config.settings import load_settings

_PROGRAM = """
import importlib, sys
from bytewax.visualize import to_json
sys.stdout.write(to_json(importlib.import_module("flows." + sys.argv[1]).build()))
sys.stdout.flush()
import os
os._exit(0)
"""


def step_ids(flow: str, directory: Path) -> dict[str, str]:
    """Step id to kind of step, outer steps before inner ones."""
    prepare_directory(replace(load_settings(), data_dir=directory, profile="embedded"))
    environment = {**os.environ, "CARILLON_DATA_DIR": str(directory), "CARILLON_PROFILE": "embedded"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, flow], env=environment, cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found: dict[str, str] = {}
    _collect(json.loads(done.stdout), found)
    return found


def _collect(step: dict[str, Any], found: dict[str, str]) -> None:
    if "step_id" in step:
        found[step["step_id"]] = step["op_type"]
    for inner in step.get("substeps", ()):
        _collect(inner, found)
