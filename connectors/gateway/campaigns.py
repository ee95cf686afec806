"""`/v1/campaigns`: what marketing prepares, another person approves, and schedule then releases in chunks."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec.structs import asdict

from connectors.campaigns import Actor, CampaignDesk
from connectors.gateway import campaign_answers as answers
from connectors.gateway.approvals import subject_of
from connectors.gateway.auth import Principal
from connectors.gateway.backstage import Questions
from connectors.gateway.bodies import checked_document, sent_document
from connectors.gateway.campaign_audience import AudienceTable, KnownOf
from connectors.gateway.directory import Directory
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import ProblemError, invalid
from connectors.gateway.segments import UPLOAD_BYTES_MAX, writer_to
from connectors.gateway.writer import on_log
from connectors.tables import Form, TableError
from state.model.admission import AdmissionRules, FieldError, RefusedRequest, Sender
from state.model.campaign import CampaignAudience, CampaignBadRows, CampaignText
from state.model.campaign_documents import (
    CampaignApproval,
    CampaignContent,
    CampaignStart,
    CampaignTest,
    CampaignThrottle,
    CampaignTurn,
    NewCampaign,
)
from state.model.errors import RefusedActError
from state.model.event import Event
from state.model.zones import is_local_time
from state.schedule.campaign import Campaign

FORMS: dict[str, Form] = {
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/vnd.apache.parquet": "parquet",
}
_ENDINGS: dict[str, Form] = {"csv": "csv", "ndjson": "ndjson", "jsonl": "ndjson", "parquet": "parquet"}
_CHUNK_MAX = 500
"""Recipients that are released at once, at most: no more than the throttle lets go in a second."""
STAGES_MAX = 5
_FILE = "send a file with a column `user`; a CSV has UTF-8 and names its columns in the first line"
_TYPE = "name one of class P2 and category marketing, such as newsletter"
_SENDER = Sender("campaigns")
_LEAST_MS = 10**12
"""A time before this, in 2001, was meant in seconds."""


class CampaignCalls:
    """Handlers; the console's forms use the same functions."""

    def __init__(
        self, rules: AdmissionRules, desk: CampaignDesk, directory: Directory, questions: Questions, *, spool: Path,
        accounts: bool = False,
    ) -> None:  # fmt: skip
        """Files wait in `spool`. `directory` knows who is known; both stay the caller's to close. `accounts`: people
        have accounts, so that who comes with a key is nobody in particular.
        """
        self._rules, self._desk, self._directory, self._questions = rules, desk, directory, questions
        self._accounts = accounts
        self._spool = spool
        self._one_file = asyncio.Lock()
        """Large files one at a time: there are few threads, and other calls need them."""

    async def all(self, _request: ApiRequest) -> ApiResponse:
        """All."""
        found = await self.found()
        return json_response(200, answers.Campaigns([answers.campaign_shown(each) for each in found]))

    async def found(self) -> list[Campaign]:
        """All, the newest first.

        :raises ProblemError: 503.
        """
        return list(await on_log(self._desk.campaigns))

    async def get(self, request: ApiRequest) -> ApiResponse:
        """One."""
        return json_response(200, answers.campaign_shown(await self.one(request.parameters["name"])))

    async def one(self, name: str) -> Campaign:
        """:raises ProblemError: 404; 503."""
        found = await on_log(lambda: self._desk.find(name))
        if found is None:
            raise ProblemError(404, "there is no campaign of this name")
        return found

    async def create(self, request: ApiRequest) -> ApiResponse:
        """A new one, without an audience."""
        return json_response(201, answers.campaign_shown(await self.make(request.caller(), await request.json())))

    async def make(self, person: Principal, content: Any) -> Campaign:
        """A new one, as `content` says.

        :raises ProblemError: 400; 409: there is one of this name; 503.
        """
        body = checked_document(content, self._rules, NewCampaign)
        return await self.act(person, body["name"], "create", text=self._text(body))

    def type_names(self) -> list[str]:
        """What a campaign may be of, by the registry; types by a prefix are left out."""
        return [name for name in self._rules.type_names() if self._is_marketing(name) and not name.endswith("*")]

    async def edit(self, request: ApiRequest) -> ApiResponse:
        """What it sends; approvals are void."""
        body = await sent_document(request, self._rules, CampaignContent)
        return await self._acted(request, "edit", body, text=self._text(body))

    async def change(self, person: Principal, name: str, content: Any, revision: int) -> Campaign:
        """The same, as a person saw the campaign.

        :raises ProblemError: 400; 404; 409 with the reason why it does not count; 503.
        """
        text = self._text(checked_document(content, self._rules, CampaignContent))
        return await self.act(person, name, "edit", revision=revision, text=text)

    async def approve(self, request: ApiRequest) -> ApiResponse:
        """By another person than who changed it last."""
        return await self._acted(request, "approve", await sent_document(request, self._rules, CampaignApproval))

    async def start(self, request: ApiRequest) -> ApiResponse:
        """It goes, now or later."""
        body = await sent_document(request, self._rules, CampaignStart)
        return await self._acted(request, "start", body, **start_of(body))

    async def throttle(self, request: ApiRequest) -> ApiResponse:
        """How fast."""
        body = await sent_document(request, self._rules, CampaignThrottle)
        return await self._acted(request, "throttle", body, per_second=body["per_second"])

    async def test(self, request: ApiRequest) -> ApiResponse:
        """It goes to a few users, as it is."""
        body = await sent_document(request, self._rules, CampaignTest)
        name, users, revision = request.parameters["name"], body["users"], body.get("revision")
        return json_response(200, await self.tested(request.caller(), name, users, revision))

    async def tested(
        self, person: Principal, name: str, users: list[str], revision: int | None
    ) -> answers.CampaignTested:
        """Send it to these users, each once.

        :raises ProblemError: 400; 404; 409 with the reason why it does not count; 503.
        """
        checked_document({"users": users}, self._rules, CampaignTest)
        await self.one(name)
        each = list(dict.fromkeys(users))
        event_id = await on_log(lambda: self._desk.test(actor_of(person), name, each, revision=revision))
        return answers.CampaignTested(event_id, len(each))

    async def advance(self, request: ApiRequest) -> ApiResponse:
        """The next stage goes."""
        return await self._turned(request, "advance")

    async def pause(self, request: ApiRequest) -> ApiResponse:
        """Nothing more is released for now."""
        return await self._turned(request, "pause")

    async def resume(self, request: ApiRequest) -> ApiResponse:
        """It goes on."""
        return await self._turned(request, "resume")

    async def cancel(self, request: ApiRequest) -> ApiResponse:
        """Nothing more is ever released."""
        return await self._turned(request, "cancel")

    async def put_audience(self, request: ApiRequest) -> ApiResponse:
        """Its recipients, from a file of any length."""
        form, caller, campaign = FORMS[request.media_type], request.caller(), await self.one(request.parameters["name"])
        stages = stages_of(request.query(["stages"]).get("stages", ""))
        with tempfile.TemporaryFile(dir=self._spool) as file:
            await request.stream(writer_to(file), UPLOAD_BYTES_MAX)
            changed = await self.store(caller, campaign.name, file, form, campaign.revision, stages)
        return json_response(200, answers.campaign_shown(changed))

    async def store(
        self, person: Principal, name: str, file: IO[bytes], form: Form, revision: int, stages: Sequence[int] = ()
    ) -> Campaign:
        """Take a file of recipients for the campaign as the person saw it, to go in stages that end at these percents.

        :raises ProblemError: 400: it names nobody, or is none of its form; 404; 409; 503.
        """
        campaign = await self.one(name)
        async with self._one_file:
            return await on_log(lambda: self._store(person, campaign, file, form, revision, stages))

    async def bad_rows(self, request: ApiRequest) -> ApiResponse:
        """Which rows of the file were left out, one a line."""
        rows = await self.left_out(request.parameters["name"])
        lines = msgspec.json.Encoder().encode_lines([answers.BadRow(row, problem) for row, problem in rows])
        return ApiResponse(200, lines, (), "application/x-ndjson")

    async def left_out(self, name: str) -> Sequence[tuple[int, str]]:
        """Where these rows are, and what is wrong with each.

        :raises ProblemError: 404; 503.
        """
        campaign = await self.one(name)
        return await on_log(lambda: self._desk.bad_rows(campaign))

    async def report(self, request: ApiRequest) -> ApiResponse:
        """What became of it."""
        return json_response(200, await self.reported(await self.one(request.parameters["name"])))

    async def reported(self, campaign: Campaign) -> answers.CampaignReport:
        """Counts of the ledger; small ones are left out.

        :raises ProblemError: 503.
        """
        counts = await self._questions.ask(lambda backstage: backstage.campaign(campaign.name))
        recipients, blur = sum(counts.outcomes.values()), 0 if campaign.audience is None else campaign.audience.blur

        def told(part: Mapping[str, int]) -> dict[str, answers.Many]:
            return answers.few_left_out(part, blur)

        variants = {name: found for name, part in counts.variants.items() if (found := told(part))}
        return answers.CampaignReport(
            campaign.name, answers.few(recipients, blur), told(counts.outcomes), told(counts.reasons),
            told(counts.deliveries), told(counts.heard), variants,
        )  # fmt: skip

    async def act(self, person: Principal, name: str, verb: str, **given: Any) -> Campaign:
        """Do something to a campaign in a person's name.

        :raises ProblemError: 403: a key approves nothing here; 404; 409 with the reason why it does not count; 503.
        """
        if verb == "approve" and self._accounts and person.account is None:
            raise ProblemError(
                403, "people approve who signed in with their accounts at the console; a key is no person"
            )
        return await on_log(lambda: self._desk.act(actor_of(person), name, verb, **given))

    async def _turned(self, request: ApiRequest, verb: str) -> ApiResponse:
        return await self._acted(request, verb, await sent_document(request, self._rules, CampaignTurn, optional=True))

    async def _acted(self, request: ApiRequest, verb: str, body: dict[str, Any], **given: Any) -> ApiResponse:
        name = request.parameters["name"]
        await self.one(name)
        seen, reason = body.get("revision"), body.get("reason")
        changed = await self.act(request.caller(), name, verb, revision=seen, reason=reason, **given)
        return json_response(200, answers.campaign_shown(changed))

    def _text(self, body: dict[str, Any]) -> CampaignText:
        """:raises ProblemError: 400: no event of it would be accepted."""
        if not self._is_marketing(body["type"]):
            raise invalid([FieldError("type", "is no type of marketing", _TYPE)])
        self._event(body)
        return CampaignText(body["type"], body.get("payload") or {}, bool(body.get("slot")))

    def _event(self, body: dict[str, Any]) -> Event:
        event = {"type": body["type"], "fan_out_type": "SEGMENT", "segment": "campaign", "object": "campaign",
                 "payload": body.get("payload")}  # fmt: skip
        judged = self._rules.judge(event, _SENDER, now_ms=0, new_event_id=lambda: "campaign")
        if isinstance(judged, RefusedRequest):
            raise invalid(judged.errors)
        return judged.event

    def _is_marketing(self, type_name: str) -> bool:
        profile = self._rules.profile(type_name)
        return profile.klass == "P2" and profile.category == "marketing"

    def _store(
        self, caller: Principal, campaign: Campaign, file: IO[bytes], form: Form, revision: int, stages: Sequence[int]
    ) -> Campaign:
        generation, chunks = self._desk.next_generation(campaign), 0
        look_up = partial(self._look_up, self._event(asdict(campaign.text)))
        with AudienceTable(self._spool, self._complaint, look_up, campaign.name, stages) as table:
            try:
                table.read(file, form)
            except TableError as error:
                raise invalid([FieldError("", str(error), _FILE)]) from error
            if not table.recipients:
                raise invalid([FieldError("", "names nobody", "send a file with at least one sound row")])
            for chunk in table.chunks(generation, min(_CHUNK_MAX, campaign.per_second)):
                self._desk.store_chunk(chunk)
                chunks += 1
            self._desk.store_bad_rows(CampaignBadRows(campaign.name, generation, table.bad_rows))
            audience = CampaignAudience(
                generation, chunks, table.recipients, table.doubles, table.bad, table.unknown, dict(table.reached),
                dict(table.suppressed), [*list(table.stage_ends)[:-1], 100] if stages else [],
                list(table.stage_ends.values()) if stages else [], secrets.randbelow(answers.LEAST),
            )  # fmt: skip
        try:
            return self._desk.act(actor_of(caller), campaign.name, "audience", revision=revision, audience=audience)
        except RefusedActError:
            self._desk.drop_chunks(campaign.name, generation, chunks)
            raise

    def _complaint(self, user: Any) -> str | None:
        errors = self._rules.text_errors("user", user)
        return f"user: {errors[0].problem}" if errors else None

    def _look_up(self, event: Event, user: str) -> KnownOf:
        stored = self._directory.preference(user)
        hours = stored.document.get("quiet_hours") if isinstance(stored.document, dict) else None
        zone = hours.get("timezone") if isinstance(hours, dict) else None
        is_known = stored.place >= 0 or bool(self._directory.addresses(user))
        active = {each.channel for each in self._directory.devices(user)} if is_known else set()
        return KnownOf(is_known, zone, self._rules.outlook(event, stored.document, active))


