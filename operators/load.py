"""How loaded a station is, and from that its level (RULES 1, "Load"; DECISIONS, Load). Pure.

The score is the largest of: how far each of its lanes is behind, over the lag that is allowed; and how full its fullest
lane is. At most 1. A provider that is away or slow fills the lanes that wait for it, and they read no further. But to
refuse P1 would not help a provider, and would keep it from the inbox and from other channels: stations that send ask
for the first level at most.

A level is reached and left one at a time. It takes `RISE_MS` of a score above the next threshold to go up, without
catching up meanwhile: the backlog of a restart or an outage sheds nothing as long as it shrinks fast. It takes
`FALL_MS` of a score clearly below the level's own threshold to come down, so that senders who were told to wait do not
all come back at once.
"""

from collections.abc import Iterable
from typing import NamedTuple

THRESHOLDS = (0.7, 0.85, 0.95)
"""A score above the n-th leads to level n + 1."""
CLEARANCE = 0.1
"""How far below its threshold the score must be for a level to be left."""
RISE_MS = 2_000
FALL_MS = 3_000


def load_score(lags_ms: Iterable[int], allowed_ms: int, full: float) -> float:
    """From 0, at rest, to 1; `full` is the share of its room that the fullest lane uses."""
    lag = max(lags_ms, default=0) / allowed_ms
    return round(min(1.0, max(0.0, lag, full)), 3)


class LoadLevel(NamedTuple):
    """Where a station stands."""

    level: int = 0
    heading: int = 0
    """1: the score asks for the next level, -1: for the one below, 0: for neither."""
    since_ms: int = 0
    """Since when it asks for that, or the last step there."""


def next_level(
    before: LoadLevel, score: float, now_ms: int, *, highest: int = len(THRESHOLDS), catching_up: bool = False
) -> LoadLevel:
    """After another look at the score; no level above `highest` is asked for."""
    level, heading = before.level, 0
    if level < highest and score > THRESHOLDS[level] and not catching_up:
        heading = 1
    elif level > 0 and score < THRESHOLDS[level - 1] - CLEARANCE:
        heading = -1
    if heading != before.heading:
        return LoadLevel(level, heading, now_ms)
    if heading and now_ms - before.since_ms >= (RISE_MS if heading > 0 else FALL_MS):
        return LoadLevel(level + heading, heading, now_ms)
    return before
