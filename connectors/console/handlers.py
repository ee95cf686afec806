"""The pages of the console."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from connectors.audit import ActQuery
from connectors.console.course import Course
from connectors.console.figures import Figures
from connectors.console.funnel import UNDER_WAY, funnel
from connectors.console.openid import START
from connectors.console.pages import SIGN_IN, Visit, answer_page, link, redirect, render_template
from connectors.console.pages import form_of as read_form
from connectors.console.searching import OUTCOMES_SHOWN, asked, search_of, zone_of
from connectors.console.sessions import is_from_here
from connectors.control import read_obeyed
from connectors.gateway.acts import reason_if_any, reason_of
from connectors.gateway.approvals import subject_of
from connectors.gateway.auth import Principal
from connectors.gateway.backstage import LedgerSearch, Questions, Shown
from connectors.gateway.calls import OrdinaryHandlers
from connectors.gateway.campaign_answers import LEAST
from connectors.gateway.campaigns import CampaignCalls
from connectors.gateway.http import ApiRequest, ApiResponse, StreamResponse
from connectors.gateway.letters import Letters
from connectors.gateway.link_limits import LinkLimits
from connectors.gateway.options import PEOPLE
from connectors.gateway.parts import Parts
from connectors.gateway.problems import ProblemError, retry_later
from connectors.gateway.sender_limits import SenderDesk
from connectors.gateway.support import page_start
from connectors.gateway.templates import TemplateCalls
from connectors.gateway.types import TypeDesk
from connectors.metric_files import METRICS
from state.model.audit import PendingAct
from state.model.dead_letter import STAGES, Selection

_logger = structlog.get_logger(__name__)
_LIVE_EVERY_S = 2.0
_STREAM_S = 120.0
"""Then the session is looked at again."""
_STREAMS_MAX = 64
_FOR_PROGRAMS = (
    "This key is for a program, which sends events. People have keys of the roles ops, support, marketing or admin."
)
_ROWS, _LETTERS_COUNTED = 50, 500
_APPROVALS = "/console/approvals"
_INSIDE = re.compile(r"/console(?:/?[!-.0-\[\]-~])*/?")
"""An address of ours: no second slash behind a first, no backslash."""


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """What the pages are made of."""

    gateway: Parts
    calls: OrdinaryHandlers
    questions: Questions
    letters: Letters
    campaigns: CampaignCalls
    course: Course
    registry: TypeDesk
    texts: TemplateCalls
    sender_limits: SenderDesk
    limits: LinkLimits
    """How often an address may try to sign in."""


class Console:
    """Handlers, for one process."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._parts, self._gateway, self._calls = parts, parts.gateway, parts.calls
        self._figures = Figures(parts.gateway.options.directory / METRICS)
        self._open = 0

    async def sign_in_page(self, request: ApiRequest) -> ApiResponse:
        """Asks for a key; while it is typed, what reads the ledger is loaded."""
        self._parts.questions.prepare()
        onward = _inside(dict(request.pairs()).get("next"))
        return answer_page("sign_in.html", None, next=onward, problem=None, openid=self._openid(onward))

    def _openid(self, onward: str) -> str | None:
        return None if self._gateway.openid is None else link(START, next=onward)

    async def openid_begin(self, request: ApiRequest) -> ApiResponse:
        """On to the provider of accounts."""
        assert self._gateway.openid is not None
        onward = _inside(dict(request.pairs()).get("next"))
        try:
            self._parts.limits.take_address(request.client())
            url, cookie = await self._gateway.openid.begin(onward, self._base_url(request))
        except ProblemError as problem:
            return self._refused(problem, onward)
        return redirect(url, ("set-cookie", cookie))

    async def openid_end(self, request: ApiRequest) -> ApiResponse:
        """Back from there: begin a session. The page goes on by itself, since a browser that comes from another site
        sends a strict cookie only with the next page.
        """
        assert self._gateway.openid is not None
        try:
            self._parts.limits.take_address(request.client())
            found = await self._gateway.openid.end(request, self._base_url(request))
        except ProblemError as problem:
            return self._refused(problem, "/console")
        person = Principal(found.role, found.name, account=found.account)
        if self._gateway.watcher.revoked(person.name):
            return self._refused(ProblemError(403, "Your access was revoked. Ask an administrator."), "/console")
        await self._calls.acts.note(self._calls.acts.record(person, "sign_in", {}))
        seen = answer_page("signed_in.html", None, onward=found.onward)
        session = self._gateway.sessions.open(person)
        cookies = (("set-cookie", session), ("set-cookie", self._gateway.openid.over()))
        return seen._replace(headers=(*seen.headers, *cookies))

    def _refused(self, problem: ProblemError, onward: str) -> ApiResponse:
        said = problem.document().detail
        _logger.warning("sign_in_refused", status=problem.status)
        return answer_page(
            "sign_in.html", None, status=problem.status, next=onward, problem=said, openid=self._openid(onward)
        )

    def _base_url(self, request: ApiRequest) -> str:
        return self._gateway.options.public_url.rstrip("/") or f"http://{request.header(b'host')}"

    async def sign_in(self, request: ApiRequest) -> ApiResponse:
        """Begin a session for the holder of a key of a person's role."""
        form = await read_form(request)
        onward = _inside(form.get("next"))
        try:
            self._parts.limits.take_address(request.client())
            person = self._holder(request, form)
        except ProblemError as problem:
            return self._refused(problem, onward)
        await self._calls.acts.note(self._calls.acts.record(person, "sign_in", {}))
        return redirect(onward, ("set-cookie", self._gateway.sessions.open(person)))

    def _holder(self, request: ApiRequest, form: Mapping[str, str]) -> Principal:
        """Whose key it is.

        :raises ProblemError: 401, 403.
        """
        if self._gateway.openid is not None:
            raise ProblemError(403, "People sign in with their account here.")
        if not is_from_here(request):
            raise ProblemError(403, "The form was sent by another site.")
        try:
            person = self._gateway.authenticator.recognise(f"Bearer {form.get('key', '').strip()}")
        except ProblemError as problem:
            raise ProblemError(401, "This key is not known here.") from problem
        if person.role not in PEOPLE:
            raise ProblemError(403, _FOR_PROGRAMS)
        return person

    async def sign_out(self, visit: Visit) -> ApiResponse:
        """End this session, or all of this person's."""
        if visit.form.get("everywhere"):
            act = self._calls.acts.record(visit.session.person, "sign_out_everywhere", {})
            await self._calls.acts.note(act)
            self._gateway.sessions.end(act.by, act.at)
        self._gateway.sessions.sign_out(visit.session)
        return redirect(SIGN_IN, ("set-cookie", self._gateway.sessions.closed()))

    async def now(self, visit: Visit) -> ApiResponse:
        """What goes on."""
        return answer_page("now.html", visit, **await self._now(visit.session.person))

    async def _now(self, person: Principal) -> dict[str, Any]:
        figures = await asyncio.to_thread(self._figures.read)
        least = LEAST if person.role == "marketing" else 0
        switches = self._calls.switches
        return {
            "figures": figures, "switches": switches.on, "away": switches.away, "least": least,
            "course": self._parts.course.drawn(),
        }  # fmt: skip

    async def now_stream(self, visit: Visit) -> StreamResponse:
        """The same as it changes, for two minutes; then the browser asks again, and is let in again or not."""
        if self._open >= _STREAMS_MAX:
            raise retry_later(503, "too many people watch; load the page again for what is so now", 5_000)

        async def parts() -> AsyncGenerator[bytes]:
            self._open += 1
            try:
                async with asyncio.timeout(_STREAM_S):
                    while True:
                        shown = await self._now(visit.session.person)
                        lines = render_template("now_figures.html", **shown).splitlines()
                        yield "".join(["event: now\n", *(f"data: {line}\n" for line in lines), "\n"]).encode()
                        await asyncio.sleep(_LIVE_EVERY_S)
            except TimeoutError:
                return  # the browser comes back, if its session still holds
            finally:
                self._open -= 1

        return StreamResponse(parts, self._gateway.ending)

    async def events(self, visit: Visit) -> ApiResponse:
        """One event, or a search for some."""
        given = asked(visit.query)
        if not given:
            return answer_page(
                "event.html", visit, given={}, page=None, counts=None, steps=(), search=None, zone="UTC",
                outcomes=OUTCOMES_SHOWN,
            )  # fmt: skip
        search = search_of(given, self._calls.acts.now_ms())
        await self._note(visit, "search", given)
        start = page_start(visit.query.get("cursor"), 2)
        counts = None
        if "event" in given:
            page, counts = await self._ask(lambda backstage: backstage.event(given["event"], search, _ROWS, start))
        else:
            page = await self._ask(lambda backstage: backstage.records(search, _ROWS, start))
        steps = () if counts is None else funnel(counts)
        return answer_page(
            "event.html", visit, given=given, page=page, counts=counts, steps=steps, search=search, zone=zone_of(given),
            under_way=UNDER_WAY, outcomes=OUTCOMES_SHOWN,
        )  # fmt: skip

    async def people(self, visit: Visit) -> ApiResponse:
        """A user's history, where he is reached and, if it is asked for, which segments he is in."""
        given = visit.query
        if "user" not in given:
            return answer_page("people.html", visit, user=None, reason="", page=None)
        user, reason = given["user"], reason_of(given)
        start = page_start(given.get("cursor"), 2)
        await self._note(visit, "history", {"user": user}, reason)
        page = await self._ask(lambda backstage: backstage.records(LedgerSearch(user=user), _ROWS, start))
        reached = await self._parts.calls.devices.listed(user)
        segments = await self._ask(lambda backstage: backstage.segments(user)) if "segments" in given else None
        return answer_page(
            "people.html", visit, user=user, reason=reason, page=page, reached=reached, segments=segments
        )

    async def explain(self, visit: Visit) -> ApiResponse:
        """Every record of an event for a user."""
        user, event, reason = visit.query.get("user", ""), visit.query.get("event", ""), reason_of(visit.query)
        await self._note(visit, "explain", {"user": user, "event": event}, reason)
        records = await self._ask(lambda backstage: backstage.explain(event, user))
        return answer_page("explain.html", visit, user=user, event=event, reason=reason, records=records)

    async def senders(self, visit: Visit) -> ApiResponse:
        """Who sends, and what became of it."""
        now = await self._now(visit.session.person)
        dead = await self._dead()
        rows = [
            (
                key,
                self._parts.sender_limits.shown(key.sender_id),
                self._gateway.door.why_closed(key.sender_id),
                now["figures"].senders.get(key.sender_id),
                None if dead is None else dead[key.sender_id],
            )
            for key in {key.sender_id: key for key in self._gateway.options.keys}.values()
            if key.role in ("producer", "p0")
        ]
        return answer_page("senders.html", visit, senders=rows, least=now["least"])

    async def _dead(self) -> Counter[str | None] | None:
        """By sender, how many of the newest dead letters are its; None: the log cannot be read just now."""
        try:
            return await self._parts.letters.by_sender(_LETTERS_COUNTED)
        except ProblemError:
            return None

    async def change_limit(self, visit: Visit) -> ApiResponse:
        """Ask for another limit of a sender, or grant it."""
        sender, given = visit.form.get("sender", ""), visit.form.get("per_second", "").strip()
        if not given.isdecimal() or len(given) > 7 or not 1 <= int(given) <= 1_000_000:
            raise ProblemError(400, "Say how many events in any second: 1 to 1 000 000.")
        pending = await self._parts.sender_limits.change(
            sender, int(given), visit.session.person, reason_of(visit.form)
        )  # fmt: skip
        return redirect("/console/senders" if pending is None else _APPROVALS)

    async def letters(self, visit: Visit) -> ApiResponse:
        """What could not be handled."""
        return await self._letters(visit, None)

    async def _letters(self, visit: Visit, answer: Shown | None) -> ApiResponse:
        given = {name: value for name, value in visit.query.items() if name in ("stage", "sender", "all")}
        wanted = Selection((), given.get("stage"), given.get("sender"), everything="all" in given)
        cursor = visit.query.get("cursor")
        page = await self._parts.letters.page(wanted, _ROWS, cursor)
        return answer_page("letters.html", visit, page=page, given=given, cursor=cursor, stages=STAGES, answer=answer)

    async def decide_letter(self, visit: Visit) -> ApiResponse:
        """Retry or discard one."""
        person, letter, act = visit.session.person, visit.form.get("letter", ""), visit.form.get("act")
        if act not in ("retry", "discard"):
            raise ProblemError(400, "The form does not say whether to retry or to discard.")
        reason = reason_if_any(visit.form)
        answer = await self._parts.letters.decide(letter, person, retry=act == "retry", reason=reason)
        return redirect(_APPROVALS) if isinstance(answer, PendingAct) else await self._letters(visit, answer)

    async def switches(self, visit: Visit) -> ApiResponse:
        """What is stopped, and who obeys."""
        obeyed = await asyncio.to_thread(read_obeyed, self._gateway.options.directory / "run")
        try:
            found, current = await self._calls.switches.in_force(), True
        except ProblemError:
            found, current = self._calls.switches.on, False
        return answer_page("switches.html", visit, switches=found, current=current, obeyed=obeyed)

    async def set_switch(self, visit: Visit) -> ApiResponse:
        """Stop something, or let it go on."""
        wanted = {name: visit.form[name].strip() for name in ("scope", "value", "reason") if visit.form.get(name)}
        done = await self._calls.switches.set({**wanted, "on": visit.form.get("act") != "lift"}, visit.session.person)
        return redirect(_APPROVALS if isinstance(done, PendingAct) else "/console/switches")

    async def approvals(self, visit: Visit) -> ApiResponse:
        """What waits for a second person, and what became of the rest."""
        found, now_ms = await self._calls.approvals.lately(), self._calls.acts.now_ms()
        rows = [(each, each.state(now_ms)) for each in found]
        return answer_page("approvals.html", visit, rows=rows, mine=subject_of(visit.session.person))

    async def decide_approval(self, visit: Visit) -> ApiResponse:
        """Confirm or refuse one."""
        name, act = visit.form.get("approval", ""), visit.form.get("act")
        if act not in ("confirm", "refuse"):
            raise ProblemError(400, "The form does not say whether to confirm or to refuse.")
        reason = reason_if_any(visit.form)
        await self._calls.approvals.decide(name, visit.session.person, confirm=act == "confirm", reason=reason)
        return redirect(_APPROVALS)

    async def audit(self, visit: Visit) -> ApiResponse:
        """Who did what."""
        given = {name: value for name, value in visit.query.items() if name in ("by", "user")}
        start = page_start(visit.query.get("cursor"), 1)
        wanted = ActQuery(given.get("by"), given.get("user"), next(iter(start), None))
        page = await self._ask(lambda backstage: backstage.acts(wanted, _ROWS))
        return answer_page("audit.html", visit, page=page, given=given)

    async def _ask(self, question: Callable[[Any], Any]) -> Any:
        return await self._parts.questions.ask(question)

    async def _note(
        self,
        visit: Visit,
        act: Literal["search", "history", "explain"],
        about: Mapping[str, str],
        reason: str | None = None,
    ) -> None:
        await self._calls.acts.note(self._calls.acts.record(visit.session.person, act, about, reason=reason))


def _inside(path: str | None) -> str:
    """Where to go on; never to another site."""
    return path if path is not None and _INSIDE.fullmatch(path) else "/console"
