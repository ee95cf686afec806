"""Everything that the decisions of one key group depend on."""

from collections.abc import Callable
from typing import Any

from state.decide.audience import Audience
from state.decide.emitted import EmissionLog
from state.decide.held import HeldBatch
from state.decide.packed_texts import PackedTexts
from state.decide.pending import HELD, OPEN, PendingTable
from state.decide.preferences import PreferenceTable
from state.decide.switches import KillSwitches
from state.decide.users import UserTable
from state.model.registry import Registry
from state.model.work import BULK_FROM_BEFORE
from state.model.zones import tzdata_version


class DecideTotals:
    """Running totals of decide for the laws (RULES 5); held and aggregating are counted by the pending table."""

    __slots__ = ("emitted", "inbox_items", "resolved")

    def __init__(self) -> None:
        self.resolved = 0
        self.emitted = 0
        self.inbox_items = 0


class GroupState:
    """State of one key group; operators change it in place, one record of the decision log at a time.

    `now` is the running maximum of the records' stamps; `place` the offset of the record being applied.
    """

    def __init__(
        self, registry: Registry, preferences: PreferenceTable | None = None, names: PackedTexts | None = None
    ) -> None:
        """`preferences` and `names` (of followees and segments) are shared by the groups of a worker; without them the
        group has its own.
        """
        self.registry = registry
        self.tzdata_version = tzdata_version()
        self.users = UserTable(preferences or PreferenceTable())
        self.emissions = EmissionLog()
        self.slot_emissions: EmissionLog | None = None
        """Of campaigns with a dedicated slot; None: none within a day."""
        self.pending = PendingTable()
        texts = PackedTexts() if names is None else names
        self.followers = Audience(texts)
        self.segments = Audience(texts)
        self.kills = KillSwitches()
        self.totals = DecideTotals()
        self.now = 0
        self.place = -1
        self.ahead = 0
        """Of the record being applied: by how much `now` is ahead of the machine's clock (`operators.ahead`)."""
        self.bulk_from = BULK_FROM_BEFORE
        """Events with fewer recipients in the group are decided one by one; a `versions` record says how many."""
        self.counted: tuple[int, ...] = (0, 0, 0, 0, 0)
        """What the last `counts` record said."""
        self.registry_tables: dict[str, dict[str, Any]] | None = None
        """The tables that a `versions` record brought; None: the registry this process was started with."""

    def pool(self, *, slot: bool) -> EmissionLog:
        """What rule D counts: of campaigns with a dedicated slot, or all others."""
        if not slot:
            return self.emissions
        if self.slot_emissions is None:
            self.slot_emissions = EmissionLog()
        return self.slot_emissions

    def forget_old_emissions(self) -> None:
        """Let go of what no longer counts: after a campaign, nobody may ask for it again."""
        self.emissions.advance(self.now)
        if self.slot_emissions is not None:
            self.slot_emissions.advance(self.now)
            if self.slot_emissions.first_entry == self.slot_emissions.next_entry:
                self.slot_emissions = None

    def take_out(self, row: int, wanted: Callable[[HeldBatch], bool]) -> None:
        """Let a user wait alone wherever he waits in such a batch."""
        for batch in self.pending.batches_of(row):
            if wanted(batch):
                self.pending.take_out(batch, row, self.users.ids[row])

    def take_apart(self, batch: HeldBatch) -> None:
        """Let each member wait alone."""
        for row in batch.members().rows.tolist():
            self.pending.take_out(batch, row, self.users.ids[row])

    def count_terms(self) -> tuple[int, int, int, int, int]:
        """(resolved, held, aggregating, emitted, inbox items) as of now."""
        totals, counts = self.totals, self.pending.counts
        return totals.resolved, counts[HELD], counts[OPEN], totals.emitted, totals.inbox_items
