"""An event's way from its recipients to deliveries, with every loss by its name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from state.model.ledger import EventCounts

_SENT = ("EMITTED", "MERGED")


class FunnelStep(NamedTuple):
    """A bar of the picture."""

    name: str
    number: int
    share: float
    """Of the longest bar."""
    lost: tuple[tuple[str, int], ...] = ()
    """Who is not in the next bar, by the outcome that says why."""


def funnel(counts: EventCounts) -> tuple[FunnelStep, ...]:
    """Recipients, those whom something was sent for, deliveries handed out, those that a provider took."""
    outcomes, ends = counts.outcomes, counts.deliveries
    recipients = sum(outcomes.values())
    notified = sum(outcomes.get(name, 0) for name in _SENT)
    handed_out, taken = counts.handed_out + ends.get("FELL_BACK", 0), ends.get("DELIVERED", 0)
    most = max(recipients, handed_out, 1)
    under_way = handed_out - sum(ends.values())
    failed = [(name, number) for name, number in ends.items() if name != "DELIVERED"]
    return (
        FunnelStep(
            "recipients", recipients, recipients / most, _sorted((n, c) for n, c in outcomes.items() if n not in _SENT)
        ),
        FunnelStep("in a notification", notified, notified / most),
        FunnelStep(
            "messages handed out", handed_out, handed_out / most, _sorted([*failed, ("under way", max(0, under_way))])
        ),
        FunnelStep("taken by a provider", taken, taken / most),
    )


def _sorted(losses: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((loss for loss in losses if loss[1]), key=lambda loss: -loss[1]))
