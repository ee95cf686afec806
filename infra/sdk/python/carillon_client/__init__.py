"""Carillon's HTTP API: `Client` for programs that wait, `AsyncClient`, with the same calls awaited, for asyncio.

Every event bears an idempotency key, so calls may be repeated: they are, after 429, 502, 503, 504 and lost connections,
as Retry-After says or with pauses that grow, with jitter, while the budget lasts. `__init__.pyi` has types and texts.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from itertools import accumulate, takewhile
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

BODY_BYTES_MAX = 256 * 1024  # the gateway's bound; longer lists go in several bodies
_AGAIN = {0, 429, 502, 503, 504}
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError)
_PAUSE_MAX_S, _AT_ONCE, _NDJSON = 5, 20, {"content-type": "application/x-ndjson"}
_line = json.JSONEncoder(separators=(",", ":")).encode  # ASCII: as many bytes as characters


class CarillonError(Exception):
    """The gateway refused, or gave no answer while the budget lasted: then `problem["status"]` is 0."""

    def __init__(self, problem: dict[str, Any]) -> None:
        wrong = "".join(f"; {error['path']} {error['problem']}" for error in problem.get("errors", ()))
        super().__init__(f"{problem['status']} {problem['title']}: {problem['detail']}{wrong}")
        self.problem = problem


def keyed(event: dict[str, Any]) -> dict[str, Any]:
    """The event with an idempotency key: kept so and sent again within an hour, it is the same event."""
    return {**event, "idempotency_key": event.get("idempotency_key") or uuid4().hex}


class _Calls:
    """The calls of both clients. In those of `Client` nothing is left to await, so `_run` has their result at once."""

    _transport: type[Any]
    _pause: Callable[[float], Any]
    _run: Callable[..., Any]

    def __init__(self, url: str, key: str, *, budget_s: float = 30, timeout_s: float = 10) -> None:
        headers, timeout = {"authorization": f"Bearer {key}"}, httpx.Timeout(timeout_s, pool=None)
        self._http, self._budget_s = self._transport(base_url=url, headers=headers, timeout=timeout), budget_s
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def send(self, event: dict[str, Any]) -> Any:
        """Send one event. Two calls are two events, unless they bear the same idempotency_key or event_id."""
        return self._ask("POST notifications", body=keyed(event))

    def send_batch(self, events: Iterable[dict[str, Any]]) -> Any:
        """Send many events, in bodies as large as they may be. Gives an answer for each, in order."""
        return self._run(self._batch, [_line(keyed(event)) for event in events])

    def put_follows(self, follows: Iterable[dict[str, Any]]) -> Any:
        """Say who follows whom, in bodies as large as they may be. Gives how many were stored."""
        return self._run(self._follows, [_line(follow) for follow in follows])

    def put_segment(self, segment: str, users: Iterable[str]) -> Any:
        """Replace the members of a segment, in one body: as lines, which have no bound; only a list can be empty."""
        return self._ask("PUT segments/{}", segment, body=[], lines=[_line(user) for user in users])

    # fmt: off

    def progress(self, event_id): return self._ask("GET notifications/{}", event_id)
    def cancel(self, event_id): return self._ask("DELETE notifications/{}", event_id)
    def turn_rollout(self, event_id, document):
        return self._ask("POST notifications/{}/rollout", event_id, body=document)
    def put_user(self, user, document): return self._ask("PUT users/{}", user, body=document)
    def delete_user(self, user): return self._ask("DELETE users/{}", user)
    def put_endpoint(self, user, channel, id, document):
        return self._ask("PUT users/{}/endpoints/{}/{}", user, channel, id, body=document)
    def delete_endpoint(self, user, channel, id): return self._ask("DELETE users/{}/endpoints/{}/{}", user, channel, id)
    def endpoints(self, user): return self._ask("GET users/{}/endpoints", user)
    def link_preferences(self, user, document=None):
        return self._ask("POST users/{}/preferences-link", user, body=document)
    def inbox(self, *, limit=None, cursor=None, archived=None):
        return self._ask("GET notifications/inbox", limit=limit, cursor=cursor, archived=archived)
    def stream_ticket(self): return self._ask("POST notifications/inbox/stream/ticket")
    def read(self, document=None): return self._ask("POST notifications/inbox/read", body=document)
    def unread_inbox(self, document): return self._ask("POST notifications/inbox/unread", body=document)
    def archive_inbox(self, document=None): return self._ask("POST notifications/inbox/archive", body=document)
    def post_feedback(self, document): return self._ask("POST notifications/feedback", body=document)
    def preferences(self): return self._ask("GET preferences")
    def put_preferences(self, document): return self._ask("PUT preferences", body=document)
    def patch_preferences(self, document): return self._ask("PATCH preferences", body=document)
    def preference_types(self, *, locale=None): return self._ask("GET preferences/types", locale=locale)
    def link_own_preferences(self, document=None): return self._ask("POST preferences/link", body=document)
    def register_device(self, document): return self._ask("POST devices/register", body=document)
    def devices(self): return self._ask("GET devices")
    def delete_device(self, device_id): return self._ask("DELETE devices/{}", device_id)
    # fmt: on

    def _ask(self, call: str, *parts: str, **given: Any) -> Any:
        return self._run(self._asked, call.format(*(quote(part, safe="") for part in parts)), **given)

    async def _asked(self, call: str, **given: Any) -> Any:
        failures, end = 0, time.monotonic() + self._budget_s
        while (came := await self._request(call, **given))[0]:
            failures += 1
            await _done(self._pause(_seconds(came[0], failures, end)))
        return came[1]

    async def _batch(self, lines: Sequence[str]) -> list[Any]:
        answers: list[Any] = [None] * len(lines)
        waiting, failures, end = list(range(len(lines))), 0, time.monotonic() + self._budget_s
        while waiting:
            places = _fitting(lines, waiting)
            refusal, given = await self._request("POST notifications/batch", lines=[lines[place] for place in places])
            for place, answer in zip(places, given or [refusal] * len(places), strict=True):
                answers[place] = answer
            again = [place for place in places if answers[place]["status"] in _AGAIN]
            waiting[: len(places)] = again
            failures, late = failures + 1, answers[again[-1]] if again else refusal
            if len(again) < len(places):
                failures, end = 1, time.monotonic() + self._budget_s
            try:
                if late and late["status"] != 413:
                    await _done(self._pause(_seconds(late, failures, end)))
            except CarillonError:
                return [answer or late for answer in answers]
        return answers

    async def _follows(self, lines: Sequence[str]) -> int:
        waiting, stored = list(range(len(lines))), 0
        while waiting:
            places = _fitting(lines, waiting)
            stored += (await self._asked("POST follows", lines=[lines[place] for place in places]))["stored"]
            del waiting[: len(places)]
        return stored

    async def _request(self, call: str, *, body: Any = None, lines: Sequence[str] = (), **query: Any) -> Any:
        """One request: the problem, or the document of its answer."""
        given = {"content": "\n".join(lines), "headers": _NDJSON} if lines else {"json": body}
        params = {name: value for name, value in query.items() if value is not None}
        try:
            came = await _done(self._http.request(*call.split(" "), params=params, **given))
            is_document = came.is_success or came.headers.get("content-type", "").startswith("application/problem+json")
            document = came.json() if is_document and came.content else None
        except (*_LOST, httpx.DecodingError, json.JSONDecodeError, UnicodeDecodeError) as error:  # or a proxy's page
            return {"type": "about:blank", "title": "No answer", "status": 0, "detail": repr(error)}, None
        problem = {"type": "about:blank", "title": came.reason_phrase, "status": came.status_code, "detail": "unknown"}
        if came.headers.get("retry-after", "").isdigit():
            problem["retry_after_ms"] = int(came.headers["retry-after"]) * 1000
        return (None, document) if came.is_success else (problem | (document if type(document) is dict else {}), None)


class Client(_Calls, AbstractContextManager["Client"]):
    """For programs that wait. Threads may share one."""

    _transport, _pause = httpx.Client, staticmethod(time.sleep)

    def _run(self, call: Callable[..., Coroutine[Any, Any, Any]], *given: Any, **named: Any) -> Any:
        try:
            call(*given, **named).send(None)
        except StopIteration as ended:
            return ended.value

    def __exit__(self, *_: object) -> None:
        self._http.close()


class AsyncClient(_Calls, AbstractAsyncContextManager["AsyncClient"]):
    """For asyncio. Tasks may share one. Few calls at once: httpx slows down where hundreds wait for a connection."""

    _transport, _pause = httpx.AsyncClient, staticmethod(asyncio.sleep)

    async def _run(self, call: Callable[..., Coroutine[Any, Any, Any]], *given: Any, **named: Any) -> Any:
        async with self._turns:
            return await call(*given, **named)

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()


async def _done(result: Any) -> Any:
    return await result if isinstance(result, Awaitable) else result


def _seconds(problem: dict[str, Any], failures: int, end: float) -> float:
    """How long to wait before the next request; raises the problem if it would not pass, or not in time."""
    asked: float = problem.get("retry_after_ms", 0) / 1000
    pause = asked + random.uniform(0, max(asked / 2, min(_PAUSE_MAX_S, 0.1 * 2**failures)))
    if problem["status"] not in _AGAIN or time.monotonic() + pause > end:
        raise CarillonError(problem)
    return pause


def _fitting(lines: Sequence[str], waiting: Sequence[int]) -> Sequence[int]:
    """The first of those that wait, as many as one body holds, but one at least."""
    ends = accumulate(len(lines[place]) + 1 for place in waiting)
    return waiting[: max(1, sum(1 for _ in takewhile((BODY_BYTES_MAX + 1).__ge__, ends)))]
