"""`carillon graph`: a picture of a flow, drawn from the flow itself."""

from __future__ import annotations

import importlib
from pathlib import Path

from bytewax.visualize import to_mermaid

FLOWS = ("sequence", "decide", "transactional", "deliver", "inbox", "track", "schedule")


def mermaid(name: str) -> str:
    """The flow as a mermaid diagram; building it opens nothing."""
    module = importlib.import_module(f"flows.{name}")
    picture: str = to_mermaid(module.build())
    return picture


def existing_flows() -> list[str]:
    """The flows that this version has, in the order of the design."""
    directory = Path(__file__).resolve().parents[1]
    return [name for name in FLOWS if (directory / f"{name}.py").exists()]
