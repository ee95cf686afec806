"""`carillon graph`: a picture of a flow, drawn from the flow itself.

The flow is built in a process and a data directory of its own, which go with the picture: building opens stores.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec

from flows.config.settings import Settings, child_environment, load_settings
from state.model.errors import CarillonError

FLOWS = ("sequence", "decide", "transactional", "deliver", "inbox", "track", "schedule")
"""In the order of the design."""
_DEADLINE = timedelta(seconds=90)


class GraphError(CarillonError):
    """A flow could not be built; the text says why."""


def mermaid(name: str) -> str:
    """The flow as a mermaid diagram.

    :raises GraphError: it cannot be built.
    """
    return printed_by_flows("flows.commands.graph", name, what=f"the flow {name}").rstrip("\n")


def printed_by_flows(module: str, *arguments: str, what: str) -> str:
    """What a module prints that builds these flows, in a process and a data directory which go with it.

    :raises GraphError: one cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="carillon-graph-") as directory:
        settings = replace(load_settings(), data_dir=Path(directory), profile="embedded")
        prepare_directory(settings)
        command, seconds = [sys.executable, "-m", module, *arguments], _DEADLINE.total_seconds()
        environment = child_environment(settings)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise GraphError(f"{what} cannot be built: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def prepare_directory(settings: Settings) -> None:
    """What flows find in a system's directory: topics, and where the sandbox would be."""
    from connectors.sandbox.certificates import SandboxFiles, make_certificates
    from connectors.sandbox.ports import Ports
    from flows.process.opening import open_configured_log, system_topics

    log = open_configured_log(settings)
    log.ensure_topics(system_topics(settings))
    log.close()
    files = SandboxFiles(settings.data_dir / "sandbox")
    make_certificates(files)
    files.ports.write_bytes(msgspec.json.encode(Ports(1, 1, 1, str(files.ca))))


def _draw(name: str) -> None:
    from bytewax.visualize import to_mermaid

    module = importlib.import_module(f"flows.{name}")
    sys.stdout.write(to_mermaid(module.build()) + "\n")


if __name__ == "__main__":
    _draw(sys.argv[1])
