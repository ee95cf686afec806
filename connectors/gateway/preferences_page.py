"""A user's page of preferences, which a signed link opens: GET shows it, POST stores what he chose.

The link is made for the host application, or for a user's session, and ends by itself. It is all that a caller needs
and all that is looked at: there is no cookie, so another site's form can do nothing. The form says which version of the
document it showed. Where that is not the present one, nothing is stored, and the present one is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from connectors.gateway.answers import PageLinkMade
from connectors.gateway.bodies import named_in_path, sent_document
from connectors.gateway.devices import Devices
from connectors.gateway.directory import ActiveEndpoint
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.link_limits import LinkLimits
from connectors.gateway.pages.choices import Choices, offered_types
from connectors.gateway.pages.form import SentForm, wish
from connectors.gateway.pages.html import file_text, page_response
from connectors.gateway.pages.words import PageWords, said_moment, words_wished
from connectors.gateway.preferences import Preferences, etag, merge_patch
from connectors.gateway.problems import ProblemError
from state.model.admission import AdmissionRules, FieldError
from state.model.documents import NewOwnPageLink, NewPageLink
from state.model.page_link import PageKeys, PageLink
from state.model.preference import compile_preference

OWN_LIFETIME = timedelta(minutes=15)
"""Of a link that a user's session made: it shall not outlive the session by much."""
LIFETIME = timedelta(hours=1)
"""Of one that the host application made, unless it says how long."""
_PAGE = "preferences.html"
_MILLISECOND = timedelta(milliseconds=1)
_PUSH = "push"
_FIELDS = {
    "quiet_hours.start": ("start", "time"), "quiet_hours.end": ("end", "time"),
    "quiet_hours.timezone": ("zone", "zone"),
    "frequency_cap.max_per_hour": ("max_per_hour", "number"), "frequency_cap.max_per_day": ("max_per_day", "number"),
}  # fmt: skip
"""Path in the document to the page's field, and what kind of error it has."""


class PageNote(NamedTuple):
    """What the page says at its top."""

    title: str = ""
    text: str = ""
    wrong: bool = False
    lists: tuple[tuple[str, list[str]], ...] = ()


class PageError(NamedTuple):
    """A field that is wrong."""

    field: str
    label: str
    text: str


