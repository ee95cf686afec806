"""`carillon progress`: how far an event is, as the ledger and the decision log say; with a bar for who watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from flows.commands.output import Output
from state.model.ledger import EventCounts

_LOOK = timedelta(milliseconds=500)
_STILL = timedelta(seconds=10)
"""A fan-out that did not move for so long is done: where nobody is left to notify, nothing is decided."""


def show_progress(
    read: Callable[[], EventCounts],
    event: str,
    output: Output,
    *,
    follow: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Print the counts, with `follow` once they stand still; False where nobody has been decided."""
    counts = _followed(read, output, sleep) if follow else read()
    recipients, planned = sum(counts.outcomes.values()), counts.planned
    fan_out = None if planned is None else {"planned": planned, "decided": counts.groups}
    record = {"event_id": event, "recipients": recipients, "outcomes": dict(counts.outcomes)}
    text = f"Event {event}: {recipients} recipients decided"
    if planned is not None:
        text += f", in {counts.groups} of {planned} key groups"
    told = ("outcomes", counts.outcomes), ("deliveries", counts.deliveries), ("heard since", counts.heard)
    for title, named in told:
        text += f"\n  {title}: " + (", ".join(f"{name} {number}" for name, number in sorted(named.items())) or "none")
    deliveries, heard = dict(counts.deliveries), dict(counts.heard)
    if counts.segments:
        text += f"\n  parts of text messages: {counts.segments}, which cost {counts.cost:g}"
    paid = {"segments": counts.segments, "cost": counts.cost}
    output.show(record | {"deliveries": deliveries, "heard": heard, "fan_out": fan_out, **paid}, text)
    return recipients > 0


def _followed(read: Callable[[], EventCounts], output: Output, sleep: Callable[[float], None]) -> EventCounts:
    still, counts = timedelta(), read()
    with output.progress("key groups decided", lines=True) as told:
        while still < _STILL and (not counts.groups or counts.groups < (counts.planned or 0)):
            told(counts.groups, counts.planned or 0)
            sleep(_LOOK.total_seconds())
            before, counts = counts, read()
            still = still + _LOOK if counts == before else timedelta()
    return counts
