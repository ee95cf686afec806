"""The calls of whoever holds a signed link. See `connectors.gateway.routes`."""

from __future__ import annotations

from functools import partial

from connectors.gateway import schemas
from connectors.gateway.pages.starting import wait_page
from connectors.gateway.preferences_page import PreferencesPage
from connectors.gateway.routes import Callers, Route
from connectors.gateway.unsubscribe import Unsubscribe


def link_calls(unsubscribe: Unsubscribe, preferences: PreferencesPage) -> list[Route]:
    """What anyone may call who holds a link; they answer with a page for people."""
    path, page = "/v1/unsubscribe/{token}", {200: None, 404: None}
    form_did_nothing = partial(wait_page, again=False)
    own_path = "/preferences/{token}"
    return [
        Route(
            "getUnsubscribe", "GET", path, Callers.PUBLIC, "Show what a link in a mail unsubscribes from",
            "A page with a button. Nothing changes, however often it is fetched. 404: no link of ours.",
            unsubscribe.show, page, (429,),
        ),
        Route(
            "postUnsubscribe", "POST", path, Callers.PUBLIC, "Unsubscribe by a link in a mail (RFC 8058)",
            "What the link names is merged into `unsubscribed` of its user's preferences. Again, it changes nothing.",
            unsubscribe.act, page, (429, 503), body=schemas.ONE_CLICK_BODIES, body_required=False,
            needs_directory=True, meanwhile=form_did_nothing,
        ),
        Route(
            "postLess", "POST", f"{path}/less", Callers.PUBLIC, "Choose less by a link in a mail",
            "Some types of the link's categories less or not at all, fewer a day. Nothing ever becomes more.",
            unsubscribe.less, page, (429,), body=schemas.PAGE_FORM, needs_directory=True, meanwhile=form_did_nothing,
        ),
        Route(
            "getPreferencesPage", "GET", own_path, Callers.PUBLIC, "Show a user's preferences to people",
            "A page with a form. 404: no link of ours, or its time is over.",
            preferences.show, page, (429,), needs_directory=True, meanwhile=partial(wait_page, again=True),
        ),
        Route(
            "postPreferencesPage", "POST", own_path, Callers.PUBLIC, "Store what a person chose on the page",
            "What differs is merged into the preferences. 412: they changed since; nothing is stored.",
            preferences.act, {200: None, 400: None, 404: None, 412: None, 503: None}, (429,), body=schemas.PAGE_FORM,
            needs_directory=True, meanwhile=form_did_nothing,
        ),
        Route(
            "getZoneScript", "GET", "/preferences/zone.js", Callers.PUBLIC, "A part of that page",
            "Proposes the browser's time zone.", preferences.zone_script, {200: None},
        ),
    ]  # fmt: skip
