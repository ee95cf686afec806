"""The page of campaigns: how far they are, and the acts on them."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, NamedTuple

from msgspec.json import decode, encode

from connectors.console.pages import HEADERS, Visit, answer_page, link, redirect
from connectors.console.searching import zone_of
from connectors.gateway.acts import reason_if_any, reason_of
from connectors.gateway.campaign_answers import campaign_shown
from connectors.gateway.campaigns import CampaignCalls, form_of_file, stages_of, start_of
from connectors.gateway.http import ApiResponse
from connectors.gateway.problems import ProblemError, invalid
from state.model.admission import FieldError
from state.model.campaign import CampaignText
from state.model.errors import UNDECODABLE
from state.model.zones import is_local_time, local_ms
from state.schedule.campaign import Campaign, CampaignChange

CAMPAIGNS = "/console/campaigns"
NEW, EDIT, AUDIENCE, BAD_ROWS, SLOT, TEST = (
    f"{CAMPAIGNS}/{what}" for what in ("new", "edit", "audience", "bad-rows", "slot", "test")
)
_WORDS = ("title", "body")
_CONFLICT = 409
_REFUSED = (400, _CONFLICT)
"""Such a form comes back with what was typed; else nothing can be shown."""
_VERBS = ("approve", "start", "throttle", "pause", "resume", "cancel", "advance")


_Act = Callable[["CampaignPages", Visit], Awaitable[ApiResponse]]


def _stays_on_its_page(act: _Act) -> _Act:
    """What is refused comes back on the page of its form, which says why and keeps what was typed."""

    @wraps(act)
    async def refusable(pages: CampaignPages, visit: Visit) -> ApiResponse:
        try:
            return await act(pages, visit)
        except ProblemError as problem:
            if problem.status not in _REFUSED:
                raise
            if "revision" not in visit.form:
                return await pages.all(visit, problem)
            return await pages.one(visit, visit.form.get("name", ""), problem)

    return refusable


class CampaignPages:
    """Handlers of marketing's pages."""

    def __init__(self, calls: CampaignCalls) -> None:
        self._calls = calls

    async def campaigns(self, visit: Visit) -> ApiResponse:
        """All, or one with its report."""
        name = visit.query.get("name")
        return await (self.all(visit) if name is None else self.one(visit, name))

    async def all(self, visit: Visit, problem: ProblemError | None = None) -> ApiResponse:
        """`problem`: why the form was refused; what was typed into it stays."""
        found = [campaign_shown(each) for each in await self._calls.found()]
        types = self._calls.type_names()
        return _answer(visit, problem, campaigns=found, chosen=None, report=None, missed=None, types=types)

    async def one(self, visit: Visit, name: str, problem: ProblemError | None = None) -> ApiResponse:
        """One with its report, and with what was typed into the form that was refused."""
        campaign = await self._calls.one(name)
        report = await self._calls.reported(campaign)
        missed = None if problem is None or problem.status != _CONFLICT else _missed(campaign, visit)
        shown, lines = campaign_shown(campaign), _lines(campaign.text.payload)
        return _answer(visit, problem, campaigns=(), chosen=shown, report=report, missed=missed, lines=lines)

    @_stays_on_its_page
    async def create(self, visit: Visit) -> ApiResponse:
        """A new one, of what a form says."""
        name, kind = visit.form.get("name", "").strip(), visit.form.get("type", "").strip()
        content = {"name": name, "type": kind, "payload": _words(visit.form)}
        made = await self._calls.make(visit.session.person, content)
        return redirect(link(CAMPAIGNS, name=made.name))

    @_stays_on_its_page
    async def edit(self, visit: Visit) -> ApiResponse:
        """Other words; whatever else it says stays."""
        name = visit.form.get("name", "")
        text = (await self._calls.one(name)).text
        others = {} if "values" in visit.form else _others(text.payload)
        content = {"type": text.type, "payload": others | _words(visit.form), "slot": text.slot}
        await self._calls.change(visit.session.person, name, content, _revision(visit))
        return redirect(link(CAMPAIGNS, name=name))

    @_stays_on_its_page
    async def put_audience(self, visit: Visit) -> ApiResponse:
        """The file of its recipients."""
        upload = visit.upload
        form = None if upload is None else form_of_file(upload.file_name)
        if upload is None or form is None:
            raise ProblemError(400, "Choose a file whose name ends in .csv, .ndjson or .parquet.")
        name = visit.form.get("name", "")
        stages, file = stages_of(visit.form.get("stages", "")), io.BytesIO(upload.file)
        await self._calls.store(visit.session.person, name, file, form, _revision(visit), stages)
        return redirect(link(CAMPAIGNS, name=name))

    async def bad_rows(self, visit: Visit) -> ApiResponse:
        """A file of the rows that were left out."""
        file = io.StringIO()
        csv.writer(file).writerows([("row", "problem"), *await self._calls.left_out(visit.query.get("name", ""))])
        saved = ("content-disposition", 'attachment; filename="bad-rows.csv"')
        return ApiResponse(200, file.getvalue().encode(), (*HEADERS, saved), "text/csv; charset=utf-8")

    @_stays_on_its_page
    async def act(self, visit: Visit) -> ApiResponse:
        """What a form asks for, on what its page showed."""
        name, verb = visit.form.get("name", ""), visit.form.get("act", "")
        if verb not in _VERBS:
            raise ProblemError(400, "The form does not say what to do.")
        given = _given(verb, visit.form)
        given["reason"] = reason_if_any(visit.form) if verb == "throttle" else reason_of(visit.form)
        await self._calls.act(visit.session.person, name, verb, revision=_revision(visit), **given)
        return redirect(link(CAMPAIGNS, name=name))

    @_stays_on_its_page
    async def test(self, visit: Visit) -> ApiResponse:
        """Send it to the users that a form names."""
        name, users = visit.form.get("name", ""), visit.form.get("users", "").split()
        await self._calls.tested(visit.session.person, name, users, _revision(visit))
        return redirect(link(CAMPAIGNS, name=name))

    @_stays_on_its_page
    async def change_slot(self, visit: Visit) -> ApiResponse:
        """Ask for a dedicated slot, or give it up."""
        name = visit.form.get("name", "")
        text, wanted = (await self._calls.one(name)).text, visit.form.get("slot") == "on"
        content = {"type": text.type, "payload": text.payload, "slot": wanted}
        await self._calls.change(visit.session.person, name, content, _revision(visit))
        return redirect(link(CAMPAIGNS, name=name))


