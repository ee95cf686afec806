"""The flow that one would write first with Bytewax: one key per user, his state as an object, one item per recipient.

It obeys the same rules for the same workload (fan-outs of a type without a window: filter, channels, quiet hours, caps,
holds) and is written the way Bytewax's guides show: `flat_map` to recipients, `stateful` by user, recovery on.
"""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import StatefulLogic
from bytewax.outputs import Sink

from bench.one_user import Decision, UserState, decide, release
from state.model.preference import compile_preference

Input = tuple[str, Any]
"""("preference", (user, doc)), ("endpoint", user), ("follow", (follower, followee)) or ("event", event)."""


class DecideUser(StatefulLogic[Input, Decision, UserState]):
    """Rules A, B, D and E for one user."""

    def __init__(self, state: UserState | None) -> None:
        self._state = state or UserState()

    def on_item(self, value: Input) -> tuple[list[Decision], bool]:
        kind, body = value
        if kind == "preference":
            self._state.preference = compile_preference(body)
        elif kind == "endpoint":
            self._state.has_push = True
        else:
            return [decide(self._state, body, body.ingested_at)], False
        return [], False

    def on_notify(self) -> tuple[list[Decision], bool]:
        return release(self._state, _now_ms()), False

    def on_eof(self) -> tuple[list[Decision], bool]:
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


def wire(
    source: Source[Any],
    followers: dict[str, list[str]],
    record: Callable[[tuple[str, Decision]], Any],
    sink: Sink[Any],
) -> Dataflow:
    """read -> one item per recipient -> decide by user -> write."""
    flow = Dataflow("plain")
    items = op.input("read", flow, source)
    keyed = op.flat_map("recipients", items, recipients(followers))
    decided = op.stateful("decide", keyed, DecideUser)
    op.output("write", op.map("record", decided, record), sink)
    return flow
