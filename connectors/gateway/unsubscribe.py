"""The links in mails by which anyone who holds one stops a category of mails (RFC 8058): GET shows, POST acts.

Mail programs post `List-Unsubscribe=One-Click`, people press the page's button, and scanners only look. No session, no
cookie, no redirect; the body is read and says nothing, since the token says everything. What is stopped already stays
so, and is answered alike.
"""

from __future__ import annotations

from connectors.gateway.http import ApiRequest, ApiResponse
from connectors.gateway.link_limits import LinkLimits
from connectors.gateway.preferences import Preferences
from connectors.gateway.unsubscribe_page import page
from state.model.unsubscribe import LinkKeys, Unsubscription


class Unsubscribe:
    """`GET`, `POST` `/v1/unsubscribe/{token}`."""

    def __init__(self, keys: LinkKeys, preferences: Preferences, limits: LinkLimits) -> None:
        """Written through `preferences`, so that a user's changes stay in one order."""
        self._keys, self._preferences, self._limits = keys, preferences, limits

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
        self._limits.take_user(link.user)
        await self._preferences.unsubscribe(link.user, link.channel, link.categories)
        return page(request, "done", link)

    def _link(self, request: ApiRequest) -> Unsubscription | None:
        self._limits.take_address(request.client())
        return self._keys.read(request.parameters["token"])
