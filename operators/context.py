"""What the operators pass to each other: the writer of records."""

from operators.outcomes import FinalOutcome
from state.decide.group import GroupState
from state.decide.pending import HELD, Item, PendingGroup
from state.model.inbox import InboxOperation
from state.model.ledger import Decision
from state.model.records import Outputs


def decision(state: GroupState, row: int, item: Item, outcome: str, now: int, group: str | None) -> Decision:
    """The record of `item` at `now`, with everything it used; fields of single outcomes are left null."""
    event, users = item.event, state.users
    return Decision(
        event_id=event.event_id,
        user=users.ids[row],
        outcome=outcome,
        inbox=item.inbox,
        decided_at=now,
        cap_hour=item.cap_hour,
        cap_day=item.cap_day,
        type=event.type,
        priority=event.priority,
        sender_id=event.sender_id,
        actor=event.actor,
        object=event.object,
        ingested_at=event.ingested_at,
        group=group,
        preference_version=users.preference_version.item(row),
        endpoint_version=users.endpoint_version.item(row),
        control_version=state.kills.version,
        registry_version=state.registry.version,
        tzdata_version=state.tzdata_version,
        follower_age_ms=item.follower_age_ms,
    )


class OutcomeWriter:
    """Writes the outcomes of one record of the decision log into `out`."""

    def __init__(self, state: GroupState, out: Outputs) -> None:
        self.state = state
        self.out = out

    def end(self, row: int, item: Item, final: FinalOutcome, now: int, group: str | None) -> None:
        """A terminal outcome other than an emission."""
        record = decision(self.state, row, item, final.outcome, now, group)
        record.reason = final.reason
        self.out.decisions.append(record)

    def wait(self, group: PendingGroup, item: Item, now: int) -> None:
        """The item now waits in `group`: AGGREGATING, or HELD until the group's time."""
        record = decision(self.state, group.row, item, group.state, now, group_name(group))
        record.until = group.due if group.state == HELD else None
        self.out.decisions.append(record)

    def inbox(self, operation: InboxOperation) -> None:
        self.out.inbox.append(operation)


def group_name(group: PendingGroup) -> str:
    """How the ledger names the group an item is in."""
    if group.key.kind == "window":
        return "held" if group.state == HELD else "open"
    return group.key.kind
