"""The links in mails by which anyone who holds one stops a category of mails (RFC 8058): GET shows, POST acts.

Mail programs post `List-Unsubscribe=One-Click`, people press the page's button, and scanners only look. No session, no
cookie, no redirect; the body is read and says nothing, since the token says everything. What is stopped already stays
so, and is answered alike. Who wants less and not nothing sends another form of the page, to `/less` below the link.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from connectors.gateway.http import ApiRequest, ApiResponse
from connectors.gateway.link_limits import LinkLimits
from connectors.gateway.pages.form import SentForm
from connectors.gateway.pages.html import page_response
from connectors.gateway.pages.less import MOSTS, less_lines, less_offers, less_patch, less_types
from connectors.gateway.pages.words import PageWords, said_moment, words_wished
from connectors.gateway.preferences import Preferences
from state.model.admission import AdmissionRules
from state.model.unsubscribe import LinkKeys, Unsubscription

Saying = Literal["ask", "done", "lessened", "unknown"]


class Unsubscribe:
    """`GET`, `POST` `/v1/unsubscribe/{token}`, and `POST` of its `/less`."""

    def __init__(
        self,
        rules: AdmissionRules,
        keys: LinkKeys,
        preferences: Preferences,
        limits: LinkLimits,
        *,
        clock: Callable[[], int],
    ) -> None:
        """Written through `preferences`, so that a user's changes stay in one order. `clock` in milliseconds."""
        self._rules, self._keys, self._preferences, self._limits = rules, keys, preferences, limits
        self._clock = clock

    async def show(self, request: ApiRequest) -> ApiResponse:
        """A page that says what the link stops, with a button; nothing changes."""
        link = self._link(request)
        return self._page(request, "unknown" if link is None else "ask", link)

    async def act(self, request: ApiRequest) -> ApiResponse:
        """Stop it. It counts for every event accepted from now on, and for what still waits to be sent."""
        link = self._link(request)
        await request.body()
        if link is None:
            return self._page(request, "unknown", None)
        self._limits.take_user(link.user)
        await self._preferences.unsubscribe(link.user, link.channel, link.categories)
        return self._page(request, "done", link)

    async def less(self, request: ApiRequest) -> ApiResponse:
        """Store what becomes less: types of the link's categories, the most a day. Nothing ever becomes more."""
        link, words = self._link(request), _words(request)
        form = SentForm(await request.body())
        if link is None:
            return self._page(request, "unknown", None)
        self._limits.take_user(link.user)
        lines = less_lines(form, less_offers(self._rules, link.categories, link.channel, words), words)
        if not lines:
            return self._page(request, "ask", link)
        profiles = less_types(self._rules, link.categories)

        def patch(document: dict[str, Any]) -> dict[str, Any]:
            return less_patch(form, document, profiles, link.channel)

        await self._preferences.write(link.user, patch, None, merge=True)
        return self._page(request, "lessened", link, lines=lines, moment=said_moment(self._clock(), "UTC"))

    def _page(self, request: ApiRequest, part: Saying, link: Unsubscription | None, **more: Any) -> ApiResponse:
        """200, or 404 where the link is none of ours. `more`: what was chosen, and from when on it counts. It tells
        which kind of mail it is, and never to whom or what he has chosen.
        """
        words, path = _words(request), f"/v1/unsubscribe/{request.parameters['token']}"
        values: dict[str, Any] = {
            "part": part, "words": words, "mosts": MOSTS, "path": path, "kinds": "", "offers": [], **more
        }  # fmt: skip
        if link is not None:
            values["kinds"] = ", ".join(map(words.category, link.categories))
            values["offers"] = less_offers(self._rules, link.categories, link.channel, words)
        return page_response(404 if part == "unknown" else 200, "unsubscribe.html", values)

    def _link(self, request: ApiRequest) -> Unsubscription | None:
        self._limits.take_address(request.client())
        return self._keys.read(request.parameters["token"])


def _words(request: ApiRequest) -> PageWords:
    return words_wished(request.header(b"accept-language"))
