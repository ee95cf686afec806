"""Admission of events in groups: reserve, append, commit (RULES 1, "Repeats"; DECISIONS, Reserve, append, confirm).

What arrives while the loop is busy or an append is under way forms the next group, so that the store and the log are
asked once for many events. No event is answered with success before the log acknowledged it:

    reserve fails       the store is down: the event is accepted without it (later layers catch repeats), and it warns.
                        Of what it has from before nothing counts as the latest of its kind then. Once it answers it is
                        told of the event, which can be looked up and cancelled from then on
    append fails        503; the reservation stays PENDING, so that a retry appends again with the same event_id
    commit fails        the answer stands; a repeat will append again, which later layers recognise
    killed in between   as if append or commit had failed
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Protocol

import msgspec
import structlog

from connectors.admission.interface import AdmissionStore, Reservation, ReserveOutcome
from connectors.gateway.answers import Accepted
from connectors.gateway.guard import Guard
from connectors.gateway.problems import ProblemError, retry_later
from connectors.gateway.records import PartitionCount, event_records
from connectors.log.interface import Headers, NewRecord
from connectors.metrics import ADMISSIONS
from state.model.admission import Admitted, RepeatCheck
from state.model.errors import LogError, StoreUnavailableError

_logger = structlog.get_logger(__name__)
_RETRY_MS = 1000
_GROUP_MAX = 2_000
"""Events in one append."""
_TOLD_AT_ONCE = 200
_TOLD_LATER_MAX = 20_000
"""Events of which a store that was away is told; of more it never hears of the first ones."""
_TELL_AGAIN_S = 1.0
_GROUPS_IN_FLIGHT = 2
"""Appends at the same time: one is prepared while another is written."""


class RecordAppender(Protocol):
    """`connectors.log.grouped.BatchingAppender`, or what does the same."""

    async def append(self, records: Sequence[NewRecord]) -> list[int]:
        """Store the records durably, in order."""
        ...


Admittance = Accepted | ProblemError


@dataclass(slots=True)
class _AdmissionCall:
    """One caller's events (of a post or a batch), and where its outcomes go."""

    admitted: Sequence[Admitted]
    trace: Headers
    answer: asyncio.Future[list[Admittance]]


@dataclass(slots=True)
class _AppendGroup:
    """What one append holds, and the outcomes that follow from it if it succeeds."""

    records: list[NewRecord] = field(default_factory=list)
    appended: dict[str, None] = field(default_factory=dict)
    """Their event_ids, in order."""
    outcomes: list[Admittance] = field(default_factory=list)
    depends: list[bool] = field(default_factory=list)
    """Whether each outcome holds only if the append succeeds."""
    waits_for: set[asyncio.Future[bool]] = field(default_factory=set)
    """Appends of other groups that hold the originals of repeats in this one."""


