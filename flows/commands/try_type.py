"""`python -m flows.commands.try_type DIR`: what a change of a type would have done, as the gateway asks it.

A process of its own, which gives way to all others: to decide a day again takes the processor for up to a minute.
It reads `{"type","table"}` and prints a `TypeTrial`, or `{"refused"}`, both JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from flows.commands.shared import existing_log, settings_in_force
from state.model.errors import CarillonError, OffsetOutOfRangeError

_DEADLINE_S = 120
_NICE = 15


def try_type(data_dir: Path, name: str, table: dict[str, Any] | None) -> dict[str, Any]:
    """What the other process prints.

    :raises OffsetOutOfRangeError: nothing could be decided again, or not in time.
    """
    command = [sys.executable, "-m", "flows.commands.try_type", str(data_dir)]
    asked = msgspec.json.encode({"type": name, "table": table})
    try:
        done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, timeout=_DEADLINE_S, check=True)
    except subprocess.SubprocessError as error:
        raise OffsetOutOfRangeError("the last day could not be decided again in two minutes") from error
    told: dict[str, Any] = msgspec.json.decode(done.stdout)
    return told


def main(data_dir: Path) -> None:
    """See the module's text."""
    from flows.recovery.type_trial import trial

    os.nice(_NICE)
    asked = msgspec.json.decode(sys.stdin.buffer.read())
    settings = settings_in_force(data_dir)
    try:
        with existing_log(settings) as log:
            told = trial(settings, log, asked["type"], asked["table"])._asdict()
    except CarillonError as error:
        told = {"refused": str(error)}
    sys.stdout.buffer.write(msgspec.json.encode(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
