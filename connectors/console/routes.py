"""The addresses of the console, and which roles may see them."""

from __future__ import annotations

from functools import partial

from connectors.console.handlers import Console, ConsoleParts
from connectors.console.openid import CALLBACK, START
from connectors.console.pages import Gatekeeper, Page, PageHandler, static_file
from connectors.gateway.options import PEOPLE
from connectors.gateway.routes import Callers, Route

_ALL = frozenset[str](PEOPLE)
_OPS = frozenset(("ops", "admin"))
_SUPPORT = frozenset(("support", "admin"))


def console_routes(parts: ConsoleParts) -> list[Route]:
    """Pages, and what they are made of. Who is not signed in gets to the page for it."""
    console, gatekeeper = Console(parts), Gatekeeper(parts.sessions)

    def shown(operation: str, method: str, path: str, roles: frozenset[str], handler: PageHandler) -> Route:
        serve = partial(gatekeeper.serve, Page(method, path, roles, handler))
        # Public for the router: the gatekeeper knows who is signed in, and answers with pages.
        return Route(operation, method, path, Callers.PUBLIC, "", "", serve, {}, needs_directory=True)

    openid = [
        Route("consoleOpenId", "GET", START, Callers.PUBLIC, "", "", console.openid_begin, {}),
        Route("consoleOpenIdAnswer", "GET", CALLBACK, Callers.PUBLIC, "", "", console.openid_end, {}),
    ]
    return [
        *(openid if parts.openid is not None else ()),
        Route("consoleSignInPage", "GET", "/console/sign-in", Callers.PUBLIC, "", "", console.sign_in_page, {}),
        Route("consoleSignIn", "POST", "/console/sign-in", Callers.PUBLIC, "", "", console.sign_in, {}),
        Route("consoleFile", "GET", "/console/files/{name}", Callers.PUBLIC, "", "", static_file, {}),
        shown("consoleSignOut", "POST", "/console/sign-out", _ALL, console.sign_out),
        shown("consoleNow", "GET", "/console", _ALL, console.now),
        shown("consoleNowStream", "GET", "/console/now/stream", _ALL, console.now_stream),
        shown("consoleEvents", "GET", "/console/events", _OPS | _SUPPORT, console.events),
        shown("consolePeople", "GET", "/console/people", _SUPPORT, console.people),
        shown("consoleExplain", "GET", "/console/explain", _SUPPORT, console.explain),
        shown("consoleSenders", "GET", "/console/senders", _ALL, console.senders),
        shown("consoleTypes", "GET", "/console/types", _ALL, console.types),
        shown("consoleLetters", "GET", "/console/letters", _OPS, console.letters),
        shown("consoleDecideLetter", "POST", "/console/letters", _OPS, console.decide_letter),
        shown("consoleSwitches", "GET", "/console/switches", _OPS, console.switches),
        shown("consoleSetSwitch", "POST", "/console/switches", _OPS, console.set_switch),
        shown("consoleAudit", "GET", "/console/audit", _OPS, console.audit),
    ]
