"""The producers' calls: post one event or many, cancel one that is kept for later."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec import UNSET

from connectors.admission.interface import AdmissionStore
from connectors.admission.limits import Grant
from connectors.gateway.admission import Admission, Admittance, RecordAppender
from connectors.gateway.answers import Accepted, Cancelled, Problem
from connectors.gateway.audiences import DefinedSegments
from connectors.gateway.auth import Principal
from connectors.gateway.decoding import decode_json
from connectors.gateway.door import Door
from connectors.gateway.fan_outs import TOO_MANY_FAN_OUTS, FanOutLimit
from connectors.gateway.guard import GuardedLimit
from connectors.gateway.http import ApiRequest, ApiResponse, json_response, problem_response
from connectors.gateway.pressure import Pressure
from connectors.gateway.problems import ProblemError, invalid, retry_later
from connectors.gateway.progress import find
from connectors.gateway.records import cancel_record, trace_header
from connectors.gateway.sender_figures import FullestSeconds, PostAnswer
from connectors.gateway.writer import unavailable
from connectors.log.interface import Headers, Record
from connectors.metrics import ADMISSIONS_LIMITED, ADMISSIONS_SHED, FAN_OUTS_LIMITED
from state.model.admission import AdmissionRules, Admitted, FieldError, RefusedRequest, Sender
from state.model.errors import LogError, StoreUnavailableError
from state.model.schedule import RELEASED, Released

_logger = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder()
NDJSON = "application/x-ndjson"


class _Deferred(NamedTuple):
    """An event that is not let in now, unless it was accepted before."""

    admitted: Admitted
    refusal: ProblemError


_JudgedPost = Admitted | Admittance | _Deferred
RepeatFinder = Callable[[Admitted], Awaitable[Admittance | None]]
"""The answer to an event whose rollout began before; None: it has none."""
_FORGET_AGAIN_S = 1.0
"""After the store of repeats did not answer."""
_PORTION = 100
"""Events of a batch that are judged in one go: a millisecond."""
_NO_SENDER = Sender("", frozenset(), ())


class Posts:
    """`POST /v1/notifications` and `/batch`."""

    def __init__(
        self,
        rules: AdmissionRules,
        admission: Admission,
        limit: GuardedLimit,
        door: Door,
        segments: DefinedSegments | None,
        pressure: Pressure,
        fan_outs: FanOutLimit,
        repeat: RepeatFinder,
        *,
        kind: str,
        clock: Callable[[], int],
        new_event_id: Callable[[int], str],
    ) -> None:
        """`clock` in milliseconds since 1970; `new_event_id` names events of now whose producer gave no id. Without
        `segments` nothing is sent to segments: class P0 goes to one person each.
        """
        self._rules, self._admission, self._limit, self._door = rules, admission, limit, door
        self._segments, self._pressure, self._fan_outs = segments, pressure, fan_outs
        self._repeat = repeat
        self._only_p0 = kind == "p0"
        self._clock, self._new_event_id = clock, new_event_id
        self._limited, self._fullest = ADMISSIONS_LIMITED.labels(kind), FullestSeconds()

    async def post(self, request: ApiRequest) -> ApiResponse:
        """One event. Door and limit come before the body is looked at: refusing must be cheap."""
        caller = request.caller()
        with PostAnswer(caller.name) as answer:
            self._door.check(caller.name)
            grant = await self._take(caller, 1)
            if grant.granted == 0:
                raise retry_later(429, "the sender's limit is reached", grant.retry_after_ms)
            judged = await self._judge([await request.json()], caller)
            (outcome,) = await self._admit(judged, trace_header(request.header(b"traceparent")))
            answer.count([outcome])
        if isinstance(outcome, ProblemError):
            return problem_response(outcome)
        return json_response(outcome.status, outcome)

    async def post_batch(self, request: ApiRequest) -> ApiResponse:
        """Many events, each answered for itself, in order; a closed sender gets one answer for all."""
        caller = request.caller()
        with PostAnswer(caller.name) as answer:
            self._door.check(caller.name)
            items = self._items(await request.body(), request.media_type)
            answer.events = len(items)
            grant = await self._take(caller, len(items))
            late = retry_later(429, "the sender's limit is reached", grant.retry_after_ms)
            if items and grant.granted == 0:
                raise late
            judged = await self._judge(items[: grant.granted], caller)
            outcomes = await self._admit(judged, trace_header(request.header(b"traceparent")))
            outcomes += [late] * (len(items) - len(judged))
            answer.count(outcomes)
        return ApiResponse(200, _encoder.encode([_document(outcome) for outcome in outcomes]))

    def _items(self, body: bytes, media_type: str) -> Sequence[Any]:
        plain = None if media_type == NDJSON else self._rules.read_plain(body)
        return batch_items(body, media_type) if plain is None else plain

    async def _take(self, caller: Principal, count: int) -> Grant:
        now_ms = self._clock()
        grant = await self._limit.take(caller.name, count, limit=caller.limit_per_s, now_ms=now_ms)
        self._fullest.note(caller.name, grant.in_second, now_ms)
        if grant.granted < count:
            self._limited.inc(count - grant.granted)
        return grant

    async def _admit(self, judged: list[_JudgedPost], trace: Headers) -> list[Admittance]:
        """What becomes of each; a fan-out that is no new event does not count for its actor."""
        if any(map(_is_fan_out, judged)):
            judged = [self._within_limit(one) for one in await self._begun(await self._placed(judged))]
        admitted = [one for one in judged if isinstance(one, Admitted)]
        accepted: list[Admittance] = []
        try:
            accepted = await self._admission.admit(admitted, trace) if admitted else []
        finally:
            for one, outcome in zip_longest(admitted, accepted):
                if outcome is None or outcome.status != HTTPStatus.ACCEPTED:
                    self._fan_outs.give_back(one.event)
        rest = iter(accepted)
        return await self._decided([next(rest) if isinstance(one, Admitted) else one for one in judged])

    async def _decided(self, outcomes: list[Admittance | _Deferred]) -> list[Admittance]:
        """With the answer of a repeat for what was accepted before, and 429 for all else that is not let in now."""
        deferred = [one for one in outcomes if isinstance(one, _Deferred)]
        repeats = iter(await self._admission.repeats([one.admitted for one in deferred]) if deferred else ())
        return [(next(repeats) or _refused(one)) if isinstance(one, _Deferred) else one for one in outcomes]

    async def _begun(self, judged: list[_JudgedPost]) -> list[_JudgedPost]:
        """With the answers to repeats of what goes in stages and is older than the store remembers."""
        return [(await self._repeat(named) or one) if (named := _named_rollout(one)) else one for one in judged]

    def _within_limit(self, judged: _JudgedPost) -> _JudgedPost:
        if not isinstance(judged, Admitted):
            return judged
        refusal = self._fan_outs.refusal(judged.event)
        return judged if refusal is None else _Deferred(judged, refusal)

    async def _placed(self, judged: list[_JudgedPost]) -> list[_JudgedPost]:
        """With 404 in place of what goes to a segment that nobody ever defined."""
        named = {place: segment for place, one in enumerate(judged) if (segment := _segment_of(one)) is not None}
        if self._segments is None or not named:
            return judged
        problems = await self._segments.problems(named.values())
        return [problems.get(named.get(place, ""), one) for place, one in enumerate(judged)]

    async def _judge(self, items: Sequence[Any], caller: Principal) -> list[_JudgedPost]:
        """Those who wait meanwhile for less are let in between."""
        now_ms, sender = self._clock(), caller.sender or _NO_SENDER
        level, new_id = self._pressure.level(now_ms), partial(self._new_event_id, now_ms)
        judged = self._judge_portion(items[:_PORTION], sender, now_ms, new_id, level)
        for first in range(_PORTION, len(items), _PORTION):
            await asyncio.sleep(0)
            judged += self._judge_portion(items[first : first + _PORTION], sender, now_ms, new_id, level)
        return judged

    def _judge_portion(
        self, items: Sequence[Any], sender: Sender, now_ms: int, new_event_id: Callable[[], str], level: int
    ) -> list[_JudgedPost]:
        documents = [item for item in items if not isinstance(item, ProblemError)]
        judged = iter(self._rules.judge_all(documents, sender, now_ms=now_ms, new_event_id=new_event_id))
        return [item if isinstance(item, ProblemError) else self._let_in(next(judged), now_ms, level) for item in items]

    def _let_in(self, judged: Admitted | RefusedRequest, now_ms: int, level: int) -> _JudgedPost:
        if isinstance(judged, RefusedRequest):
            detail = "the event is not valid" if judged.status == 400 else "this sender may not send this event"
            return ProblemError(judged.status, detail + "; nothing was accepted", errors=judged.errors)
        if self._only_p0 and judged.event.priority != "P0":
            wrong = FieldError("priority", "this address takes class P0 only", "use the ordinary address")
            return ProblemError(403, "this address takes class P0 only", errors=(wrong,))
        refusal = self._pressure.refusal(judged.event, now_ms, level) if level else None
        return judged if refusal is None else _Deferred(judged, refusal)


def _refused(deferred: _Deferred) -> ProblemError:
    if deferred.refusal.why == TOO_MANY_FAN_OUTS:
        FAN_OUTS_LIMITED.inc()
    else:
        ADMISSIONS_SHED.labels(deferred.admitted.event.priority).inc()
    return deferred.refusal


def _is_fan_out(judged: _JudgedPost) -> bool:
    one = judged.admitted if isinstance(judged, _Deferred) else judged
    return isinstance(one, Admitted) and one.event.fan_out_type != "DIRECT"


def _named_rollout(judged: _JudgedPost) -> Admitted | None:
    one = judged.admitted if isinstance(judged, _Deferred) else judged
    return one if isinstance(one, Admitted) and one.event.rollout is not UNSET and one.claim.given else None


def _segment_of(judged: _JudgedPost) -> str | None:
    if not isinstance(judged, Admitted) or judged.event.fan_out_type != "SEGMENT":
        return None
    return judged.event.segment


def _document(outcome: Admittance) -> Accepted | Problem:
    return outcome if isinstance(outcome, Accepted) else outcome.document()


def batch_items(body: bytes, media_type: str) -> list[Any]:
    """The documents of a batch: a JSON array, or NDJSON, where a line that is no JSON becomes its own problem.

    :raises ProblemError: 400.
    """
    if media_type != NDJSON:
        items = decode_json(body)
        if not isinstance(items, list):
            raise invalid([FieldError("", "is no JSON array", f"send an array, or one object a line as {NDJSON}")])
        return items
    lines = [_line(line) for line in body.split(b"\n") if line.strip()]
    if not lines:
        raise invalid([FieldError("", "has no line", "send one JSON object a line")])
    return lines


def _line(line: bytes) -> Any:
    try:
        return decode_json(line)
    except ProblemError as problem:
        return problem


class Kept:
    """Events kept for later: `DELETE`, and what the owner of `schedule` says of them.

    The order in `schedule` decides: a cancel counts unless the order to release stands before it. The owner answers
    every cancel, `cancelled` or `released`. An order to release that follows our cancel looks like that answer, so a
    `released` is believed only after a second cancel was answered so too: before that answer, the first one's came.
    """

    def __init__(
        self,
        store: AdmissionStore,
        appender: RecordAppender,
        *,
        forget: Callable[[str], Awaitable[None]],
        deadline: timedelta,
        clock: Callable[[], int],
    ) -> None:
        """`forget`: `Admission.forget`; `deadline`: the longest wait for the owner's answer."""
        self._store, self._appender, self._deadline_s = store, appender, deadline.total_seconds()
        self._forget, self._clock = forget, clock
        self._waiting: defaultdict[str, list[asyncio.Queue[tuple[str, int]]]] = defaultdict(list)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._telling: dict[str, asyncio.Task[None]] = {}
        """By event_id, the last record that is not told yet."""

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop in which answers are waited for."""
        self._loop = loop

    def on_record(self, record: Record) -> None:
        """Take a record of `schedule`; called in the follower's thread.

        :raises MalformedRecordError: a `released` record that does not decode.
        """
        if dict(record.headers).get("schema") == RELEASED.json and self._loop is not None:
            released = RELEASED.decode(record.value)
            self._loop.call_soon_threadsafe(self._begin_release, released, record.offset)

    def _begin_release(self, released: Released, offset: int) -> None:
        event_id = released.event_id
        task = asyncio.ensure_future(self._tell_behind(self._telling.get(event_id), released, offset))
        self._telling[event_id] = task
        task.add_done_callback(lambda done: self._told(event_id, done))

    def _told(self, event_id: str, done: asyncio.Task[None]) -> None:
        if self._telling.get(event_id) is done:
            del self._telling[event_id]

    async def _tell_behind(self, before: asyncio.Task[None] | None, released: Released, offset: int) -> None:
        """In the order of the topic: to forget takes a while, and who waits goes by what comes first. A cancelled event
        frees its key and event_id (RULES 1).
        """
        if before is not None:
            await asyncio.wait([before])
        forgotten = released.how != "cancelled" or await self._is_forgotten(released.event_id)
        self._tell(released, offset)
        while not forgotten:  # or the event, posted again, would pass for a repeat, and never go out
            await asyncio.sleep(_FORGET_AGAIN_S)
            forgotten = await self._is_forgotten(released.event_id)

    async def _is_forgotten(self, event_id: str) -> bool:
        try:
            await self._forget(event_id)
        except StoreUnavailableError as error:
            _logger.warning("cancelled_not_forgotten", error=str(error))
            return False
        return True

    def _tell(self, released: Released, offset: int) -> None:
        for waiting in self._waiting.get(released.event_id, ()):
            waiting.put_nowait((released.how, offset))

    async def cancel(self, request: ApiRequest) -> ApiResponse:
        """Cancel: 200; 409 when it was released; 404 when it is not this sender's; 503 without an answer in time."""
        event_id = request.parameters["event_id"]
        known = await find(self._store, event_id, request.caller(), self._clock())
        if known.kept_until_ms == 0:
            raise ProblemError(409, "the event was not kept for later", event_id=event_id)
        answers: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._waiting[event_id].append(answers)
        try:
            async with asyncio.timeout(self._deadline_s):
                cancelled = await self._is_cancelled(event_id, answers)
        except (LogError, TimeoutError) as error:
            _logger.warning("cancel_unanswered", error=type(error).__name__)
            raise unavailable() from error
        finally:
            self._leave(event_id, answers)
        if not cancelled:
            raise ProblemError(409, "the event was released already", event_id=event_id)
        return json_response(200, Cancelled(event_id=event_id))

    async def _is_cancelled(self, event_id: str, answers: asyncio.Queue[tuple[str, int]]) -> bool:
        await self._appender.append([cancel_record(event_id)])
        how, offset = await answers.get()
        if how == "released":
            again = (await self._appender.append([cancel_record(event_id)]))[0]
            while how == "released" and offset < again:
                how, offset = await answers.get()
        return how == "cancelled"

    def _leave(self, event_id: str, answers: asyncio.Queue[tuple[str, int]]) -> None:
        waiting = self._waiting[event_id]
        waiting.remove(answers)
        if not waiting:
            del self._waiting[event_id]
