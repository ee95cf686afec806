"""Which web sites' pages may make the calls of users (CORS): those of the configuration, by default none.

What identifies a caller is a header that the page sets, or a ticket. No answer allows cookies or a browser's own
credentials, so a page of another site gains nothing by a visitor who is signed in here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from connectors.gateway.http import ApiRequest, ApiResponse
from connectors.gateway.routes import Callers, Route

AnswerHeaders = tuple[tuple[str, str], ...]
_VARY = ("vary", "origin")
_ASKED = "authorization, content-type, if-match, last-event-id"
_SHOWN = "etag, retry-after"
_PREFLIGHT_S = 600
PREFLIGHT = "preflight"
"""In place of the name of a call, where a browser asks whether it may be made."""


class Origins:
    """What answers say to browsers."""

    def __init__(self, allowed: Collection[str]) -> None:
        """`allowed` as browsers send them: https://HOST or https://HOST:PORT."""
        self._allowed = frozenset(allowed)

    def headers(self, route: Route, request: ApiRequest) -> AnswerHeaders:
        """Of every answer of a route."""
        if not self._allowed or not (route.callers is Callers.USER or route.operation == PREFLIGHT):
            return ()
        origin = request.header(b"origin") or ""
        if origin not in self._allowed:
            return (_VARY,)
        return (_VARY, ("access-control-allow-origin", origin), ("access-control-expose-headers", _SHOWN))

    def asked_method(self, request: ApiRequest) -> str | None:
        """The method of the call that a browser asks to make for a page of an allowed site; None: it asks nothing."""
        if request.header(b"origin") not in self._allowed:
            return None
        return request.header(b"access-control-request-method")

    def preflight(self, route: Route) -> Route:
        """What answers a browser that asks for this route."""

        async def allow(_request: ApiRequest) -> ApiResponse:
            headers = (
                ("access-control-allow-methods", route.method),
                ("access-control-allow-headers", _ASKED),
                ("access-control-max-age", str(_PREFLIGHT_S)),
            )
            return ApiResponse(204, b"", headers)

        return replace(
            route, operation=PREFLIGHT, callers=Callers.PUBLIC, handler=allow, needs_directory=False, body={}
        )
