"""`carillon progress`: how far an event is, as the ledger and the decision log say; with a bar for who watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from flows.commands.output import Output
from state.model.ledger import EventCounts

if TYPE_CHECKING:
    from state.schedule.rollouts import Rollout

_LOOK = timedelta(milliseconds=500)
_STILL = timedelta(seconds=10)
"""A fan-out that did not move for so long is done: where nobody is left to notify, nothing is decided."""


def show_progress(
    read: Callable[[], EventCounts],
    event: str,
    output: Output,
    *,
    follow: bool,
    rollout: Callable[[], Rollout | None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Print the counts, with `follow` once they stand still; False where nobody has been decided. `rollout`: how far
    its stages are, if it has any.
    """
    if follow:
        _follow_stages(rollout, output, sleep)
    counts, stages = _followed(read, output, sleep) if follow else read(), rollout()
    recipients, planned = sum(counts.outcomes.values()), counts.planned
    fan_out = None if planned is None else {"planned": planned, "decided": counts.groups}
    record = {"event_id": event, "recipients": recipients, "outcomes": dict(counts.outcomes)}
    text = f"Event {event}: {recipients} recipients decided"
    if not recipients and planned is None and stages is None:
        text += ": it is not decided yet, or there is no such event"
    if planned is not None:
        text += f", in {counts.groups} of {planned} key groups"
    if stages is not None:
        text += f"\n  {stages_said(stages)}"
    told = ("outcomes", counts.outcomes), ("deliveries", counts.deliveries), ("heard since", counts.heard)
    for title, named in told:
        text += f"\n  {title}: " + (", ".join(f"{name} {number}" for name, number in sorted(named.items())) or "none")
    deliveries, heard = dict(counts.deliveries), dict(counts.heard)
    if counts.segments:
        text += f"\n  parts of text messages: {counts.segments}, which cost {counts.cost:g}"
    paid = {"segments": counts.segments, "cost": counts.cost}
    gone = None if stages is None else stages_record(stages)
    output.show(record | {"deliveries": deliveries, "heard": heard, "fan_out": fan_out, "rollout": gone, **paid}, text)
    return recipients > 0


def stages_record(rollout: Rollout) -> dict[str, Any]:
    """As the API tells it."""
    from connectors.gateway.rollouts import rollout_shown  # the gateway is heavy, and most events have no stages

    return dict(asdict(rollout_shown(rollout)))


def stages_said(rollout: Rollout) -> str:
    """In one line."""
    shown = stages_record(rollout)
    stage, stages = shown["stage"], shown["stages"]
    return (
        f"stage {stage} of {len(stages)} ({stages[stage - 1]} %): {shown['percent']} % of the recipients have had "
        f"their turn, {shown['state']}"
    )


def _follow_stages(rollout: Callable[[], Rollout | None], output: Output, sleep: Callable[[float], None]) -> None:
    with output.progress("percent of the recipients", lines=True) as told:
        while (found := rollout()) is not None and not found.is_over:
            told(found.percent, 100)
            sleep(_LOOK.total_seconds())


def _followed(read: Callable[[], EventCounts], output: Output, sleep: Callable[[float], None]) -> EventCounts:
    still, counts = timedelta(), read()
    with output.progress("key groups decided", lines=True) as told:
        while still < _STILL and (not counts.groups or counts.groups < (counts.planned or 0)):
            told(counts.groups, counts.planned or 0)
            sleep(_LOOK.total_seconds())
            before, counts = counts, read()
            still = still + _LOOK if counts == before else timedelta()
    return counts
