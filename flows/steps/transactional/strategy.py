"""What is special to a lane of transactional: it decides events of P0 by itself, and at once (DECISIONS, P0 shares
nothing).

For each batch: read the settings to their ends, drop repeats, decide, store durably, and only then send. A restart
follows the stored decisions. It writes the records of open ones again (the same, with the same `seq`) and resumes their
deliveries by `attempts`; a delivery without an answer is sent again under the same provider-side id. A lane whose store
is lost asks the ledger (`flows/steps/transactional/ledger_history.py`), so that nothing is decided a second time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from connectors.log.interface import NewRecord, Record
from connectors.log.read_to_ends import end_of_records
from connectors.metrics import DELIVERIES_OPEN, P0_ACCEPTED_TO_PROVIDER_SECONDS
from flows.steps.lanes.in_hand import InHand, OpenRecord
from flows.steps.lanes.parts import LaneParts, lane_path
from flows.steps.sending.task import SendTask
from flows.steps.transactional.counts import TransactionalCounts
from flows.steps.transactional.ledger_history import LedgerHistory, read_ledger_history
from flows.steps.transactional.outputs import (
    output_records,
    pack_deliveries,
    pack_records,
    unpack_deliveries,
    unpack_records,
)
from flows.steps.transactional.repeats import LaneRepeats
from flows.steps.transactional.settings import LaneSettings
from operators.transactional import HURRY_MS, decide_p0, recipient_of
from state.disk.poison import PoisonJournal
from state.model.addresses import Served
from state.model.event import EVENT, Event
from state.model.keys import key_group
from state.model.ledger import CountsRecord
from state.model.records import Outputs
from state.model.registry import TypesToDate
from state.model.work import refuse_deep
from state.transactional.store import BatchCommit, StoredDecision, TransactionalStore

TOPIC = "events.p0"
_COUNTS_EVERY_MS = 250
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """What decisions depend on, besides settings."""

    types: TypesToDate
    retention_ms: int
    """How long decisions that are done are kept for replays."""
    served: Served | None = None
    """What providers reach; None: whatever is on file."""


@dataclass(slots=True)
class _Batch:
    """What one batch of events comes to."""

    used: dict[str, int] = field(default_factory=dict)
    """How far the settings were read."""
    decisions: list[StoredDecision] = field(default_factory=list)
    outputs: list[NewRecord] = field(default_factory=list)
    lost: dict[int, int] = field(default_factory=dict)
    """What is left of a group's lost deliveries."""


