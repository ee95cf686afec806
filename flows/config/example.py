"""Print `carillon.example.toml`: `python -m flows.config.example > carillon.example.toml`. A test keeps it current."""

from __future__ import annotations

import sys

from flows.config.options import example
from flows.config.settings import Settings

HEAD = """\
# Every key of Carillon's configuration at its default. Copy to carillon.toml and uncomment what differs.
# A variable CARILLON_<KEY>, levels joined by __, wins over the file: CARILLON_GATEWAY__PORT=8700.
# Durations are text with a unit: "500ms", "10s", "5min", "2h", "1d". NAME is a name of your choice.
# `carillon check` prints what is in force, secrets masked, and connects to everything configured.

"""

if __name__ == "__main__":
    sys.stdout.write(HEAD + "\n".join(example(Settings)) + "\n")
