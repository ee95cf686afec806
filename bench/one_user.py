"""The rules for one user in plain objects, as every system that decides user by user needs them.

They cover what fan-outs of a type without a window meet: filter, channels, quiet hours, caps, holds. The plain flow and
the programs of `bench/others` share them, so this module needs the standard library and tzdata only.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from operators.quiet import is_quiet, quiet_end
from state.model.preference import Preference, compile_preference

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
Decision = tuple[str, str, str | None]
"""(event, outcome, reason)."""


class Event(Protocol):
    """What the rules ask of an event."""

    @property
    def event_id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def ingested_at(self) -> int: ...
    @property
    def ttl_ms(self) -> int: ...


class Post(NamedTuple):
    """An event as the other systems pass it on."""

    event_id: str
    type: str
    ingested_at: int
    ttl_ms: int


@dataclass
class UserState:
    """What is known of one user."""

    preference: Preference = field(default_factory=lambda: compile_preference({}))
    has_push: bool = False
    emitted: deque[int] = field(default_factory=deque)
    held: list[tuple[int, Event]] = field(default_factory=list)


def decide(state: UserState, event: Event, now: int) -> Decision:
    """Rules A, B and D for one user; the state is changed in place."""
    preference = state.preference
    if now - event.ingested_at > event.ttl_ms:
        return event.event_id, "EXPIRED", None
    if not preference.master:
        return event.event_id, "SUPPRESSED", "master_off"
    setting = preference.types.get(event.type)
    if setting is not None and setting.enabled is False:
        return event.event_id, "SUPPRESSED", "type_off"
    if not state.has_push:
        return event.event_id, "INBOX", None
    return _gate(state, event, now)


def _gate(state: UserState, event: Event, now: int) -> Decision:
    preference = state.preference
    while state.emitted and state.emitted[0] <= now - DAY_MS:
        state.emitted.popleft()
    if preference.quiet is not None and is_quiet(preference.quiet, now):
        state.held.append((quiet_end(preference.quiet, now), event))
        return event.event_id, "HELD", None
    if len(state.emitted) >= preference.max_per_day:
        return event.event_id, "SUPPRESSED", "cap_day"
    in_hour = sum(time > now - HOUR_MS for time in state.emitted)
    if in_hour >= preference.max_per_hour:
        if preference.max_per_hour <= 0:
            return event.event_id, "SUPPRESSED", "cap_hour"
        state.held.append((state.emitted[-preference.max_per_hour] + HOUR_MS, event))
        return event.event_id, "HELD", None
    state.emitted.append(now)
    return event.event_id, "EMITTED", None


def release(state: UserState, now: int) -> list[Decision]:
    """Decide again what was held until now."""
    due = [(time, event) for time, event in state.held if time <= now]
    state.held = [entry for entry in state.held if entry not in due]
    return [decide(state, event, time) for time, event in due]


Stored = dict[str, Any]
"""A user as JSON, for stores that keep it between two events: document (as text), push, emitted, held."""


def new_user(document: Mapping[str, Any], *, push: bool) -> Stored:
    """A user of whom nothing is known but his settings."""
    return {"document": json.dumps(document, sort_keys=True), "push": push, "emitted": [], "held": []}


def decide_stored(user: Stored, event: Post) -> tuple[Stored, Decision]:
    """(the user afterwards, the decision)."""
    state = UserState(_compiled(user["document"]), user["push"], deque(user["emitted"]))
    decision = decide(state, event, event.ingested_at)
    held = [*user["held"], *([until, list(post)] for until, post in state.held if isinstance(post, Post))]
    return {**user, "emitted": list(state.emitted), "held": held}, decision


@lru_cache(maxsize=65_536)
def _compiled(document: str) -> Preference:
    return compile_preference(json.loads(document))