class PreferencesPage:
    """`GET`, `POST` `/preferences/{token}`, and the calls that make such links."""

    def __init__(
        self,
        rules: AdmissionRules,
        keys: PageKeys,
        preferences: Preferences,
        devices: Devices,
        limits: LinkLimits,
        *,
        origin: str,
        clock: Callable[[], int],
    ) -> None:
        """`origin`: where people reach this gateway, https://HOST; empty: links are paths. `clock` in milliseconds."""
        self._rules, self._keys, self._preferences, self._devices = rules, keys, preferences, devices
        self._limits, self._origin, self._clock = limits, origin.rstrip("/"), clock

    async def link(self, request: ApiRequest) -> ApiResponse:
        """For the host application: the page of any user."""
        (user,) = named_in_path(request, self._rules, "user")
        body = await sent_document(request, self._rules, NewPageLink, optional=True)
        lifetime_s = body.get("lifetime_s") or LIFETIME // timedelta(seconds=1)
        return self._made(user, body, timedelta(seconds=lifetime_s))

    async def own_link(self, request: ApiRequest) -> ApiResponse:
        """For a user's session: his own page."""
        body = await sent_document(request, self._rules, NewOwnPageLink, optional=True)
        return self._made(request.caller().name, body, OWN_LIFETIME)

    def _made(self, user: str, body: dict[str, Any], lifetime: timedelta) -> ApiResponse:
        ends_at = self._clock() + lifetime // _MILLISECOND
        token = self._keys.sign(PageLink(user, body.get("locale") or "", ends_at))
        return json_response(200, PageLinkMade(f"{self._origin}/preferences/{token}", ends_at))

    async def zone_script(self, _request: ApiRequest) -> ApiResponse:
        """Proposes the browser's time zone; the page works without it."""
        return ApiResponse(200, file_text("zone.js").encode(), (), "text/javascript; charset=utf-8")

    async def show(self, request: ApiRequest) -> ApiResponse:
        """The page; nothing changes."""
        link, words = self._opened(request)
        return _unknown(words) if link is None else await self._page(link.user, words)

    async def act(self, request: ApiRequest) -> ApiResponse:
        """Store what was chosen, and say from when on it counts."""
        link, words = self._opened(request)
        body = await request.body()
        if link is None:
            return _unknown(words, f"{words.page('not_stored')} ")
        self._limits.take_user(link.user)
        return await self._store(link.user, SentForm(body), words)

    def _opened(self, request: ApiRequest) -> tuple[PageLink | None, PageWords]:
        self._limits.take_address(request.client())
        link = self._keys.read(request.parameters["token"], now_ms=self._clock())
        return link, words_wished(link and link.language, request.header(b"accept-language"))

    async def _store(self, user: str, form: SentForm, words: PageWords) -> ApiResponse:
        stored = await self._preferences.stored(user)
        if form.one("version") != etag(stored):
            return await self._page(user, words, PageNote(words.page("conflict"), wrong=True), status=412)
        wanted = wish(form, stored.document, offered_types(self._rules, stored.document))
        wanted_document = merge_patch(stored.document, wanted.patch)
        if wanted.wayless:
            errors = [FieldError(f"types.{name}.channels", "", "") for name in wanted.wayless]
            return await self._refused(user, words, wanted_document, errors, etag(stored))
        try:
            if wanted.patch:
                await self._preferences.write(user, wanted.patch, etag(stored), merge=True)
        except ProblemError as problem:
            return await self._failed(user, words, wanted_document, problem, etag(stored))
        removed, left = await self._forget(user, form.all("forget"))
        note = self._stored_note(words, stored.document, wanted_document, removed, left)
        return await self._page(user, words, note)

    async def _forget(self, user: str, names: list[str]) -> tuple[list[str], list[str]]:
        """Remove devices; gives which are gone, and which could not be removed. One that was gone before is neither."""
        removed, left = [], []
        for name in names:
            try:
                await self._devices.remove(user, _PUSH, name)
                removed.append(name)
            except ProblemError as problem:
                left += [name] if problem.status != 404 else []
        return removed, left

    async def _failed(
        self, user: str, words: PageWords, document: dict[str, Any], problem: ProblemError, version: str
    ) -> ApiResponse:
        if problem.status == 412:
            return await self._page(user, words, PageNote(words.page("conflict"), wrong=True), status=412)
        errors = problem.document().errors
        if problem.status == 400 and errors is not msgspec.UNSET:
            return await self._refused(user, words, document, errors, version)
        note = PageNote(words.page("later"), wrong=True)
        page = await self._page(user, words, note, document=document, version=version, status=problem.status)
        return page._replace(headers=(*page.headers, *problem.headers))

    async def _refused(
        self, user: str, words: PageWords, document: dict[str, Any], errors: list[FieldError], version: str
    ) -> ApiResponse:
        """The choices are kept as they were made."""
        note = PageNote(words.page("wrong"), wrong=True)
        return await self._page(user, words, note, errors, document=document, version=version, status=400)

    async def _page(
        self,
        user: str,
        words: PageWords,
        note: PageNote | None = None,
        errors: list[FieldError] | None = None,
        *,
        document: dict[str, Any] | None = None,
        version: str = "",
        status: int = 200,
    ) -> ApiResponse:
        """With what is stored now, or with a document that could not be."""
        if document is None:
            stored = await self._preferences.stored(user)
            document, version = stored.document, etag(stored)
        view = Choices(document, self._rules, words)
        shown = [_page_error(error, view, words) for error in errors or ()]
        values = {
            "words": words, "view": view, "version": version, "note": note or PageNote(), "errors": shown,
            "wrong": {error.field: error.text for error in shown if error.field},
            "devices": [_device(each, words) for each in await self._devices.active(user)],
        }  # fmt: skip
        return page_response(status, _PAGE, values, script=True)

    def _stored_note(
        self, words: PageWords, before: dict[str, Any], after: dict[str, Any], removed: list[str], left: list[str]
    ) -> PageNote:
        """What was switched, and from when on it counts: it is in the log, and RULES 6 says what it binds."""
        if before == after and not removed and not left:
            return PageNote(words.page("unchanged"))
        was = Choices(before, self._rules, words).switches()
        now = Choices(after, self._rules, words).switches()
        turned = [(title, on) for key, (title, on) in now.items() if key in was and was[key][1] != on]
        lists = (
            (words.page("now_off"), [title for title, on in turned if not on]),
            (words.page("now_on"), [title for title, on in turned if on]),
            (words.page("removed"), removed),
            (words.page("not_removed"), left),
        )
        moment = said_moment(self._clock(), compile_preference(after).zone)
        return PageNote(words.page("stored"), words.page("from_then", at=moment), lists=lists)


def _unknown(words: PageWords, first: str = "") -> ApiResponse:
    note = PageNote(words.page("unknown"), first + words.page("unknown_text"), wrong=True)
    return page_response(404, _PAGE, {"words": words, "note": note, "view": None, "errors": [], "wrong": {}})


def _page_error(error: FieldError, view: Choices, words: PageWords) -> PageError:
    """In the person's words where the page has the field."""
    for choice in (choice for category in view.categories for choice in category.types):
        if error.path == f"types.{choice.name}.channels":
            return PageError(choice.field, choice.title, words.error("channels"))
    field, kind = _FIELDS.get(error.path, ("", ""))
    if not field:
        return PageError("", error.path, f"{error.problem}; {error.remedy}")
    return PageError(field, words.page(field), words.error(kind))


def _device(each: ActiveEndpoint, words: PageWords) -> dict[str, Any]:
    title = " · ".join(filter(None, (words.channel(each.channel), each.platform, each.id)))
    day = f"{datetime.fromtimestamp(each.registered_at / 1000, UTC):%Y-%m-%d}"
    return {"id": each.id, "title": title, "day": day, "removable": each.channel == _PUSH}
