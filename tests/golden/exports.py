"""An export as it lies on the disk, kept as text: an earlier release's is loaded by every later one."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from golden import scenario

from state.decide.checkpoint import GroupStore
from state.decide.exports import group_source
from state.disk.exports import write_export


def export(directory: Path) -> dict[str, Any]:
    """The files of an export of decide's golden state, and the rows in it."""
    store = GroupStore(directory / "db")
    store.collect(scenario.GROUP, scenario.decided()[0])
    store.commit()
    written = write_export(directory / "exports", group_source(0, store.database), at=scenario.NOON)
    assert written is not None
    rows = scenario.rows_of(store)
    store.close()
    tables = {path.name: b64encode(path.read_bytes()).decode() for path in written.directory.glob("*.sst")}
    return {"manifest": (written.directory / "manifest.json").read_text(), "tables": tables, "rows": rows}


def put(stored: dict[str, Any], directory: Path) -> Path:
    """The export as files again."""
    home = directory / "000001"
    home.mkdir(parents=True)
    (home / "manifest.json").write_text(stored["manifest"])
    for name, content in stored["tables"].items():
        (home / name).write_bytes(b64decode(content))
    return home


def manifest(stored: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from one writing to the next: tables hold the time and the id of who wrote them."""
    found: dict[str, Any] = json.loads(stored["manifest"])["manifest"]
    return found | {"files": [{"name": each["name"], "rows": each["rows"]} for each in found["files"]]}
