"""RULES 1, `rollout`: events to many that go in parts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xxhash
from reference.events import Event


@dataclass(slots=True)
class Rollout:
    """How far one of them is: `gone` percent, of which `told` may go."""

    event: Event
    plan: dict[str, Any]
    earliest: int
    gone: int = 0
    stage: int = 0
    last: int = -1
    paused: bool = False
    cancelled: bool = False

    @property
    def over(self) -> bool:
        return self.cancelled or self.gone == 100

    def due(self) -> int | None:
        """When the next part goes at the earliest; None: not before something is said."""
        if self.over or self.paused:
            return None
        if self.gone < self.plan["stages"][self.stage]:
            return self.earliest
        hold = self.plan.get("hold_ms")
        return None if hold is None else max(self.earliest, self.last + hold)

    def release(self, now: int) -> Event:
        """The next part: an event for those whose hash is in its stretch."""
        spread = self.plan.get("spread_ms")
        end = next(p for p in self.plan["stages"] if p > self.gone) if spread is None else self.gone + 1
        part = copy.copy(self.event)
        part.stretch = range(self.gone * 2**64 // 100, end * 2**64 // 100)
        if self.gone >= self.plan["stages"][self.stage]:
            self.stage += 1
        self.gone, self.last, self.earliest = end, now, now + (spread or 0) // 100
        return part

    def turn(self, verb: str) -> None:
        """What somebody says; what does not fit says nothing."""
        if self.over:
            return
        if verb == "cancel":
            self.cancelled = True
        elif verb == "pause":
            self.paused = True
        elif verb == "resume":
            self.paused = False
        elif self.stage + 1 < len(self.plan["stages"]):
            self.stage += 1


class Rollouts:
    """All of them, in the order of their acceptance."""

    def __init__(self) -> None:
        self._all: list[Rollout] = []

    def begin(self, event: Event, plan: dict[str, Any]) -> None:
        self._all.append(Rollout(event, plan, max(event.accepted_at, event.deliver_at or 0)))

    def next_part(self, since: int) -> tuple[int, Rollout] | None:
        """The one whose turn is first, and when; nothing went before `since`."""
        due = [(max(at, since), rollout) for rollout in self._all if (at := rollout.due()) is not None]
        return min(due, key=lambda each: each[0], default=None)

    def turn(self, verb: str, chosen: Callable[[Event], bool]) -> None:
        for rollout in self._all:
            if chosen(rollout.event):
                rollout.turn(verb)


def in_stretch(user: str, stretch: range) -> bool:
    """Whether the user's hash is in it."""
    return xxhash.xxh3_64_intdigest(user.encode("utf-8", "surrogatepass")) in stretch
