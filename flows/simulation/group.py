"""One key group of a simulation: the decision and inbox operators, and the lines that it prints at the end."""

from collections.abc import Iterator
from typing import Any

from bytewax.operators import StatefulBatchLogic

from operators.bulk import Slice
from operators.decide import apply
from operators.inbox import UserInbox
from operators.inbox_shard import change_rows, take_items
from operators.route import ChannelRoute
from state.decide.group import GroupState
from state.model.inbox import InboxOperation
from state.model.keys import emission_id
from state.model.ledger import Decision
from state.model.records import Emission
from state.model.registry import Registry
from state.model.work import Work

OutputLine = dict[str, Any]
GroupBatch = tuple[list[tuple[int, Work]], bool]
_DECISION_FIELDS = (
    "event_id", "user", "outcome", "reason", "inbox", "emission_id", "channels", "decided_at", "until",
    "cap_hour", "cap_day",
)  # fmt: skip
_EMISSION_FIELDS = (
    "emission_id", "first_event_id", "user", "type", "object", "count", "actors", "channels", "decided_at",
)  # fmt: skip


def decision_line(record: Decision) -> OutputLine:
    """The record with the fields of a simulation."""
    return {"kind": "decision"} | {name: getattr(record, name) for name in _DECISION_FIELDS}


def emission_line(record: Emission) -> OutputLine:
    """The emission with the fields of a simulation."""
    return {"kind": "emission"} | {name: getattr(record, name) for name in _EMISSION_FIELDS}


def slice_lines(
    state: GroupState, decided: Slice
) -> Iterator[tuple[OutputLine, OutputLine | None, InboxOperation | None]]:
    """Decision, emission if there is one, and inbox operation if there is one, of each recipient of a slice."""
    event = decided.event
    windowed = state.registry.profile(event.type).window_ms > 0
    for index, row in enumerate(decided.rows.tolist()):
        ending, user = decided.endings[decided.ending[index]], state.users.ids[row]
        emission = None if ending.route is None else _slice_emission(decided, ending.route, user)
        decision = {
            "kind": "decision", "event_id": event.event_id, "user": user, "outcome": ending.outcome,
            "reason": ending.reason, "inbox": ending.inbox, "emission_id": emission and emission["emission_id"],
            "channels": emission["channels"] if emission else [], "decided_at": decided.now,
            "until": int(decided.until[index]) or None,
            "cap_hour": int(decided.hour[index]) if ending.gated else None,
            "cap_day": int(decided.day[index]) if ending.gated else None,
        }  # fmt: skip
        operation = InboxOperation(
            op="add", user=user, type=event.type, object=event.object, actor=event.actor, event_id=event.event_id,
            windowed=windowed, at=decided.now, place=decided.place,
        )  # fmt: skip
        yield decision, emission, operation if ending.inbox and decided.is_new else None


def _slice_emission(decided: Slice, route: ChannelRoute, user: str) -> OutputLine:
    event = decided.event
    return {
        "kind": "emission", "emission_id": emission_id(user, event.type, event.object, event.event_id),
        "first_event_id": event.event_id, "user": user, "type": event.type, "object": event.object, "count": 1,
        "actors": [] if event.actor is None else [event.actor], "channels": list(route.chosen),
        "decided_at": decided.now,
    }  # fmt: skip


def apply_inbox(inbox: UserInbox, operation: InboxOperation) -> None:
    """One operation of the topic `inbox` on its user's rows."""
    if operation.op == "add":
        inbox.add(
            type=operation.type, object=operation.object, windowed=operation.windowed, event_id=operation.event_id,
            actor=operation.actor, at=operation.at or 0, place=operation.place or 0,
        )  # fmt: skip
    elif operation.op in ("read", "status"):
        change_rows(inbox, operation)
    elif operation.op == "erase":
        inbox.erase()
    else:
        take_items(inbox, operation)


class SimulatedGroup(StatefulBatchLogic[GroupBatch, OutputLine, None]):
    """Applies records in order; the item that is marked last makes it write its lines. Keeps all records in memory."""

    def __init__(self, registry: Registry, *, inbox: bool, bulk_from: int) -> None:
        self._state = GroupState(registry)
        self._state.bulk_from = bulk_from
        self._with_inbox = inbox
        self._decisions: dict[tuple[str, str], OutputLine] = {}
        self._emissions: list[OutputLine] = []
        self._inboxes: dict[str, UserInbox] = {}

    def on_batch(self, values: list[GroupBatch]) -> tuple[list[OutputLine], bool]:
        lines: list[OutputLine] = []
        for records, last in values:
            for place, record in records:
                self._apply(place, record)
            if last:
                lines.extend(self._lines())
        return lines, False

    def _apply(self, place: int, work: Work) -> None:
        out = apply(self._state, work, place)
        for decided in out.slices:  # first: who was held again in a slice may have ended alone since
            self._slice(decided)
        for record in out.decisions:
            self._decisions[record.event_id, record.user] = decision_line(record)
        self._emissions.extend(map(emission_line, out.emissions))
        if self._with_inbox:
            for operation in out.inbox:
                apply_inbox(self._inboxes.setdefault(operation.user, UserInbox()), operation)

    def _slice(self, decided: Slice) -> None:
        for decision, emission, operation in slice_lines(self._state, decided):
            self._decisions[decision["event_id"], decision["user"]] = decision
            if emission is not None:
                self._emissions.append(emission)
            if operation is not None and self._with_inbox:
                apply_inbox(self._inboxes.setdefault(operation.user, UserInbox()), operation)

    def _lines(self) -> list[OutputLine]:
        lines = [*self._decisions.values(), *self._emissions]
        for user, inbox in self._inboxes.items():
            lines += [_row_line(user, row) for row in inbox.rows()]
        return lines

    def snapshot(self) -> None:
        """A simulation is not resumed."""
        return


def _row_line(user: str, row: Any) -> OutputLine:
    return {
        "kind": "inbox", "user": user, "type": row.type, "object": row.object, "first_event_id": row.first_event_id,
        "count": row.count, "actors": list(row.actors), "at": row.at,
    }  # fmt: skip