def form_of_file(file_name: str) -> Form | None:
    """By how its name ends; None: it is none."""
    return _ENDINGS.get(file_name.rpartition(".")[2].lower())


def actor_of(person: Principal) -> Actor:
    """Who acts, for the audit."""
    return Actor(person.name, person.role or "user", subject_of(person))


def stages_of(text: str) -> list[int]:
    """Percents at which stages end, of `1,10,100`; the last one always ends at 100.

    :raises ProblemError: 400.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    stages = [int(part) if part.isascii() and part.isdigit() and len(part) < 4 else 0 for part in parts]
    if len(stages) > STAGES_MAX or sorted({0, *stages}) != [0, *stages] or max(stages, default=0) > 100:
        raise invalid(
            [FieldError("stages", "are no rising percents", f"send 1,10,100: at most {STAGES_MAX}, from 1 on")]
        )
    return [stage for stage in stages if stage < 100]


def start_of(body: dict[str, Any]) -> dict[str, Any]:
    """When a campaign goes.

    :raises ProblemError: 400: two times, or one that no clock shows.
    """
    at, local = body.get("at"), body.get("local")
    if at is not None and local is not None:
        raise invalid([FieldError("local", "is a second time", "send at or local")])
    if at is not None and at < _LEAST_MS:
        remedy = "send milliseconds since 1970; to let it go at once, neither at nor local"
        raise invalid([FieldError("at", "is long past, or in seconds", remedy)])
    if local is not None and not is_local_time(local):
        raise invalid([FieldError("local", "is no date and time of day", "send 2026-12-01T09:00")])
    hold = body.get("hold_minutes")
    return {"start_at": at, "start_local": local, "hold_ms": None if hold is None else hold * 60_000}
