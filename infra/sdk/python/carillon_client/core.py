"""How the calls of `Client` and `AsyncClient` are made: keys, repetition, batches, errors.

Every event bears an idempotency key, so every call may be repeated. It is, when the gateway answers 429 or 503, a proxy
502 or 504, or the connection is lost: after Retry-After, or a pause that grows, with jitter, while the budget lasts.
What is to be done is a generator of requests and pauses; one client carries it out by waiting, the other by await.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

import httpx

from .types import Accepted, Follow, NewEvent, Problem, SegmentStored

T = TypeVar("T")
Steps = Generator[httpx.Request | float, Any, T]
"""Requests, each of which gets its answer or the error that came instead, and pauses in seconds."""
BODY_BYTES_MAX = 256 * 1024
"""The gateway's bound; longer lists go in several bodies."""
_AGAIN = {0, 429, 502, 503, 504}
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError)
_PAUSE_MAX_S, _AT_ONCE = 5, 20


class CarillonError(Exception):
    """The gateway refused, or gave no answer while the budget lasted: then `problem["status"]` is 0."""

    def __init__(self, problem: Problem) -> None:
        wrong = "".join(f"; {error['path']} {error['problem']}" for error in problem.get("errors", ()))
        super().__init__(f"{problem['status']} {problem['title']}: {problem['detail']}{wrong}")
        self.problem = problem


def keyed(event: NewEvent) -> NewEvent:
    """The event with an idempotency key: kept so and sent again within an hour, it is the same event."""
    return {**event, "idempotency_key": event.get("idempotency_key") or uuid4().hex}


class Calls:
    """The calls as steps, whoever carries them out."""

    _transport: type[Any]

    def __init__(self, url: str, key: str, *, budget_s: float = 30, timeout_s: float = 10) -> None:
        """`url` ends with /v1; `key` is a service's, or a user's token. `budget_s`: how long a call is repeated without
        progress; `timeout_s`: how long an answer may take.
        """
        headers, timeout = {"authorization": f"Bearer {key}"}, httpx.Timeout(timeout_s, pool=None)
        self._http, self._budget_s = self._transport(base_url=url, headers=headers, timeout=timeout), budget_s
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def _ask(self, method: str, path: str, *parts: str, body: Any = None, lines: Any = (), **query: Any) -> Steps[T]:
        """One call, with the parts of its path; `lines` go as NDJSON."""
        path = path.format(*(quote(part, safe="") for part in parts))
        request, patience = self._request(method, path, body, lines, query), _Patience(self._budget_s)
        while problem := _problem(answer := (yield request)):
            yield patience.pause(problem)
        return cast("T", answer.json() if answer.content else None)

    def _request(self, method: str, path: str, body: Any, lines: Sequence[bytes], query: Any = None) -> Any:
        content = b"\n".join(lines) or (None if body is None else _encoded(body))
        headers = {"content-type": "application/x-ndjson" if lines else "application/json"} if content else {}
        params = {name: value for name, value in (query or {}).items() if value is not None}
        return self._http.build_request(method, path, content=content, headers=headers, params=params)

    def _send(self, event: NewEvent) -> Steps[Accepted]:
        return self._ask("POST", "notifications", body=keyed(event))

    def _send_batch(self, events: Iterable[NewEvent]) -> Steps[list[Accepted | Problem]]:
        """In bodies as large as they may be; what has to wait is sent again, without what is done."""
        lines = [_encoded(keyed(event)) for event in events]
        answers: list[Any] = [None] * len(lines)
        waiting, patience = deque(range(len(lines))), _Patience(self._budget_s)
        while waiting:
            places = _fitting(lines, waiting)
            came = yield self._request("POST", "notifications/batch", None, [lines[place] for place in places])
            refusal = _problem(came)
            for place, answer in zip(places, came.json() if refusal is None else [refusal] * len(places), strict=True):
                answers[place] = answer
            again = [place for place in places if answers[place]["status"] in _AGAIN]
            waiting.extendleft(reversed(again))
            if len(again) < len(places):
                patience = _Patience(self._budget_s)
            late: Any = answers[again[-1]] if again else refusal
            try:
                if late and late["status"] != 413:
                    yield patience.pause(late)
            except CarillonError:
                return [answer or late for answer in answers]
        return answers

    def _put_follows(self, follows: Iterable[Follow]) -> Steps[int]:
        """In bodies as large as they may be, each of which is stored or not."""
        lines, stored = [_encoded(follow) for follow in follows], 0
        waiting = deque(range(len(lines)))
        while waiting:
            part = [lines[place] for place in _fitting(lines, waiting)]
            stored += (yield from self._ask("POST", "follows", lines=part))["stored"]
        return stored

    def _put_segment(self, segment: str, users: Iterable[str]) -> Steps[SegmentStored]:
        """As lines, which have no bound; only a list can be empty."""
        lines = [_encoded(user) for user in users]
        return self._ask("PUT", "segments/{}", segment, body=None if lines else [], lines=lines)