class TransactionalStrategy:
    """See the module, and `LaneStrategy`."""

    def __init__(self, parts: LaneParts, number: int, poison: PoisonJournal, *, rules: DecisionRules) -> None:
        """Read what is true now, and resume what is open."""
        self._parts, self._number, self._rules = parts, number, rules
        self._place = (TOPIC, number)
        self._store = TransactionalStore(lane_path(parts.directory, number))
        self._repeats = LaneRepeats(self._store, rules.types)
        self._partitions = {topic: parts.log.partitions(topic) for topic in ("ledger", "inbox")}
        places = self._store.places()
        self.in_hand = InHand(
            parts, number, poison,
            next_offsets={self._place: places[self._place]} if self._place in places else {},
            reopen={}, attempts_from={number: self._store.attempts_from()},
        )  # fmt: skip
        self._before, self._before_end = self._ledger_history(places.get(self._place, 0))
        self._counts = TransactionalCounts(self._store.totals(), self._store.lost())
        self._settings = LaneSettings(parts.log, self._store, number, rules.types)
        self._now, self._counted_at = parts.now_ms(), 0
        self._full = False
        self._batch = _Batch()
        self._resumed = self._resume()

    @property
    def open(self) -> int:
        """Decisions whose deliveries have not all ended."""
        return self.in_hand.unfinished

    def full(self, open_max: int) -> Collection[str]:
        """A lane that was full has to empty by a tenth: it is not told at every end."""
        room = self.open < (open_max - open_max // 10 if self._full else open_max)
        if not room and not self._full:
            _logger.error("p0_lane_full", partition=self._number, open=self.open, effect="its events wait in the log")
        self._full = not room
        return () if room else self._parts.topics

    # a batch of events

    def begin(self) -> None:
        used = self._settings.catch_up()
        self._batch = _Batch(used={f"{topic}/{number}": offset for (topic, number), offset in used.items()})
        self._now = self._parts.now_ms()  # also where the clock was set back: events have its time then, too

    def read(self, record: Record) -> None:
        """Decide an event."""
        if record.offset < self.in_hand.next.get(self._place, 0):
            return
        refuse_deep(record.value, "event")
        event = EVENT.decode(record.value)
        user = recipient_of(event)
        at = min(self._now, event.ingested_at) if record.offset < self._before_end else self._now
        if record.offset in self._before.decided:
            self._go_by_ledger(record, event, user)
            self._repeats.mark(event, at)
        elif not self._repeats.is_repeat(event, at):
            self._decide(record, event, user)
            self._repeats.mark(event, at)

    def _decide(self, record: Record, event: Event, user: str) -> None:
        switches, away = self._settings.switches(), self._parts.away(self._now)
        out = self._decided(event, user, switches, self._now, record.offset, away)
        group = key_group(user)
        records = output_records(out, group, record.offset, self._partitions)
        used = msgspec.json.encode(self._batch.used)
        decision = StoredDecision(
            record.offset, self._now, record.value, pack_deliveries(out), pack_records(records), used
        )
        self._counts.decided(group, record.offset, out)
        self._batch.outputs += records
        self._batch.decisions.append(decision)

    def _decided(
        self,
        event: Event,
        user: str,
        switches: Mapping[tuple[str, str], int],
        now: int,
        place: int,
        away: frozenset[str] = frozenset(),
    ) -> Outputs:
        settings = self._settings.of(user)
        return decide_p0(
            event,
            user,
            settings,
            switches,
            registry=self._settings.registry,
            served=self._rules.served,
            away=away,
            now=now,
            place=place,
        )

    def refused(self, record: Record, error: Exception | None) -> None:
        return

    def admit(self) -> list[NewRecord]:
        batch, places = self._batch, {self._place: self.in_hand.next[self._place]}
        marks = self._repeats.take_new()
        self._store.commit(BatchCommit(places, batch.decisions, marks, self._counts.to_store(), batch.lost))
        for decision in batch.decisions:
            self._open(decision)
        return [*self.go_on(), *batch.outputs]  # a batch may come first: in a group, readers need the older ones before

    def _open(self, decision: StoredDecision) -> None:
        """Begin the deliveries of a decision that is stored."""
        group = key_group(EVENT.decode(decision.event).target or "")
        record = OpenRecord(self.in_hand, self._place, decision.offset, group)
        all_siblings = record.siblings(unpack_deliveries(decision.deliveries), self.in_hand.find(self._number))
        tasks = [task for siblings in all_siblings for task in siblings.make_tasks()]
        timers = [
            (siblings, siblings.emission.decided_at + HURRY_MS)
            for siblings in all_siblings
            if siblings.emission.policy == "push_first" and siblings.rest
        ]
        for siblings, _ in timers:
            siblings.timed = True
        record.attempts_from = self.in_hand.attempts_begin(self._number, tasks)
        self._counts.opened(group, len(tasks))
        self.in_hand.open(record, tasks, timers if tasks else ())

    # a restart

    def _resume(self) -> list[NewRecord]:
        """Go on with what was decided before: gives its records once more."""
        records: list[NewRecord] = []
        for decision in self._store.open_decisions():
            records += unpack_records(decision.outputs)
            self._open(decision)
        return records

    @property
    def hungry(self) -> bool:
        return False

    def put_off(self) -> tuple[()]:
        return ()

    def go_on(self) -> list[NewRecord]:
        records, self._resumed = self._resumed, []
        return records

    def _ledger_history(self, following: int) -> tuple[LedgerHistory, int]:
        """What the ledger says of the events below an offset: all that there are now, if the store is new."""
        stored = self._store.ledger_end()
        new = stored is None and not following
        before = end_of_records(self._parts.log, self._place, 0) if new else stored or 0
        if not new and following >= before:
            return LedgerHistory(), 0
        taken = read_ledger_history(
            self._parts.log, TOPIC, self._number, self.in_hand.recovered[self._number].histories
        )
        if new:
            self._store.begin_from_ledger(before, taken.totals, taken.lost)
        if taken.decided and new:
            _logger.warning(
                "a store without state finds decisions on the ledger",
                lane=self._number, decisions=len(taken.decided), deliveries_lost=sum(taken.lost.values()),
            )  # fmt: skip
        return taken, before

    def _go_by_ledger(self, record: Record, event: Event, user: str) -> None:
        """Resume what `attempts` knows of an event decided before the store began, and the ledger has no end of."""
        decided_at = self._before.unsettled.get(record.offset)
        if decided_at is None:
            return
        out = self._decided(event, user, {}, decided_at, record.offset)  # the dispatcher knows the kill switches
        histories = self.in_hand.recovered[self._number].histories
        emissions = [
            part
            for emission in unpack_deliveries(pack_deliveries(out))
            for part in self._before.to_resume(emission, histories)
        ]
        number = sum(len(emission.devices) for emission in emissions)
        if not number:
            return
        group, deliveries = key_group(user), msgspec.json.encode(emissions)
        self._batch.lost[group] = self._counts.found(group, number)
        self._batch.decisions.append(
            StoredDecision(record.offset, decided_at, record.value, deliveries, pack_records([]), b"{}")
        )

    # ends and counts

    def ended(self, record: OpenRecord, task: SendTask | None, spawned: int) -> None:
        self._counts.ended(record.group, int(task is not None), spawned)
        if task is None:
            return
        history = task.history
        if history.outcome == "DELIVERED" and not record.delivered:
            record.delivered = True
            P0_ACCEPTED_TO_PROVIDER_SECONDS.observe(max(0, history.ended_at - task.emission.ingested_at) / 1000)
        elif history.outcome == "DEAD_LETTER":
            _logger.error("p0_not_delivered", channel=task.channel, type=task.emission.type, reason=history.reason)

    def counts(self, *, last: bool) -> list[CountsRecord]:
        """Of the groups that changed, now and then."""
        now = self._parts.now_ms()
        if not self._counts.has_changed or (now - self._counted_at < _COUNTS_EVERY_MS and not last):
            return []
        self._counted_at = now
        DELIVERIES_OPEN.labels(f"p0-{self._number}").set(self._counts.in_flight)
        return self._counts.tell()

    # the file

    def commit(self, closing: Sequence[OpenRecord]) -> None:
        """Those are done."""
        if not closing:
            return
        totals = {record.group: self._counts.closed(record.group, record.spawned) for record in closing}
        attempts_from = self.in_hand.lowest_attempts()[self._number]
        self._store.close_decisions([record.offset for record in closing], totals, attempts_from)

    def forget(self) -> bool:
        self._before = LedgerHistory()  # everything that it may tell of was read
        return self._store.forget(self._now, self._rules.retention_ms)

    def close(self) -> None:
        self._settings.close()
        self._store.close()
