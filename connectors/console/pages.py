"""The one way to answer with a page, and the policy of every page: nothing foreign, no script or style inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import jinja2

from connectors.console.sessions import Session, Sessions, is_from_here, is_signed
from connectors.console.uploads import Upload, upload_of
from connectors.gateway.http import ApiRequest, ApiResponse, StreamResponse
from connectors.gateway.problems import ProblemError
from connectors.paging import cursor_text
from state.model.errors import LogError
from state.model.zones import local_time

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_OTHERS = (("referrer-policy", "no-referrer"), ("x-robots-tag", "noindex"))
HEADERS = (("content-security-policy", _POLICY), *_OTHERS)
_DRAWING = (("content-security-policy", f"{_POLICY}; style-src-attr 'unsafe-inline'"), *_OTHERS)
"""Of a page with a mail in a frame: the frame has the page's policy, and mails have their styles in attributes."""
HTML = "text/html; charset=utf-8"
SIGN_IN, NOWHERE = "/console/sign-in", "/console/{page}"
_FIELDS_MAX = 400
"""A form of texts has one for each form of each channel, one of parts one for each part."""
_FILES = files("connectors.console")
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Visit:
    """A person's request for a page, or a form that he sent."""

    request: ApiRequest
    session: Session
    menu: Sequence[tuple[str, str]]
    """Names and addresses of the pages that he may see."""
    form: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None
    """What came with the form, where the page takes a file."""

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of its address; empty fields of a form are left out."""
        return {name: value.strip() for name, value in self.request.pairs() if value.strip()}


PageHandler = Callable[[Visit], Awaitable[ApiResponse | StreamResponse]]


@dataclass(frozen=True, slots=True)
class Page:
    """One address and who may see it."""

    operation: str
    """Label of its metrics."""
    method: str
    path: str
    roles: frozenset[str]
    handler: PageHandler
    title: str | None = None
    """Its name in the menu; None: it is not there."""
    takes_file: bool = False
    """Whether its form comes with a file."""


def shown_time(at_ms: float | None, zone: str = "UTC") -> str:
    """A time for people: as clocks of the zone show it, to the second."""
    if not at_ms:
        return "-"
    return local_time(datetime.fromtimestamp(at_ms / 1000, UTC), zone).strftime("%Y-%m-%d %H:%M:%S")


def shown_moment(at_ms: int) -> str:
    """A time for people who count milliseconds: UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


def shown_number(value: float) -> str:
    """A number with thin spaces between thousands."""
    shown = f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
    return shown.replace(",", "\u202f")


def shown_seconds(value: float) -> str:
    """How long something took."""
    return f"{value:.3g} s" if value >= 1 else f"{shown_number(value * 1000)} ms"


def link(path: str, **query: Any) -> str:
    """An address within the console; what is None is left out."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, quote_via=quote)}" if given else path


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (_FILES / "templates" / name).read_text("utf-8")),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"time": shown_time, "moment": shown_moment, "number": shown_number, "seconds": shown_seconds}
    made.globals |= {"link": link, "cursor_text": cursor_text, "style": f"/console/files/{_named('console.css')}",
                     "script": f"/console/files/{_named('console.js')}"}  # fmt: skip
    return made


def render_template(template: str, **values: Any) -> str:
    """A template's text."""
    return _environment().get_template(template).render(**values)


def answer_page(
    template: str, visit: Visit | None, *, status: int = 200, draws_mail: bool = False, **values: Any
) -> ApiResponse:
    """A page for whoever is signed in; `draws_mail`: with mails in frames."""
    session, menu = (None, ()) if visit is None else (visit.session, visit.menu)
    here = "" if visit is None else visit.request.path
    text = render_template(template, session=session, menu=menu, here=here, **values)
    return ApiResponse(status, text.encode("utf-8", "replace"), _DRAWING if draws_mail else HEADERS, HTML)


async def starting_page(_request: ApiRequest, *, again: bool) -> ApiResponse:
    """The gateway has not read yet what is true now. `again`: the page asks once more by itself."""
    page = answer_page("starting.html", None, status=503, again=again)
    return page._replace(headers=(*page.headers, ("retry-after", "2")))


def redirect(path: str, *headers: tuple[str, str]) -> ApiResponse:
    """To another page, after a form."""
    return ApiResponse(303, b"", (*HEADERS, ("location", path), *headers), HTML)


@cache
def _static() -> Mapping[str, tuple[str, bytes]]:
    return {
        f"{name.rpartition('.')[0]}-{sha256(body).hexdigest()[:12]}.{name.rpartition('.')[2]}": (name, body)
        for name in ("console.css", "console.js")
        for body in ((_FILES / "static" / name).read_bytes(),)
    }


def _named(name: str) -> str:
    return next(hashed for hashed, (plain, _) in _static().items() if plain == name)


async def static_file(request: ApiRequest) -> ApiResponse:
    """A style or a script, under a name that changes with it."""
    found = _static().get(request.parameters["name"])
    if found is None:
        raise ProblemError(404, "no such file")
    plain, body = found
    kept = ("cache-control", "public, max-age=31536000, immutable")
    return ApiResponse(200, body, (*HEADERS, kept), _TYPES[plain.rpartition(".")[2]])


async def nowhere(_visit: Visit) -> ApiResponse:
    """An address below the console's that is none: people read pages, not JSON."""
    raise ProblemError(404, "There is no such page.")


async def form_page(visit: Visit) -> ApiResponse:
    """The address of a form, opened without the form, such as after it was refused: the page that has it."""
    return redirect(visit.request.path.rpartition("/")[0])


class Gatekeeper:
    """Lets people in: who he is, whether he may, and whether he meant it."""

    def __init__(self, sessions: Sessions, pages: Sequence[Page], somebody: Callable[[], None]) -> None:
        """`pages`: all that there are. `somebody` is told that a page is asked for, and does not wait."""
        self._sessions, self._pages, self._somebody = sessions, pages, somebody

    async def serve(self, shown: Page, request: ApiRequest) -> ApiResponse | StreamResponse:
        """The page, or one that says why not."""
        self._somebody()
        session = self._sessions.of(request)
        if session is None:
            return redirect(link(SIGN_IN, next=link(request.path, **dict(request.pairs())) if shown.title else None))
        role = session.person.role
        visit = Visit(
            request, session, [(each.title, each.path) for each in self._pages if each.title and role in each.roles]
        )
        try:
            if role not in shown.roles:
                raise ProblemError(403, f"This page is not for the role {role}.")
            if shown.method == "POST":
                upload = await upload_of(request) if shown.takes_file else None
                visit = replace(visit, form=await form_of(request) if upload is None else upload.form, upload=upload)
                if not (is_from_here(request) and is_signed(session, visit.form)):
                    raise ProblemError(
                        403, "The form is not of this session. Go back, reload the page, and send it again."
                    )
            return await shown.handler(visit)
        except (ProblemError, LogError) as error:
            away = ProblemError(503, "The log cannot be read or written just now.")
            problem = error if isinstance(error, ProblemError) else away
            return answer_page("error.html", visit, status=problem.status, problem=problem.document())


async def form_of(request: ApiRequest) -> dict[str, str]:
    """The fields of a form.

    :raises ProblemError: 400, 408, 413.
    """
    try:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX))
    except ValueError as error:
        raise ProblemError(400, "The form does not decode.") from error
