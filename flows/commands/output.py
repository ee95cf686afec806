"""How commands print: one JSON object per line with `--json`, readable lines otherwise; errors go to standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from rich.console import Console


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command prints."""

    as_json: bool

    def show(self, record: Mapping[str, Any], text: str) -> None:
        """Print the record, or for people the text."""
        if self.as_json:
            sys.stdout.write(orjson.dumps(record).decode() + "\n")
            sys.stdout.flush()
        else:
            Console(highlight=False, soft_wrap=True).print(text, markup=False)

    @property
    def watched(self) -> bool:
        """Whether a person sees the terminal, so that a progress bar makes sense."""
        return not self.as_json and sys.stderr.isatty()


def complain(text: str) -> None:
    """One line for the person who has to act."""
    sys.stderr.write(f"carillon: {text}\n")
