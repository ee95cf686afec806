"""The links in mails by which anyone who holds one stops a category of mails (RFC 8058): GET shows, POST acts.

Mail programs post `List-Unsubscribe=One-Click`, people press the page's button, and scanners only look. No session, no
cookie, no redirect; the body is read and says nothing, since the token says everything. What is stopped already stays
so, and is answered alike.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from connectors.admission.limits import LocalSenderLimit
from connectors.gateway.http import ApiRequest, ApiResponse
from connectors.gateway.preferences import Preferences
from connectors.gateway.problems import retry_later
from connectors.gateway.unsubscribe_page import page
from state.model.unsubscribe import LinkKeys, Unsubscription

PER_ADDRESS_PER_S = 200
"""Calls from one address. Mailbox providers post for all of their users from few; behind a proxy there is one."""
PER_USER_PER_S = 5
_BUCKETS = 4096
"""Windows of limits: addresses and users that share one are few, and memory stays bounded."""


class Unsubscribe:
    """`GET`, `POST` `/v1/unsubscribe/{token}`."""

    def __init__(self, keys: LinkKeys, preferences: Preferences, *, clock: Callable[[], int]) -> None:
        """Written through `preferences`, so that a user's changes stay in one order."""
        self._keys, self._preferences, self._clock = keys, preferences, clock
        self._windows = LocalSenderLimit()

    async def show(self, request: ApiRequest) -> ApiResponse:
        """A page that says what the link stops, with a button; nothing changes."""
        link = self._link(request)
        return page(request, "unknown" if link is None else "ask", link)

    async def act(self, request: ApiRequest) -> ApiResponse:
        """Stop it. It counts for every event accepted from now on, and for what still waits to be sent."""
        link = self._link(request)
        await request.body()
        if link is None:
            return page(request, "unknown", None)
        self._take(f"user {_bucket(link.user)}", PER_USER_PER_S)
        await self._preferences.unsubscribe(link.user, link.channel, link.categories)
        return page(request, "done", link)

    def _link(self, request: ApiRequest) -> Unsubscription | None:
        self._take(f"address {_bucket(request.client())}", PER_ADDRESS_PER_S)
        return self._keys.read(request.parameters["token"])

    def _take(self, window: str, limit: int) -> None:
        """:raises ProblemError: 429."""
        grant = self._windows.take_now(window, 1, limit=limit, now_ms=self._clock())
        if not grant.granted:
            raise retry_later(429, "too many calls at once; try again in a moment", grant.retry_after_ms)


def _bucket(name: str) -> int:
    return crc32(name.encode("utf-8", "surrogatepass")) % _BUCKETS
