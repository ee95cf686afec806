"""Builds flows in the directory of the settings, and prints as JSON which topics the sources of each were given."""

from __future__ import annotations

import importlib
import json
import os
import sys

from connectors.log.topics import TOPICS

_NAMES = {topic.name for topic in TOPICS}
_DEPTH = 4


def topics_in(part: object, depth: int = _DEPTH) -> set[str]:
    """The names of topics that a part holds."""
    if isinstance(part, str):
        return {part} & _NAMES
    if isinstance(part, list | tuple | set | frozenset):
        return {topic for entry in part if depth for topic in topics_in(entry, depth - 1)}
    if depth == 0 or not hasattr(part, "__dict__"):
        return set()
    return {topic for value in vars(part).values() for topic in topics_in(value, depth - 1)}


def source_topics(name: str) -> list[str]:
    flow = importlib.import_module(f"flows.{name}").build()
    return sorted({topic for step in flow.substeps if hasattr(step, "source") for topic in topics_in(step.source)})


if __name__ == "__main__":
    print(json.dumps({name: source_topics(name) for name in sys.argv[1:]}), flush=True)
    os._exit(0)  # the flows' own threads would keep the process
