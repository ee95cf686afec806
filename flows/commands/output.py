"""How commands print: one JSON object per line with `--json`, readable lines otherwise; errors go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

_LINE_EVERY_S = 10.0


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
            from rich.console import Console  # here alone, since the gateway collects what commands would print

            Console(highlight=False, soft_wrap=True).print(text, markup=False)

    @property
    def watched(self) -> bool:
        """Whether a person sees the terminal, so that a progress bar makes sense."""
        return not self.as_json and sys.stderr.isatty()

    @contextmanager
    def progress(self, doing: str, *, lines: bool = False) -> Iterator[Callable[[int, int], None]]:
        """Takes what is done, and of how much (0: unknown): a bar on standard error for a person who watches.

        For others nothing, or with `lines` a line every ten seconds.
        """
        if not self.watched:
            yield self._lines(doing) if lines else lambda _done, _all: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(doing, total=None)
            yield lambda done, whole: bar.update(task, completed=done, total=whole or None)

    def _lines(self, doing: str) -> Callable[[int, int], None]:
        said = time.monotonic()

        def told(done: int, whole: int) -> None:
            nonlocal said
            if time.monotonic() - said >= _LINE_EVERY_S:
                said = time.monotonic()
                self.show({"doing": doing, "done": done, "of": whole or None}, f"{doing}: {done} of {whole or '?'}")

        return told


def complain(text: str) -> None:
    """One line for the person who has to act."""
    sys.stderr.write(f"carillon: {text}\n")
