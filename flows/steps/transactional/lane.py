"""One lane of the P0 flow: a partition of `events.p0`, from event to provider (DESIGN 2.8).

For each batch: settings to their ends, repeats out, decide, store durably, only then send. A restart goes by what was
stored: it writes the records of open decisions again (the same, with the same `seq`) and resumes their deliveries by
`attempts`; P0 without an answer is sent again under the same provider-side id. A lane whose store is gone asks the
ledger (`transactional_takeover`): what was decided is not decided again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import msgspec
import structlog

from connectors.log.interface import NewRecord, Record
from connectors.log.read_to_ends import end_of_records
from connectors.metrics import DEAD_LETTERS, DELIVERIES, DELIVERIES_OPEN, P0_ACCEPTED_TO_PROVIDER_SECONDS
from flows.steps.dead_letters import dead_letter, environment_failed
from flows.steps.lanes.records import LedgerWriter
from flows.steps.sending.attempts import recover
from flows.steps.sending.task import SendTask, Stage
from flows.steps.transactional.outputs import (
    output_records,
    pack_deliveries,
    pack_records,
    unpack_deliveries,
    unpack_records,
)
from flows.steps.transactional.parts import JOURNAL_NAME, RENDERING, STAGE, TOPIC, P0Parts, lane_path
from flows.steps.transactional.repeats import RepeatMarks
from flows.steps.transactional.settings import LaneSettings
from flows.steps.transactional.takeover import TakenOver, take_over
from operators.attempts import DeliveryHistory
from operators.transactional import HURRY_MS, check_p0, decide_p0
from state.disk.lock import StateLock
from state.disk.poison import PoisonJournal
from state.model.dead_letter import error_text
from state.model.event import Event, decode_event
from state.model.keys import key_group
from state.model.records import Outputs
from state.model.work import refuse_deep
from state.transactional.store import BatchCommit, GroupTotals, StoredDecision, TransactionalStore

_FORGET_EVERY_MS = 600_000
_COUNTS_EVERY_MS = 250
_logger = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Open:
    """A decision whose deliveries have not all ended."""

    offset: int
    group: int
    ingested_at: int
    open: int
    """Deliveries, and timers of push_first, that have not ended."""
    spawned: int = 0
    attempts_from: int = 0
    accepted: bool = False
    """A provider took one of them."""


@dataclass(slots=True)
class _Batch:
    """What one batch of events comes to."""

    decisions: list[StoredDecision] = field(default_factory=list)
    outputs: list[NewRecord] = field(default_factory=list)
    letters: list[NewRecord] = field(default_factory=list)
    lost: dict[int, int] = field(default_factory=dict)
    """What is left of a group's lost deliveries."""


