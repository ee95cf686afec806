"""RULES 1: repeats, and events kept for a `deliver_at`."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from reference.events import Event, content_of
from reference.registry import DAY
from reference.rollouts import Rollouts


@dataclass(frozen=True, slots=True)
class Mark:
    """A remembered key, event id or latest content, valid in [accepted, until)."""

    event: Event
    until: int


class Acceptance:
    """Which events are taken, and which of them are still kept."""

    def __init__(self) -> None:
        self._by_id: dict[Hashable, Mark] = {}
        self._by_key: dict[Hashable, Mark] = {}
        self._latest: dict[Hashable, Mark] = {}
        self._kept: dict[int, Event] = {}
        self._releases: list[tuple[int, int]] = []
        self._accepted = 0
        self.rollouts = Rollouts()

    def accept(self, event: Event) -> bool:
        """Take the event and remember it, unless it is a repeat."""
        if self._is_repeat(event):
            return False
        start = event.deliver_at if self.is_kept(event) else event.accepted_at
        assert start is not None
        self._by_id[event.event_id] = Mark(event, start + DAY)
        if event.key is not None:
            self._by_key[event.sender, event.key] = Mark(event, start + event.spec.repeat_window)
        else:
            self._latest[kind_of(event)] = Mark(event, start + event.spec.repeat_window)
        return True

    def _is_repeat(self, event: Event) -> bool:
        now = event.accepted_at
        if _valid(self._by_id.get(event.event_id), now):
            return True
        if event.key is not None:
            return _valid(self._by_key.get((event.sender, event.key)), now)
        latest = self._latest.get(kind_of(event))
        if event.cls == "P0" or latest is None or not _valid(latest, now):
            return False
        return content_of(latest.event) == content_of(event)

    @staticmethod
    def is_kept(event: Event) -> bool:
        """Is its `deliver_at` in the future of its acceptance?"""
        return event.deliver_at is not None and event.deliver_at > event.accepted_at

    def keep(self, event: Event) -> None:
        """Hold an accepted event back until its `deliver_at`."""
        assert event.deliver_at is not None
        self._accepted += 1
        self._kept[self._accepted] = event
        heapq.heappush(self._releases, (event.deliver_at, self._accepted))

    def next_release(self) -> int | None:
        """When the next kept event is due."""
        while self._releases and self._releases[0][1] not in self._kept:
            heapq.heappop(self._releases)
        return self._releases[0][0] if self._releases else None

    def release(self) -> Event:
        """The next kept event; several of one time come in the order of their acceptance."""
        return self._kept.pop(heapq.heappop(self._releases)[1])

    def cancel(self, event_id: str) -> None:
        """The cancel record."""
        self._cancel_where(lambda kept: kept.event_id == event_id)
        self.turn(event_id, "cancel")

    def turn(self, event_id: str, verb: str) -> None:
        """The rollout record."""
        self.rollouts.turn(verb, lambda event: event.event_id == event_id)

    def cancel_retracted(self, retraction: Event) -> None:
        """A retraction cancels all kept events like it; with `parent_event_id` only that one."""
        like = _retracted_by(retraction)

        def meant(event: Event) -> bool:
            return _retracted_by(event) == like and retraction.parent in (None, event.event_id)

        self._cancel_where(meant)
        self.rollouts.turn("cancel", meant)

    def _cancel_where(self, chosen: Callable[[Event], bool]) -> None:
        for number in [number for number, event in self._kept.items() if chosen(event)]:
            self._forget(self._kept.pop(number))

    def _forget(self, event: Event) -> None:
        """Frees its key and event id; a keyless one that is the latest of its kind is forgotten as such."""
        _drop(self._by_id, event.event_id, event)
        if event.key is not None:
            _drop(self._by_key, (event.sender, event.key), event)
        else:
            _drop(self._latest, kind_of(event), event)


def kind_of(event: Event) -> Hashable:
    """What two keyless events must share for the later to be a repeat."""
    return event.sender, event.type, event.actor, event.target, event.object, event.segment, event.fan_out_type


def _retracted_by(event: Event) -> Hashable:
    return event.sender, event.type, event.actor, event.target, event.object, event.segment


def _valid(mark: Mark | None, now: int) -> bool:
    return mark is not None and now < mark.until


def _drop(marks: dict[Hashable, Mark], name: Hashable, event: Event) -> None:
    mark = marks.get(name)
    if mark is not None and mark.event is event:
        del marks[name]
