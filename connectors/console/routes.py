"""The addresses of the console, and which roles may see them."""

from __future__ import annotations

from functools import partial

from connectors.console.campaigns import AUDIENCE, BAD_ROWS, CAMPAIGNS, EDIT, NEW, SLOT, TEST, CampaignPages
from connectors.console.handlers import Console, ConsoleParts
from connectors.console.openid import CALLBACK, START
from connectors.console.pages import NOWHERE, Gatekeeper, Page, form_page, nowhere, starting_page, static_file
from connectors.console.texts import TEXTS, TextPages
from connectors.console.types import TYPES, TypePages
from connectors.gateway.campaign_calls import MARKETING
from connectors.gateway.options import PEOPLE
from connectors.gateway.routes import Callers, Handler, Route

_ALL = frozenset[str](PEOPLE)
_OPS = frozenset(("ops", "admin"))
_SUPPORT = frozenset(("support", "admin"))


def console_pages(console: Console, marketing: CampaignPages, types: TypePages, texts: TextPages) -> list[Page]:
    """Every page, in the order of the menu."""
    return [
        Page("consoleNow", "GET", "/console", _ALL, console.now, "Now"),
        Page("consoleEvents", "GET", "/console/events", _OPS | _SUPPORT, console.events, "Events"),
        Page("consolePeople", "GET", "/console/people", _SUPPORT, console.people, "People"),
        Page("consoleSenders", "GET", "/console/senders", _ALL, console.senders, "Senders"),
        Page("consoleTypes", "GET", TYPES, _ALL, types.types, "Types"),
        Page("consoleTemplates", "GET", TEXTS, MARKETING, texts.texts, "Templates"),
        Page("consoleCampaigns", "GET", CAMPAIGNS, MARKETING, marketing.campaigns, "Campaigns"),
        Page("consoleLetters", "GET", "/console/letters", _OPS, console.letters, "Dead letters"),
        Page("consoleSwitches", "GET", "/console/switches", _OPS, console.switches, "Kill switches"),
        Page("consoleApprovals", "GET", "/console/approvals", _OPS, console.approvals, "Approvals"),
        Page("consoleAudit", "GET", "/console/audit", _OPS, console.audit, "Audit"),
        Page("consoleExplain", "GET", "/console/explain", _SUPPORT, console.explain),
        Page("consoleNowStream", "GET", "/console/now/stream", _ALL, console.now_stream),
        Page("consoleBadRows", "GET", BAD_ROWS, MARKETING, marketing.bad_rows),
        Page("consoleActOnCampaign", "POST", CAMPAIGNS, MARKETING, marketing.act),
        Page("consoleCampaignSlot", "POST", SLOT, MARKETING, marketing.change_slot),
        Page("consoleTestCampaign", "POST", TEST, MARKETING, marketing.test),
        Page("consoleCreateCampaign", "POST", NEW, MARKETING, marketing.create),
        Page("consoleEditCampaign", "POST", EDIT, MARKETING, marketing.edit),
        Page("consolePutAudience", "POST", AUDIENCE, MARKETING, marketing.put_audience, takes_file=True),
        Page("consoleChangeLimit", "POST", "/console/senders", _ALL, console.change_limit),
        Page("consoleActOnType", "POST", TYPES, _OPS, types.act),
        Page("consoleActOnTemplate", "POST", TEXTS, MARKETING, texts.act),
        Page("consoleDecideLetter", "POST", "/console/letters", _OPS, console.decide_letter),
        Page("consoleSetSwitch", "POST", "/console/switches", _OPS, console.set_switch),
        Page("consoleDecideApproval", "POST", "/console/approvals", _OPS, console.decide_approval),
        Page("consoleNowhere", "GET", NOWHERE, _ALL, nowhere),
        Page("consoleSignOut", "POST", "/console/sign-out", _ALL, console.sign_out),
        *(Page("consoleForm", "GET", path, MARKETING, form_page) for path in (SLOT, TEST, NEW, EDIT, AUDIENCE)),
    ]


def console_routes(parts: ConsoleParts) -> list[Route]:
    """Pages, and what they are made of. Who is not signed in gets to the page for it."""
    console = Console(parts)
    pages = console_pages(console, CampaignPages(parts.campaigns), TypePages(parts.registry), TextPages(parts.texts))
    gatekeeper = Gatekeeper(parts.gateway.sessions, pages, parts.questions.prepare)
    parts.gateway.sessions.on_sign_in = parts.questions.prepare
    return [
        _public("consoleSignInPage", "GET", "/console/sign-in", console.sign_in_page),
        _public("consoleSignIn", "POST", "/console/sign-in", console.sign_in),
        _public("consoleFile", "GET", "/console/files/{name}", static_file),
        *(_openid(console) if parts.gateway.openid is not None else ()),
        # Public for the router: the gatekeeper knows who is signed in, and answers with pages.
        *(
            Route(
                page.operation, page.method, page.path, Callers.PUBLIC, "", "", partial(gatekeeper.serve, page), {},
                needs_directory=True, meanwhile=partial(starting_page, again=page.method == "GET"),
            )
            for page in pages
        ),
    ]  # fmt: skip


def _openid(console: Console) -> list[Route]:
    return [
        _public("consoleOpenId", "GET", START, console.openid_begin),
        _public("consoleOpenIdAnswer", "GET", CALLBACK, console.openid_end),
    ]


def _public(operation: str, method: str, path: str, handler: Handler) -> Route:
    return Route(operation, method, path, Callers.PUBLIC, "", "", handler, {})