class _Missed(NamedTuple):
    """What others did since the person looked, so that his next click is a choice."""

    changes: Sequence[CampaignChange]
    words: Sequence[tuple[str, str, str, str | None]]
    """Fields that others changed, or that what he typed would change: their names, as he saw them, as they are, and
    what he typed; None: his form does not have them.
    """


def _missed(campaign: Campaign, visit: Visit) -> _Missed | None:
    """None: nobody did anything meanwhile, or the form does not say what he saw."""
    seen, changes = campaign.since(_revision(visit))
    if seen is None or not changes:
        return None
    before, now = _told(seen), _told(campaign.text)
    typed = {field: visit.form[field].strip() for field in _WORDS if field in visit.form}
    if "values" in visit.form:
        gone = dict.fromkeys(_others({**seen.payload, **campaign.text.payload}), "")
        typed |= gone | _shown(_values(visit.form["values"]))
    names = dict.fromkeys([*now, *before, *typed])
    rows = [(name, before.get(name, ""), now.get(name, ""), typed.get(name)) for name in names]
    return _Missed(changes, [row for row in rows if row[1] != row[2] or row[3] not in (None, row[2])])


def _told(text: CampaignText) -> dict[str, str]:
    """All that it says, by field."""
    return _shown(text.payload) | {"type": text.type, "dedicated slot": "yes" if text.slot else "no"}


def _shown(payload: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else encode(value).decode() for name, value in payload.items()}


def _others(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What has no field of its own in the forms."""
    return {field: value for field, value in payload.items() if field not in _WORDS}


def _lines(payload: Mapping[str, Any]) -> str | None:
    """The same as people type it: text as it stands, unless it would be read as something else. None: it cannot be."""
    others = _others(payload)
    lines = "\n".join(
        f"{name} = {value if _reads_as({'x': value}, f'x = {value}') else encode(value).decode()}"
        for name, value in others.items()
    )
    return lines if _reads_as(others, lines) else None


def _reads_as(values: Mapping[str, Any], text: str) -> bool:
    try:
        return _values(text) == values
    except ProblemError:
        return False


def _values(text: str) -> dict[str, Any]:
    """The other values, one a line.

    :raises ProblemError: 400: a line is none.
    """
    found = dict[str, Any]()
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if line.strip() and not (name and equals):
            problem = f"line {number} has no = behind a name"
            raise invalid([FieldError("values", problem, "write it like code = SUMMER")])
        if name:
            found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    """A number, true, false, a list or an object in JSON; whatever is none of these is text."""
    try:
        return decode(text)
    except UNDECODABLE:
        return text


def _answer(visit: Visit, problem: ProblemError | None, **values: Any) -> ApiResponse:
    status, told = (200, None) if problem is None else (problem.status, problem.document())
    errors = {error.path.rpartition(".")[2]: error for error in (() if problem is None else problem.errors)}
    typed = {} if problem is None else visit.form
    return answer_page("campaigns.html", visit, status=status, problem=told, errors=errors, typed=typed, **values)


def _revision(visit: Visit) -> int:
    """What the person saw; 0, which none has, if the form does not say."""
    revision = visit.form.get("revision", "")
    return int(revision) if revision.isascii() and revision.isdigit() and len(revision) < 16 else 0


def _words(form: Mapping[str, str]) -> dict[str, Any]:
    """What is written for its readers; an empty field is none.

    :raises ProblemError: 400: a line of the other values is none.
    """
    words = {field: text for field in _WORDS if (text := form.get(field, "").strip())}
    return _values(form.get("values", "")) | words


def _given(verb: str, form: Mapping[str, str]) -> dict[str, Any]:
    """:raises ProblemError: 400."""
    value, hold = form.get("value", "").strip(), form.get("hold", "").strip()
    if verb == "start":
        minutes = {"hold_minutes": _number(hold, 10_080, "The hold")} if hold else {}
        return start_of(minutes | _begin(form, value[:16]))
    return {"per_second": _number(value, 100_000, "The throttle")} if verb == "throttle" else {}


def _begin(form: Mapping[str, str], value: str) -> dict[str, Any]:
    """Now, at a time on each recipient's clock, or at one moment for all.

    :raises ProblemError: 400.
    """
    if not value or form.get("clock") != "one" or not is_local_time(value):
        return {"local": value} if value else {}
    zone = zone_of({"zone": given} if (given := form.get("zone", "").strip()) else {})
    return {"at": local_ms(datetime.fromisoformat(value), zone)}


def _number(text: str, most: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= most):
        raise ProblemError(400, f"{what} is a number from 1 to {most:,}.".replace(",", "\u202f"))
    return int(text)
