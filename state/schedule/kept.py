"""Events kept for later (`deliver_at`, RULES 1), in the order of their release: (deliver_at, acceptance)."""

import heapq
from collections.abc import Iterator

from state.model.event import Event

RetractionKey = tuple[str, str, str | None, str | None, str | None, str | None]


def retraction_key(event: Event) -> RetractionKey:
    """What a retraction and the events that it cancels have in common."""
    return event.sender_id, event.type, event.actor, event.target, event.object, event.segment


class KeptEvents:
    """Kept events by id; a retraction finds those of its key."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        """Ids whose stored form is stale."""
        self._events: dict[str, tuple[int, Event]] = {}
        self._by_key: dict[RetractionKey, set[str]] = {}
        self._order: list[tuple[int, int, str]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._events)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._events

    def keep(self, event: Event) -> None:
        """Keep an event whose `deliver_at` is in the future."""
        assert event.deliver_at is not None
        self._events[event.event_id] = (self._number, event)
        self.changed.add(event.event_id)
        self._by_key.setdefault(retraction_key(event), set()).add(event.event_id)
        heapq.heappush(self._order, (event.deliver_at, self._number, event.event_id))
        self._number += 1

    def remove(self, event_id: str) -> Event | None:
        """Take an event out; None if it is not kept."""
        found = self._events.pop(event_id, None)
        if found is None:
            return None
        self.changed.add(event_id)
        event = found[1]
        ids = self._by_key[retraction_key(event)]
        ids.discard(event_id)
        if not ids:
            del self._by_key[retraction_key(event)]
        return event

    def cancelled_by(self, retraction: Event) -> list[str]:
        """Ids of the kept events that a retraction cancels."""
        ids = self._by_key.get(retraction_key(retraction), set()) - {retraction.event_id}
        parent = retraction.parent_event_id
        return sorted(event_id for event_id in ids if parent is None or event_id == parent)

    def get(self, event_id: str) -> tuple[int, Event] | None:
        """(number of acceptance, event), if it is kept."""
        return self._events.get(event_id)

    def due(self, now: int) -> list[Event]:
        """What is to be released at `now`, in order; it stays kept. Where nothing is, not all others are looked at."""
        if self.first_due(now) is None:
            return []
        due = [
            (event.deliver_at, number, event)
            for number, event in self._events.values()
            if (event.deliver_at or 0) <= now
        ]
        return [event for _, _, event in sorted(due, key=lambda entry: entry[:2])]

    def first_due(self, now: int) -> Event | None:
        """The first of what is due."""
        while self._order:
            due, number, event_id = self._order[0]
            found = self._events.get(event_id)
            if found is not None and found[0] == number:
                return found[1] if due <= now else None
            heapq.heappop(self._order)
        return None

    def events(self) -> Iterator[Event]:
        """All kept events in the order of acceptance, for storing."""
        for _, event in sorted(self._events.values(), key=lambda found: found[0]):
            yield event
