"""Everything that the decisions of one key group depend on."""

from state.audience import Audience
from state.control import KillSwitches
from state.emitted import EmissionLog
from state.model.registry import Registry
from state.model.zones import tzdata_version
from state.pending import PendingTable
from state.users import UserTable


class Totals:
    """Running totals of decide for the laws (RULES 5); never derived from one another."""

    __slots__ = ("aggregating", "emitted", "held", "inbox_items", "resolved")

    def __init__(self) -> None:
        self.resolved = 0
        self.held = 0
        self.aggregating = 0
        self.emitted = 0
        self.inbox_items = 0


class GroupState:
    """State of one key group; operators change it in place, one record of the decision log at a time.

    `now` is the running maximum of the records' stamps; `place` the offset of the record being applied.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.tzdata_version = tzdata_version()
        self.users = UserTable()
        self.emissions = EmissionLog()
        self.pending = PendingTable()
        self.followers = Audience()
        self.segments = Audience()
        self.kills = KillSwitches()
        self.totals = Totals()
        self.now = 0
        self.place = -1