class P0Lane:
    """See the module; `epoch` may be called by another thread than the rest."""

    def __init__(self, parts: P0Parts, number: int) -> None:
        """Own the lane's directory, read what is true now, and resume what is open.

        :raises StateLockedError: another process owns the lane.
        :raises LogError: the log cannot be read.
        """
        self._parts, self._number = parts, number
        self._lock = threading.RLock()
        path = lane_path(parts.directory, number)
        self._lock_file = StateLock.acquire(path.parent, f"transactional lane {number}")
        self._poison = PoisonJournal.open(path.with_name(JOURNAL_NAME), unit=parts.directory)
        self._store = TransactionalStore(path)
        self._repeats = RepeatMarks(self._store, parts.registry)
        self._next = self._store.places().get((TOPIC, number), 0)
        self._partitions = {topic: parts.log.partitions(topic) for topic in ("ledger", "inbox")}
        self._recovered = recover(parts.log, number, self._store.attempts_from())
        self._catch_up_end: int | None = end_of_records(parts.log, (TOPIC, number), self._next)
        self._before, self._before_end = self._take_over(self._catch_up_end)
        self._totals = self._store.totals()
        self._settings = LaneSettings(parts.log, self._store, number)
        self._writer = LedgerWriter(parts.log, parts.run_ms, source="p")
        self._open: dict[int, _Open] = {}
        self._events: deque[tuple[SendTask | None, _Open, int]] = deque()
        self._done: list[_Open] = []
        self._done_before: list[_Open] = []
        self._lost = self._store.lost()
        self._in_flight: dict[int, int] = dict(self._lost)
        self._fallbacks: dict[int, int] = {group: totals.fallbacks for group, totals in self._totals.items()}
        self._changed: set[int] = set(self._totals)
        self._now = self._forgot_at = parts.now_ms()
        self._counted_at = 0
        self._resumed = self._resume()
        self._forget_histories()

    @property
    def open(self) -> int:
        """Decisions whose deliveries have not all ended."""
        return len(self._open)

    def accept(self, records: Sequence[Record]) -> list[NewRecord]:
        """Decide a batch of events, store it, and begin to send."""
        with self._lock:
            return self._accept(records)

    def _accept(self, records: Sequence[Record]) -> list[NewRecord]:
        used = self._settings.catch_up()
        batch = _Batch()
        self._now = max(self._now, self._parts.now_ms())  # the clock of decisions never falls
        for record in records:
            if record.offset >= self._next:
                self._next = record.offset + 1
                self._take(record, batch, {f"{topic}/{number}": offset for (topic, number), offset in used.items()})
        places = {(TOPIC, self._number): self._next}
        marks = self._repeats.take_new()
        if batch.letters:  # no row stands for them: once the place is stored, nothing would write them again
            self._parts.log.append(batch.letters)
        self._store.commit(BatchCommit(places, batch.decisions, marks, self._changed_totals(), batch.lost))
        for decision in batch.decisions:
            self._send(decision)
        self._forget_histories()
        return batch.outputs

    def collect(self, *, last: bool = False) -> list[NewRecord]:
        """The records of what ended since the last call, and what a start writes again; `last`: with the counts."""
        if self._parts.sender.failure is not None:
            raise self._parts.sender.failure
        records, self._resumed = self._resumed, []
        with self._lock:
            while self._events:
                task, job, spawned = self._events.popleft()
                records += self._note(task, job, spawned)
            return [*records, *self._counts(at_once=last)]

    def epoch(self) -> None:
        """The outputs handed out before the call before this one are in the log: those decisions are done."""
        with self._lock:
            closing, self._done_before, self._done = self._done_before, self._done, []
            if closing:
                for job in closing:
                    self._totals[job.group].fallbacks += job.spawned
                totals = {job.group: self._totals[job.group] for job in closing}
                self._store.close_decisions([job.offset for job in closing], totals, self._lowest_attempts())
            if self._catch_up_end is None and self._now - self._forgot_at >= _FORGET_EVERY_MS:
                self._forgot_at = self._now
                self._store.forget(self._now, self._parts.retention_ms)

    def close(self) -> None:
        """Give the lane back."""
        self._settings.close()
        self._store.close()
        self._lock_file.release()

    def ended(self, task: SendTask, spawned: int) -> None:
        """On the sender's loop."""
        self._events.append((task, task.stage.job, spawned))

    def killed_by(self, stage: Stage) -> bool:
        """On the sender's loop."""
        return self._poison.suspect(TOPIC, self._number, stage.job.offset, RENDERING)

    def rendering(self, stage: Stage) -> AbstractContextManager[None]:
        """On the sender's loop."""
        return self._poison.processing(TOPIC, self._number, stage.job.offset, RENDERING)

    def hurried(self, stage: Stage, spawned: int) -> None:
        """On the sender's loop."""
        self._events.append((None, stage.job, spawned))

    def _take(self, record: Record, batch: _Batch, used: dict[str, int]) -> None:
        """Decide one record; one that cannot be decided leaves nothing but a dead letter, at once."""
        place = (TOPIC, self._number, record.offset)
        if self._poison.suspect(*place):
            self._refuse(record, None, batch)
            return
        with self._poison.processing(*place):
            try:
                self._decide(record, batch, used)
            except Exception as error:
                if environment_failed(error):
                    raise
                self._refuse(record, error, batch)

    def _refuse(self, record: Record, error: Exception | None, batch: _Batch) -> None:
        partitions = self._parts.log.partitions("dead_letters")
        batch.letters.append(dead_letter(record, error, stage=STAGE, at=self._now, partitions=partitions))
        DEAD_LETTERS.labels(STAGE).inc()
        _logger.error(
            "p0_event_refused", partition=record.partition, offset=record.offset,
            error="killed" if error is None else error_text(error),
        )  # fmt: skip

    def _decide(self, record: Record, batch: _Batch, used: dict[str, int]) -> None:
        """Changes nothing before everything is made that may fail."""
        refuse_deep(record.value, "event")
        event = decode_event(record.value)
        user = check_p0(event)
        before = record.offset < self._before_end
        at = min(self._now, event.ingested_at) if before else self._now
        if record.offset in self._before.decided:
            self._go_on(record, event, user, batch)
            self._repeats.mark(event, at)
            return
        if self._repeats.is_repeat(event, at):
            return
        settings, switches = self._settings.of(user), self._settings.switches()
        out = decide_p0(
            event, user, settings, switches, registry=self._parts.registry, now=self._now, place=record.offset
        )
        group = key_group(user)
        records = output_records(out, group, record.offset, self._partitions)
        decision = StoredDecision(
            record.offset,
            self._now,
            record.value,
            pack_deliveries(out),
            pack_records(records),
            msgspec.json.encode(used),
        )
        self._repeats.mark(event, at)
        self._count(group, record.offset, out)
        batch.outputs += records
        batch.decisions.append(decision)

    def _take_over(self, end: int) -> tuple[TakenOver, int]:
        """What the ledger says of the events below an offset: all that there are now, if the store is new."""
        stored = self._store.taken_over()
        new = stored is None and not self._next
        before = end if new else stored or 0
        if not new and self._next >= before:
            return TakenOver(), 0
        taken = take_over(self._parts.log, TOPIC, self._number, self._recovered.histories)
        if new:
            self._store.take_over(end, taken.totals, taken.lost)
        if taken.decided and new:
            _logger.warning(
                "a store begins anew behind decisions on the ledger",
                lane=self._number, decisions=len(taken.decided), deliveries_lost=sum(taken.lost.values()),
            )  # fmt: skip
        return taken, before

    def _go_on(self, record: Record, event: Event, user: str, batch: _Batch) -> None:
        """Resume what `attempts` knows of an event decided before the store began, and the ledger has no end of."""
        decided_at = self._before.unsettled.get(record.offset)
        if decided_at is None:
            return
        out = decide_p0(
            event, user, self._settings.of(user), {}, registry=self._parts.registry, now=decided_at, place=record.offset
        )  # the sender knows the kill switches
        emissions = [
            part
            for emission in unpack_deliveries(pack_deliveries(out))
            for part in self._before.to_resume(emission, self._recovered.histories)
        ]
        number = sum(len(emission.devices) for emission in emissions)
        if not number:
            return
        group, deliveries = key_group(user), msgspec.json.encode(emissions)
        missing = max(0, number - self._lost.get(group, 0))  # fallbacks that no counts had
        self._lost[group] = batch.lost[group] = self._lost.get(group, 0) + missing - number
        self._in_flight[group] = self._in_flight.get(group, 0) + missing - number  # `_send` adds them
        self._fallbacks[group] = self._fallbacks.get(group, 0) + missing
        totals = self._totals.setdefault(group, GroupTotals())
        totals.fallbacks += missing
        self._changed.add(group)
        batch.decisions.append(
            StoredDecision(record.offset, decided_at, record.value, deliveries, pack_records([]), b"{}")
        )

    def _count(self, group: int, offset: int, out: Outputs) -> None:
        totals = self._totals.setdefault(group, GroupTotals())
        totals.resolved += 1
        totals.emitted += sum(emission.deliveries for emission in out.emissions)
        totals.inbox_items += sum(decision.inbox for decision in out.decisions)
        totals.furthest = max(totals.furthest, offset)
        self._changed.add(group)

    def _changed_totals(self) -> dict[int, GroupTotals]:
        return {group: self._totals[group] for group in self._changed}

    def _send(self, decision: StoredDecision) -> None:
        """Begin the deliveries of a decision that is stored."""
        emissions = unpack_deliveries(decision.deliveries)
        event = decode_event(decision.event)
        job = _Open(decision.offset, key_group(event.target or ""), event.ingested_at, 0)
        tasks: list[SendTask] = []
        hurried: list[Stage] = []
        for emission in emissions:
            stage = Stage(
                emission, emission.channel, emission.devices, emission.rest, self._number, self._take_history, self, job
            )
            tasks += stage.make_tasks()
            if emission.policy == "push_first" and emission.rest:
                hurried.append(stage)
        known = any(task.known for task in tasks)
        job.attempts_from = self._recovered.start if known else self._attempts_end()
        job.open = len(tasks) + len(hurried)
        if not tasks:
            self._done.append(job)
            return
        self._open[job.offset] = job
        self._in_flight[job.group] = self._in_flight.get(job.group, 0) + len(tasks)
        self._parts.sender.submit(tasks)
        for stage in hurried:
            self._parts.sender.hurry_at(stage, stage.emission.decided_at + HURRY_MS)

    def _take_history(self, key: str) -> DeliveryHistory | None:
        return self._recovered.histories.pop(key, None)

    def _forget_histories(self) -> None:
        """Once everything that was in the log at the start is decided, what was known of it is taken over."""
        if self._catch_up_end is not None and self._next >= self._catch_up_end:
            self._catch_up_end, self._before = None, TakenOver()
            self._parts.sender.after(self._recovered.histories.clear)

    def _resume(self) -> list[NewRecord]:
        """Go on with what was decided before: gives its records once more."""
        records: list[NewRecord] = []
        for decision in self._store.open_decisions():
            records += unpack_records(decision.outputs)
            self._send(decision)
        return records

    def _note(self, task: SendTask | None, job: _Open, spawned: int) -> list[NewRecord]:
        """An end, or a timer of push_first, and the deliveries that it brought about."""
        job.open += spawned - 1
        job.spawned += spawned
        group = job.group
        self._in_flight[group] += spawned - (task is not None)
        self._fallbacks[group] = self._fallbacks.get(group, 0) + spawned
        self._changed.add(group)
        if job.open == 0:
            self._done.append(self._open.pop(job.offset))
        if task is None:
            return []
        DELIVERIES.labels(task.channel, task.history.outcome).inc()
        if task.history.outcome == "DELIVERED" and not job.accepted:
            job.accepted = True
            P0_ACCEPTED_TO_PROVIDER_SECONDS.observe(max(0, task.history.ended_at - job.ingested_at) / 1000)
        elif task.history.outcome == "DEAD_LETTER":
            _logger.error("p0_not_delivered", channel=task.channel, type=task.emission.type, reason=task.history.reason)
        return self._writer.ended(task, (TOPIC, self._number, job.offset), stage=STAGE)

    def _counts(self, *, at_once: bool) -> list[NewRecord]:
        """The totals of the groups that changed, now and then."""
        now = self._parts.now_ms()
        if not self._changed or (now - self._counted_at < _COUNTS_EVERY_MS and not at_once):
            return []
        self._counted_at = now
        DELIVERIES_OPEN.labels(f"p0-{self._number}").set(sum(self._in_flight.values()))
        changed, self._changed = sorted(self._changed), set()
        return [self._counts_of(group, self._totals[group]) for group in changed]

    def _counts_of(self, group: int, totals: GroupTotals) -> NewRecord:
        value = {
            "kind": "counts", "owner": "transactional", "group": group, "offset": totals.furthest,
            "resolved": totals.resolved, "held": 0, "aggregating": 0, "emitted": totals.emitted,
            "inbox_items": totals.inbox_items, "fallbacks": self._fallbacks.get(group, 0),
            "in_flight": self._in_flight.get(group, 0),
        }  # fmt: skip
        return self._writer.record("ledger", group, b"%d" % group, value, "counts/1+json")

    def _attempts_end(self) -> int:
        """Attempts of whatever is sent from now on stand here or above."""
        if self._recovered.histories:
            return self._recovered.start
        return max(self._recovered.end, self._parts.sender.attempts.ends[self._number])

    def _lowest_attempts(self) -> int:
        """Of decisions with an open row: those that ended of late are among them, and a restart asks for them."""
        unfinished = (*self._open.values(), *self._done, *self._done_before)
        return min((job.attempts_from for job in unfinished), default=self._attempts_end())
