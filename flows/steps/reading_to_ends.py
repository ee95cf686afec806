"""Reading up to known ends before anything is decided: with a deadline, since a partition may lose its leader."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta

from connectors.log.interface import Reader, Record
from state.model.errors import LogUnavailableError

DEADLINE = timedelta(seconds=30)
"""Without any progress; an election of a leader takes a few seconds."""
_POLL = timedelta(seconds=1)
_BATCH_MAX = 4096


def read_to_ends(
    reader: Reader, ends: Mapping[tuple[str, int], int], *, deadline: timedelta = DEADLINE
) -> Iterator[list[Record]]:
    """Batches until every place is read to its end; records behind the ends may be among them.

    :raises LogUnavailableError: nothing could be read for `deadline`.
    :raises LogError: the log cannot be read.
    """
    position, give_up = reader.position(), time.monotonic() + deadline.total_seconds()
    while behind := [place for place, end in ends.items() if position[place] < end]:
        records = reader.poll(_BATCH_MAX, min(_POLL, deadline))
        now, before, position = time.monotonic(), position, reader.position()
        if position != before:
            give_up = now + deadline.total_seconds()
        elif now > give_up:
            names = ", ".join(f"{topic}/{partition}" for topic, partition in behind)
            raise LogUnavailableError(f"{names}: nothing read for {deadline.total_seconds():.0f} s; has it a leader?")
        yield records
