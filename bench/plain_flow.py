"""The flow that one would write first with Bytewax: one key per user, his state as an object, one item per recipient.

It obeys the same rules for the same workload (fan-outs of a type without a window: filter, channels, quiet hours, caps,
holds) and is written the way Bytewax's guides show: `flat_map` to recipients, `stateful` by user, recovery on.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import StatefulLogic
from bytewax.outputs import Sink

from operators.quiet import is_quiet, quiet_end
from state.model.event import Event
from state.model.preference import Preference, compile_preference

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
Input = tuple[str, Any]
"""("preference", (user, doc)), ("endpoint", user), ("follow", (follower, followee)) or ("event", event)."""


@dataclass
class UserState:
    """What is known of one user."""

    preference: Preference = field(default_factory=lambda: compile_preference({}))
    has_push: bool = False
    emitted: deque[int] = field(default_factory=deque)
    held: list[tuple[int, Event]] = field(default_factory=list)


class DecideUser(StatefulLogic[Input, tuple[str, str, str | None], UserState]):
    """Rules A, B, D and E for one user."""

    def __init__(self, state: UserState | None) -> None:
        self._state = state or UserState()

    def on_item(self, value: Input) -> tuple[list[tuple[str, str, str | None]], bool]:
        kind, body = value
        if kind == "preference":
            self._state.preference = compile_preference(body)
        elif kind == "endpoint":
            self._state.has_push = True
        else:
            return [self._decide(body, body.ingested_at)], False
        return [], False

    def _decide(self, event: Event, now: int) -> tuple[str, str, str | None]:
        state, preference = self._state, self._state.preference
        if now - event.ingested_at > event.ttl_ms:
            return event.event_id, "EXPIRED", None
        if not preference.master:
            return event.event_id, "SUPPRESSED", "master_off"
        setting = preference.types.get(event.type)
        if setting is not None and setting.enabled is False:
            return event.event_id, "SUPPRESSED", "type_off"
        if not state.has_push:
            return event.event_id, "INBOX", None
        return self._gate(event, now)

    def _gate(self, event: Event, now: int) -> tuple[str, str, str | None]:
        state, preference = self._state, self._state.preference
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

    def on_notify(self) -> tuple[list[tuple[str, str, str | None]], bool]:
        due = [(time, event) for time, event in self._state.held if time <= _now_ms()]
        self._state.held = [entry for entry in self._state.held if entry not in due]
        return [self._decide(event, time) for time, event in due], False

    def on_eof(self) -> tuple[list[tuple[str, str, str | None]], bool]:
        return [], False

    def notify_at(self) -> datetime | None:
        if not self._state.held:
            return None
        return datetime.fromtimestamp(min(time for time, _ in self._state.held) / 1000, UTC)

    def snapshot(self) -> UserState:
        state = self._state
        return UserState(state.preference, state.has_push, deque(state.emitted), list(state.held))


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def recipients(followers: dict[str, list[str]]) -> Callable[[Input], list[tuple[str, Input]]]:
    """One keyed item per user concerned; the graph is held beside the flow."""

    def expand(item: Input) -> list[tuple[str, Input]]:
        kind, body = item
        if kind == "event":
            return [(user, item) for user in followers[body.actor]]
        user, value = body
        return [(user, (kind, value))]

    return expand


def wire(source: Source[Input], sink: Sink[Any], followers: dict[str, list[str]]) -> Dataflow:
    """read -> one item per recipient -> decide by user -> write."""
    flow = Dataflow("plain")
    items = op.input("read", flow, source)
    keyed = op.flat_map("recipients", items, recipients(followers))
    decided = op.stateful("decide", keyed, DecideUser)
    op.output("write", decided, sink)
    return flow
