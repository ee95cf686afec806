"""Repeats among events of P0 (RULES 1): by event_id for a day, by sender and client key for the window of the type."""

from __future__ import annotations

from state.model.durations import DAY_MS
from state.model.event import Event
from state.model.registry import RegistryInForce
from state.transactional.store import TransactionalStore

LaneRepeatKey = tuple[str, str, str]
"""Kind, scope, name."""


class LaneRepeats:
    """The marks of one lane: those that are stored, and those of a batch that is not stored yet."""

    def __init__(self, store: TransactionalStore, types: RegistryInForce) -> None:
        self._store, self._types = store, types
        self._taken: dict[LaneRepeatKey, int] = {}
        self._new: list[tuple[str, str, str, str, int]] = []

    def is_repeat(self, event: Event, at: int) -> bool:
        """Whether a mark of the event holds at that time."""
        return any(
            self._taken.get(mark, 0) > at or self._store.mark(*mark, at) is not None for mark, _ in self._of(event)
        )

    def mark(self, event: Event, at: int) -> None:
        """The event was taken at that time."""
        for mark, lasts in self._of(event):
            self._taken[mark] = at + lasts
            self._new.append((*mark, event.event_id, at + lasts))

    def take_new(self) -> list[tuple[str, str, str, str, int]]:
        """What is to be stored with the batch, which ends; the caller must store it."""
        new, self._new, self._taken = self._new, [], {}
        return new

    def _of(self, event: Event) -> list[tuple[LaneRepeatKey, int]]:
        marks: list[tuple[LaneRepeatKey, int]] = [(("id", "", event.event_id), DAY_MS)]
        if event.idempotency_key is not None:
            window = self._types.current.profile(event.type).repeat_window_ms
            marks.append((("key", event.sender_id, event.idempotency_key), window))
        return marks