class Admission:
    """Admits judged events; used by one event loop."""

    def __init__(
        self,
        store: AdmissionStore,
        appender: RecordAppender,
        partitions: PartitionCount,
        *,
        clock: Callable[[], int],
        kind: str,
        append_deadline: timedelta,
        pending_max: int,
    ) -> None:
        """Use store and appender, which stay the caller's to close; `clock` in milliseconds since 1970."""
        self._store, self._appender, self._partitions, self._clock = store, appender, partitions, clock
        self._kind, self._deadline_s = kind, append_deadline.total_seconds()
        self._guard = Guard("admission")
        self._pending_max = pending_max
        self._missed_ms = 0
        """Until then events were accepted without the store; 0: none were."""
        self._untold: deque[RepeatCheck] = deque(maxlen=_TOLD_LATER_MAX)
        """Those of which it is still to be told."""
        self._telling: asyncio.Task[None] | None = None
        self._calls: deque[_AdmissionCall] = deque()
        self._pending = 0
        self._groups: set[asyncio.Task[None]] = set()
        self._appending: dict[str, asyncio.Future[bool]] = {}
        self._counters = {outcome: ADMISSIONS.labels(kind, outcome.value) for outcome in ReserveOutcome}
        self._refused = ADMISSIONS.labels(kind, "unavailable")
        self._wakes = False

    def half_full(self) -> bool:
        """Whether half of the events wait that may."""
        return 2 * self._pending > self._pending_max

    async def admit(self, admitted: Sequence[Admitted], trace: Headers = ()) -> list[Admittance]:
        """Accept the events, in order; an outcome for each.

        :raises ProblemError: 503 at once when too many wait already.
        """
        if self._pending + len(admitted) > self._pending_max and self._pending:
            raise retry_later(503, "too many events wait for the log; send again", _RETRY_MS)
        loop = asyncio.get_running_loop()
        call = _AdmissionCall(admitted, trace, loop.create_future())
        self._calls.append(call)
        self._pending += len(admitted)
        if not self._wakes:
            self._wakes = True
            loop.call_soon(self._wake)
        return await call.answer

    async def repeats(self, refused: Sequence[Admitted]) -> list[Admittance | None]:
        """Of events that are not let in, the answers to those that repeat what the log has; None: something else."""
        if not self._guard.may_ask():
            return [None] * len(refused)
        try:
            found = await self._store.look([one.claim for one in refused], self._clock(), self._missed_ms)
        except StoreUnavailableError as error:
            self._guard.failed(error)
            return [None] * len(refused)
        known = [None if _needs_log(reservation) else reservation for reservation in found]
        for reservation in filter(None, known):
            self._counters[reservation.outcome].inc()
        return [None if reservation is None else _outcome(reservation) for reservation in known]

    def _wake(self) -> None:
        self._wakes = False
        while self._calls and len(self._groups) < _GROUPS_IN_FLIGHT:
            task = asyncio.get_running_loop().create_task(self._run(self._take()))
            self._groups.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._groups.discard(task)
        self._wake()

    def _take(self) -> list[_AdmissionCall]:
        calls, size = [self._calls.popleft()], 0
        size = len(calls[0].admitted)
        while self._calls and size + len(self._calls[0].admitted) <= _GROUP_MAX:
            calls.append(self._calls.popleft())
            size += len(calls[-1].admitted)
        self._pending -= size
        return calls

    async def _run(self, calls: list[_AdmissionCall]) -> None:
        try:
            outcomes = await self._admit_group(calls)
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller must get it
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(error)
            return
        position = 0
        for call in calls:
            if not call.answer.done():
                call.answer.set_result(outcomes[position : position + len(call.admitted)])
            position += len(call.admitted)

    async def _admit_group(self, calls: list[_AdmissionCall]) -> list[Admittance]:
        claims = [admitted.claim for call in calls for admitted in call.admitted]
        known = await self._reserve(claims)
        reservations = known or [Reservation(ReserveOutcome.NEW, claim.event_id, committed=False) for claim in claims]
        outcomes = [reservation.outcome for reservation in reservations]
        for outcome, counter in self._counters.items():  # a hash of an enum is a call of Python
            if events := outcomes.count(outcome):
                counter.inc(events)
        group, position = _AppendGroup(), 0
        for call in calls:
            for admitted in call.admitted:
                self._place(group, admitted, reservations[position], call.trace)
                position += 1
        stored = await self._append(group)
        if not stored:
            self._refused.inc(sum(group.depends))
            refusal = retry_later(503, "the log did not acknowledge the event; send it again", _RETRY_MS)
            return [refusal if needs else one for one, needs in zip(group.outcomes, group.depends, strict=True)]
        if known is None:
            self._tell_later(claims)
        else:
            await self._commit([*group.appended])
        return group.outcomes

    async def _reserve(self, claims: Sequence[RepeatCheck]) -> list[Reservation] | None:
        """What the store says; None: nothing."""
        if self._guard.may_ask():
            try:
                return await self._store.reserve(claims, self._clock(), self._missed_ms)
            except StoreUnavailableError as error:
                self._guard.failed(error)
        self._missed_ms = self._clock()
        return None

    def _tell_later(self, claims: Sequence[RepeatCheck]) -> None:
        self._untold.extend(claims)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        """The store hears of what was accepted without it, once it answers."""
        while self._untold:
            await asyncio.sleep(_TELL_AGAIN_S)
            with suppress(StoreUnavailableError):
                while claims := [*islice(self._untold, _TOLD_AT_ONCE)]:
                    await self._store.reserve(claims, self._clock(), self._missed_ms)
                    await self._store.commit([claim.event_id for claim in claims])
                    self._forget_told(claims)

    def _forget_told(self, claims: Sequence[RepeatCheck]) -> None:
        """More may have come meanwhile, and the oldest may have gone for them."""
        for claim in claims:
            if self._untold and self._untold[0] is claim:
                self._untold.popleft()

    def _place(self, group: _AppendGroup, admitted: Admitted, reservation: Reservation, trace: Headers) -> None:
        """Decide one event's outcome and whether it needs an append of its own."""
        outcome, event_id = reservation[:2]
        needs_log = _needs_log(reservation)
        group.depends.append(needs_log)
        group.outcomes.append(_outcome(reservation))
        if not needs_log or event_id in group.appended:
            return
        other = self._appending.get(event_id)
        if outcome is ReserveOutcome.REPEAT and other is not None:
            group.waits_for.add(other)
            return
        event = admitted.event
        if event.event_id != event_id:
            event = msgspec.structs.replace(event, event_id=event_id)
        kept = admitted.claim.kept_until_ms > 0
        group.records += event_records(event, self._partitions, kept=kept, trace=trace)
        group.appended[event_id] = None

    async def _append(self, group: _AppendGroup) -> bool:
        """Whether everything that the group's answers rest on is in the log."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._appending |= dict.fromkeys(group.appended, done)
        stored = await self._store_records(group.records)
        done.set_result(stored)  # before waiting for others, which may be waiting for this one
        for event_id in group.appended:
            if self._appending.get(event_id) is done:
                del self._appending[event_id]
        return stored and all([await other for other in group.waits_for])

    async def _store_records(self, records: Sequence[NewRecord]) -> bool:
        if not records:
            return True
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._appender.append(records)
        except (LogError, TimeoutError) as error:
            name = type(error).__name__
            _logger.warning("append_failed", lane=self._kind, error=name, problem=str(error), records=len(records))
            return False
        return True

    async def _commit(self, event_ids: Sequence[str]) -> None:
        if event_ids and self._guard.may_ask():
            try:
                await self._store.commit(event_ids)
            except StoreUnavailableError as error:
                self._guard.failed(error)

    async def forget(self, event_id: str) -> None:
        """Free what a cancelled event took; of one of which the store is still to be told it hears nothing.

        :raises StoreUnavailableError: the store does not answer.
        """
        for claim in [claim for claim in self._untold if claim.event_id == event_id]:
            self._untold.remove(claim)
        await self._store.forget(event_id)

    async def drain(self) -> None:
        """Wait until every admission under way is answered."""
        while self._groups:
            await asyncio.wait(self._groups)
        if self._telling is not None:
            self._telling.cancel()


def _needs_log(reservation: Reservation) -> bool:
    """Whether the answer to it needs an append."""
    return reservation.outcome is not ReserveOutcome.CONFLICT and not reservation.committed


def _outcome(reservation: Reservation) -> Admittance:
    event_id, reason = reservation.event_id, reservation.reason
    if reservation.outcome is ReserveOutcome.CONFLICT:
        return ProblemError(409, "this key was used with another body; use a new key", event_id=event_id)
    if reason is None:
        return Accepted(202, event_id)
    return Accepted(200, event_id, repeat_of=event_id, reason=reason, until=reservation.until_ms)