class _Patience:
    """When to send again, and until when."""

    def __init__(self, budget_s: float) -> None:
        self._failures, self._end = 0, time.monotonic() + budget_s

    def pause(self, problem: Problem) -> float:
        """Seconds to wait; raises the problem if it would not pass, or not in time."""
        self._failures += 1
        asked = problem.get("retry_after_ms", 0) / 1000
        pause = asked + random.uniform(0, max(asked / 2, min(_PAUSE_MAX_S, 0.1 * 2**self._failures)))
        if problem["status"] not in _AGAIN or time.monotonic() + pause > self._end:
            raise CarillonError(problem)
        return pause


def _problem(came: httpx.Response | Exception) -> Problem | None:
    """What is wrong, if something is; not every proxy gives a problem document."""
    if isinstance(came, Exception):
        return Problem(type="about:blank", title="No answer", status=0, detail=f"{type(came).__name__}: {came}")
    if came.is_success:
        return None
    problem = Problem(type="about:blank", title=came.reason_phrase, status=came.status_code, detail="no more is known")
    if came.headers.get("retry-after", "").isdigit():
        problem["retry_after_ms"] = int(came.headers["retry-after"]) * 1000
    if came.headers.get("content-type") == "application/problem+json":
        problem |= came.json()
    return problem


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _fitting(lines: Sequence[bytes], waiting: deque[int]) -> list[int]:
    """The first of those that wait, as many as one body holds, but one at least; they wait no more."""
    places = [waiting.popleft()]
    size = len(lines[places[0]])
    while waiting and (size := size + 1 + len(lines[waiting[0]])) <= BODY_BYTES_MAX:
        places.append(waiting.popleft())
    return places


class Waiting(Calls):
    """Carries steps out by waiting. Threads may share one."""

    _transport = httpx.Client

    def run(self, steps: Steps[T]) -> T:
        """Until the call is done."""
        came: Any = None
        while True:
            try:
                step = steps.send(came)
                came = self._http.send(step) if isinstance(step, httpx.Request) else time.sleep(step)  # type: ignore[func-returns-value] # None
            except StopIteration as ended:
                return ended.value  # type: ignore[no-any-return] # the steps say of which type
            except _LOST as error:
                came = error

    def __exit__(self, *_: object) -> None:
        self._http.close()


class Awaiting(Calls):
    """Carries steps out in asyncio. Tasks may share one."""

    _transport = httpx.AsyncClient

    async def run(self, steps: Steps[T]) -> T:
        """Until the call is done. Few at once: httpx takes ten times as long where hundreds wait for a connection."""
        came: Any = None
        async with self._turns:
            while True:
                try:
                    step = steps.send(came)
                    came = await (self._http.send(step) if isinstance(step, httpx.Request) else asyncio.sleep(step))
                except StopIteration as ended:
                    return ended.value  # type: ignore[no-any-return] # the steps say of which type
                except _LOST as error:
                    came = error

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
