"""Repeats in log order: the whole check of RULES 1 by event_id, client key and content."""

from msgspec import UNSET

from operators.identity import content_identity, is_compared_by_content, repeat_kind
from state.model.durations import DAY_MS
from state.model.event import Event
from state.model.registry import Registry
from state.sequence.repeats import RepeatEntry, RepeatIndex, RepeatKey

EventKeys = tuple[RepeatKey, RepeatKey | None]
"""That of its id, and that of its scope if it has one."""
EVENT_ID_WINDOW_MS = DAY_MS
RETRY_WINDOW_MS = 30 * DAY_MS
"""Longer than the letters themselves are retained."""


def _id_key(event: Event) -> RepeatKey:
    """A part's is none that a sender could give to an event."""
    return ("id", event.event_id) if event.part is UNSET else ("part", event.part.id)


def _scope_key(event: Event) -> RepeatKey | None:
    """The client's key in its scope, or the kind whose latest keyless event is compared; None for keyless P0, and for
    parts of a rollout: acceptance has compared the whole.
    """
    if event.part is not UNSET:
        return None
    if event.idempotency_key is not None:
        return ("key", event.sender_id, event.idempotency_key)
    return ("kind", *repeat_kind(event)) if is_compared_by_content(event) else None


def keys_of(event: Event) -> EventKeys:
    """What an event is compared by."""
    return _id_key(event), _scope_key(event)


def original_of(entries: RepeatIndex, event: Event, now: int, keys: EventKeys | None = None) -> str | None:
    """The event_id that `event` repeats at `now`, or None if it is new; `keys`: its `keys_of`, where they are known."""
    own, key = keys or keys_of(event)
    known = entries.get(own, now)
    if known is not None:
        return known.event_id
    entry = entries.get(key, now) if key is not None else None
    if entry is None or (event.idempotency_key is None and entry.content != content_identity(event)):
        return None
    return entry.event_id


def entries_of(
    registry: Registry, event: Event, now: int, keys: EventKeys | None = None
) -> list[tuple[RepeatKey, RepeatEntry]]:
    """The entries of an accepted event: windows run from `now`, for a kept event from its release."""
    start = now if event.deliver_at is None else max(now, event.deliver_at)
    own, key = keys or keys_of(event)
    found = [(own, RepeatEntry(event.event_id, start + EVENT_ID_WINDOW_MS))]
    if key is not None:
        content = content_identity(event) if event.idempotency_key is None else b""
        expires = start + registry.profile(event.type).repeat_window_ms
        found.append((key, RepeatEntry(event.event_id, expires, content)))
    return found


def entries_of_latest(
    entries: RepeatIndex, registry: Registry, event: Event, now: int
) -> list[tuple[RepeatKey, RepeatEntry]]:
    """The entries that make an event the latest of its kind again, for who reads its record a second time. Of a kind
    only the latest is marked, and a repeat of an earlier event must meet that event's entry. As of the event's
    acceptance; `now` if that is forgotten.
    """
    known = entries.get(_id_key(event), 0)
    start = now if known is None else known.expires - EVENT_ID_WINDOW_MS
    return [(key, entry) for key, entry in entries_of(registry, event, start) if key[0] == "kind"]


def remember(entries: RepeatIndex, registry: Registry, event: Event, now: int) -> None:
    """Set the entries of an accepted event."""
    entries.put_all(entries_of(registry, event, now))


def retry_entry(again: str, attempt: str, now: int) -> tuple[RepeatKey, RepeatEntry]:
    """The entry of a record of the decision log that was given back: the same retry counts once."""
    return ("retry", again, attempt), RepeatEntry(again, now + RETRY_WINDOW_MS)


def forget(entries: RepeatIndex, event: Event) -> None:
    """A cancelled event frees its key and event_id; the latest of its kind is forgotten as such."""
    entries.free(_id_key(event), event.event_id)
    key = _scope_key(event)
    if key is not None:
        entries.free(key, event.event_id)
