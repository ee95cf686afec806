"""One key group of a simulation: the decision and inbox operators, and the lines that CONTRACT asks for at the end."""

from typing import Any

from bytewax.operators import StatefulBatchLogic

from operators.decide import apply
from operators.inbox import UserInbox
from state.group import GroupState
from state.model.records import Decision, Emission, InboxOperation
from state.model.registry import Registry
from state.model.work import Work

Line = dict[str, Any]
GroupBatch = tuple[list[tuple[int, Work]], bool]
_DECISION_FIELDS = (
    "kind", "event_id", "user", "outcome", "reason", "inbox", "emission_id", "channels", "decided_at", "until",
    "cap_hour", "cap_day",
)  # fmt: skip
_EMISSION_FIELDS = (
    "emission_id", "first_event_id", "user", "type", "object", "count", "actors", "channels", "decided_at",
)  # fmt: skip


def decision_line(record: Decision) -> Line:
    """The record with the fields of a simulation."""
    return {name: getattr(record, name) for name in _DECISION_FIELDS}


def emission_line(record: Emission) -> Line:
    """The emission with the fields of a simulation."""
    return {"kind": "emission"} | {name: getattr(record, name) for name in _EMISSION_FIELDS}


def apply_inbox(inbox: UserInbox, operation: InboxOperation) -> None:
    """One operation of the topic `inbox` on its user's rows."""
    type_name = operation.type or ""
    if operation.op == "add":
        assert operation.event_id is not None
        assert operation.at is not None
        assert operation.place is not None
        inbox.add(
            type=type_name, object=operation.object, windowed=operation.windowed, event_id=operation.event_id,
            actor=operation.actor, at=operation.at, place=operation.place,
        )  # fmt: skip
    elif operation.op == "take_back":
        inbox.take_back(type=type_name, object=operation.object, event_id=operation.event_id or "")
    elif operation.op == "retract":
        inbox.retract(
            type=type_name, actor=operation.actor, object=operation.object, parent_event_id=operation.parent_event_id
        )
    else:
        assert operation.up_to is not None
        inbox.read(operation.up_to)


class SimulatedGroup(StatefulBatchLogic[GroupBatch, Line, None]):
    """Applies records in order; the item that is marked last makes it write its lines. Keeps all records in memory."""

    def __init__(self, registry: Registry, *, inbox: bool) -> None:
        self._state = GroupState(registry)
        self._with_inbox = inbox
        self._decisions: dict[tuple[str, str], Decision] = {}
        self._emissions: list[Emission] = []
        self._inboxes: dict[str, UserInbox] = {}

    def on_batch(self, values: list[GroupBatch]) -> tuple[list[Line], bool]:
        lines: list[Line] = []
        for records, last in values:
            for place, record in records:
                self._apply(place, record)
            if last:
                lines.extend(self._lines())
        return lines, False

    def _apply(self, place: int, record: Work) -> None:
        out = apply(self._state, record, place)
        for decided in out.decisions:
            self._decisions[decided.event_id, decided.user] = decided
        self._emissions.extend(out.emissions)
        if self._with_inbox:
            for operation in out.inbox:
                apply_inbox(self._inboxes.setdefault(operation.user, UserInbox()), operation)

    def _lines(self) -> list[Line]:
        lines = [decision_line(record) for record in self._decisions.values()]
        lines += [emission_line(record) for record in self._emissions]
        for user, inbox in self._inboxes.items():
            lines += [_row_line(user, row) for row in inbox.rows()]
        return lines

    def snapshot(self) -> None:
        """A simulation is not resumed."""
        return


def _row_line(user: str, row: Any) -> Line:
    return {
        "kind": "inbox", "user": user, "type": row.type, "object": row.object, "first_event_id": row.first_event_id,
        "count": row.count, "actors": list(row.actors), "at": row.at,
    }  # fmt: skip
