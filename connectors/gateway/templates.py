"""`/v1/templates`: what notifications say, shown and tried before, published, and taken back to an older version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connectors.audit import ActQuery, NotedAct
from connectors.campaigns import Actor, CampaignDesk
from connectors.gateway import template_answers as answers
from connectors.gateway.acts import reason_if_any
from connectors.gateway.approval_calls import told_approval
from connectors.gateway.approvals import Approvals, change_mark
from connectors.gateway.auth import Principal
from connectors.gateway.backstage import Questions
from connectors.gateway.bodies import checked_document, sent_document
from connectors.gateway.campaign_answers import LEAST, few_left_out
from connectors.gateway.campaigns import actor_of
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import ProblemError, invalid
from connectors.gateway.writer import on_log
from connectors.paging import Listed
from connectors.templates import TemplateDesk
from state.model.admission import AdmissionRules, FieldError
from state.model.audit import NOT_DONE, ApprovalRecord, PendingAct
from state.model.campaign import CampaignText
from state.model.errors import TemplateError
from state.model.event import TextDraft
from state.model.template import PARTS, TemplateRecord, TextExample, TextPlace, TextRules, TypeTexts, texts_in_force
from state.model.variants import of_variant, shares_of, variant_of

VERSIONS_MAX = 50
_DRAFT_MAX_BYTES = 1_048_576
"""Of a text that is tested, with its parts: several records carry it, and the log takes 8 MiB of one."""


class TemplateCalls:
    """Handlers; the console's forms use the same functions."""

    def __init__(
        self, rules: AdmissionRules, texts: TextRules, desk: TemplateDesk, questions: Questions, tests: CampaignDesk,
        approvals: Approvals,
    ) -> None:  # fmt: skip
        """`tests` sends them, as it sends those of campaigns."""
        self._rules, self._texts, self._desk, self._questions, self._tests = rules, texts, desk, questions, tests
        self._approvals = approvals
        approvals.does("template", self._confirmed)
        approvals.does("template_test", self._confirmed_test)

    async def all(self, _request: ApiRequest) -> ApiResponse:
        """All."""
        found = await self.published()
        return json_response(200, answers.TextsList([_shown(found[place]) for place in sorted(found)]))

    async def published(self) -> Mapping[TextPlace, TemplateRecord]:
        """By type and locale, also what was taken back.

        :raises ProblemError: 503.
        """
        return await on_log(self._desk.published)

    async def get(self, request: ApiRequest) -> ApiResponse:
        """One."""
        found = (await self.published()).get(_place(request))
        if found is None or found.texts is None:
            raise ProblemError(404, "no texts are published for this type and locale")
        return json_response(200, _shown(found))

    async def put(self, request: ApiRequest) -> ApiResponse:
        """Texts, in force from now on."""
        body = await sent_document(request, self._rules, answers.NewTexts)
        person, seen, reason = request.caller(), body.get("version"), body.get("reason")
        return self._told(await self.publish(person, _place(request), body["texts"], reason=reason, seen=seen))

    def _told(self, done: TemplateRecord | PendingAct) -> ApiResponse:
        if isinstance(done, PendingAct):
            return json_response(202, told_approval(done, self._approvals.now_ms()))
        return ApiResponse(204, b"") if done.texts is None else json_response(200, _shown(done))

    async def publish(
        self, person: Principal, place: TextPlace, texts: TypeTexts, *, reason: str | None, seen: int | None = None
    ) -> TemplateRecord | PendingAct:
        """Check them and put them in force. What is of class P0 waits for a second person.

        :raises ProblemError: 400 with every fault; 403; 409: there is a newer version; 503.
        """
        self._allow(person, place)
        if errors := await self.errors(place, texts):
            raise invalid(errors, "the texts were not published")
        return await self._publish(person, place, texts, reason=reason, seen=seen)

    async def errors(self, place: TextPlace, texts: TypeTexts) -> list[FieldError]:
        """Why they cannot be published.

        :raises ProblemError: 503.
        """
        everything = {**_texts_of(await self.published()), place: texts}
        return [_field_error(fault) for fault in await asyncio.to_thread(self._texts.faults, place, everything)]

    async def delete(self, request: ApiRequest) -> ApiResponse:
        """The built-in texts hold again."""
        reason = reason_if_any(request.query(("reason",)))
        return self._told(await self.take_back(request.caller(), _place(request), reason=reason))

    async def take_back(
        self, person: Principal, place: TextPlace, *, reason: str | None, seen: int | None = None
    ) -> TemplateRecord | PendingAct:
        """The built-in texts hold again; those of class P0 when a second person confirmed it.

        :raises ProblemError: 403; 404: there is nothing to take back; 409: there is a newer version; 503.
        """
        self._allow(person, place)
        found = (await self.published()).get(place)
        if found is None or found.texts is None:
            raise ProblemError(404, "no texts are published for this type and locale")
        return await self._publish(person, place, None, reason=reason, seen=seen)

    async def versions(self, request: ApiRequest) -> ApiResponse:
        """What was in force and when."""
        found = await self.older(_place(request))
        if not found:
            raise ProblemError(404, "no texts were ever published for this type and locale")
        return json_response(200, answers.TextsVersions(list(found)))

    async def older(self, place: TextPlace, version: int | None = None) -> Sequence[answers.TextsVersion]:
        """The newest versions, or one, out of the audit.

        :raises ProblemError: 503.
        """
        if place not in await self.published():
            return []
        named = () if version is None else (("version", str(version)),)
        wanted = ActQuery(done="template", about=(("type", place[0]), ("locale", place[1]), *named))
        page = await self._acts(wanted)
        acts = list(page.found)
        first = str(version or 1)
        while page.looked_to_ms is not None and page.onward and not _begun(acts, first):  # time was up, not the acts
            page = await self._acts(wanted._replace(before=page.onward[0]))
            acts += page.found
        return [
            answers.TextsVersion(int(each.about["version"]), each.at, each.by, each.reason, each.after or None)
            for each in (noted.record for noted in acts[:VERSIONS_MAX])
            if NOT_DONE not in (each.after or {})
        ]

    async def _acts(self, wanted: ActQuery) -> Listed[NotedAct]:
        return await self._questions.ask(lambda backstage: backstage.acts(wanted, VERSIONS_MAX))

    async def roll_back(self, request: ApiRequest) -> ApiResponse:
        """An older version holds again, as a new one."""
        body = await sent_document(request, self._rules, answers.OlderVersion)
        person, place, reason = request.caller(), _place(request), body.get("reason")
        return self._told(await self.restore(person, place, body["version"], reason=reason))

    async def restore(
        self, person: Principal, place: TextPlace, version: int, *, reason: str | None
    ) -> TemplateRecord | PendingAct:
        """Publish an older version again, as `publish`.

        :raises ProblemError: 400: it cannot be published any more; 403; 404; 503.
        """
        self._allow(person, place)
        found = await self.older(place, version)
        if not found or found[0].texts is None:
            raise ProblemError(404, "there is no such version, or it had no texts")
        return await self.publish(person, place, found[0].texts, reason=reason or f"back to version {version}")

    async def preview(self, request: ApiRequest) -> ApiResponse:
        """What each channel would show."""
        body = await sent_document(request, self._rules, answers.PreviewValues)
        place, actors = _place(request), body.get("actors") or ["Ada"]
        draft = body.get("texts")
        self.refuse_preview_of_parts(place)
        if draft is not None and (errors := await self.errors(place, draft)):
            raise invalid(errors, "the texts could not be published")
        texts = await self.in_force(place, draft)
        example = TextExample(body.get("payload"), actors, body.get("actor_count") or len(actors), body.get("name"))
        plain, variants = self.shown(place, texts, example), self.shown_by_variant(place, texts, example)
        return json_response(200, answers.TextsPreview(dict(texts), dict(plain), variants))

    async def test(self, request: ApiRequest) -> ApiResponse:
        """They go to one user."""
        body = await sent_document(request, self._rules, answers.TextTest)
        done = await self.tested(request.caller(), _place(request), body)
        return self._told(done) if isinstance(done, PendingAct) else json_response(200, done)

    async def tested(
        self, person: Principal, place: TextPlace, body: Mapping[str, Any]
    ) -> answers.TextTested | PendingAct:  # fmt: skip
        """Send them to one user, by one channel; `body` is as `TextTest` says. What is of class P0 waits for a second
        person, whoever it goes to: nobody can tell that a user is the person who asks.

        :raises ProblemError: 400; 403; 409: he has sent many today; 503.
        """
        checked_document(body, self._rules, answers.TextTest)
        self._allow(person, place)
        self.refuse_preview_of_parts(place)
        if errors := await self.errors(place, body["texts"]):
            raise invalid(errors, "the texts could not be published")
        if body["channel"] not in self.tried_by(place):
            raise invalid([FieldError("channel", "is none of this type", "name one that its messages take")])
        texts, actor = await self._of_variant(place, body), body.get("actor") or "Ada"
        given = body.get("payload")
        payload = dict(self._texts.example(place[0], texts)) if given is None else given
        self.shown(place, texts, TextExample(payload, (actor,)))
        draft = TextDraft(body["channel"], place[1], dict(texts))
        if len(msgspec.json.encode(draft)) > _DRAFT_MAX_BYTES:
            raise invalid([FieldError("texts", "are too long for a test, with their parts", "shorten them")])
        text = CampaignText(place[0], payload, actor=actor, draft=draft)
        if self._rules.profile(place[0]).klass == "P0":
            about = {"type": place[0], "locale": place[1], "channel": draft.channel, "user": body["user"]}
            after = {"texts": draft.texts, "payload": payload, "actor": actor}
            about["change"] = change_mark(after)
            return await self._approvals.propose(person, "template_test", about, reason=None, before={}, after=after)
        event_id = await on_log(lambda: self._tests.test_text(actor_of(person), text, body["user"]))
        return answers.TextTested(event_id)

    async def _of_variant(self, place: TextPlace, body: Mapping[str, Any]) -> TypeTexts:
        texts, variant = await self.in_force(place, body["texts"]), body.get("variant")
        if variant is not None and variant not in dict(shares_of(texts)):
            raise invalid([FieldError("variant", "is none of the text", "name one of `_variants`")])
        return of_variant(texts, variant or variant_of(texts, place[0], body["user"]))

    async def counted(self, type_name: str, since_ms: int) -> dict[str, dict[str, int]]:
        """Of each variant how many went out since then and were opened, over all locales; in tens, and none below 10.

        :raises ProblemError: 503.
        """
        found = await self._questions.ask(lambda backstage: backstage.variants(type_name, since_ms))
        blur = since_ms % LEAST
        return {name: told for name, part in found.items() if (told := few_left_out(part, blur))}

    def tried_by(self, place: TextPlace) -> list[str]:
        """The channels by which messages of a type go to people's addresses on file."""
        profile = self._rules.profile(place[0])
        left_out = {"in_app", *profile.to_only} | (set() if profile.klass == "P0" else {"sms"})
        return [channel for channel in profile.channels if channel not in left_out]

    def refuse_preview_of_parts(self, place: TextPlace) -> None:
        """:raises ProblemError: 400: these are parts."""
        if place[0] == PARTS:
            raise invalid([FieldError("type", "has no preview of its own", "preview a type that has the parts")])

    async def in_force(self, place: TextPlace, draft: TypeTexts | None = None, reader: str | None = None) -> TypeTexts:
        """What a reader of this locale, or of another one, gets now, or would get if a draft were published.

        :raises ProblemError: 503.
        """
        everything = _texts_of(await self.published()) | ({} if draft is None else {place: draft})
        read = place[0], reader or place[1]
        found = texts_in_force(everything, *read)
        return self.built_in(read) if found is None else found

    def built_in(self, place: TextPlace) -> TypeTexts:
        """What holds where nothing is published."""
        return self._texts.built_in(*place)

    def type_names(self) -> list[str]:
        """What texts may be of, by the registry; types by a prefix are left out."""
        return [name for name in self._rules.type_names() if not name.endswith("*")]

    def shown(self, place: TextPlace, texts: TypeTexts, example: TextExample) -> Mapping[str, Any]:
        """What each channel would show.

        :raises ProblemError: 400: a fault, or these values do not suffice.
        """
        try:
            return self._texts.preview(*place, texts, example)
        except TemplateError as error:
            raise invalid([FieldError("texts", str(error), "correct them, or send the value")]) from error

    def shown_by_variant(
        self, place: TextPlace, texts: TypeTexts, example: TextExample
    ) -> dict[str, dict[str, dict[str, Any]]]:
        """The same of each variant, if there are any.

        :raises ProblemError: 400, as above.
        """
        names = (name for name, _ in shares_of(texts))
        return {name: dict(self.shown(place, of_variant(texts, name), example)) for name in names}

    def may_publish(self, person: Principal, place: TextPlace) -> bool:
        """What is urgent is an administrator's."""
        return person.role == "admin" or self._rules.profile(place[0]).klass != "P0"

    def _allow(self, person: Principal, place: TextPlace) -> None:
        """:raises ProblemError: 403."""
        if not self.may_publish(person, place):
            raise ProblemError(403, "texts of class P0 are for keys of role admin")

    async def _publish(
        self, person: Principal, place: TextPlace, texts: TypeTexts | None, *, reason: str | None, seen: int | None
    ) -> TemplateRecord | PendingAct:
        if self._rules.profile(place[0]).klass == "P0":
            return await self._propose(person, place, texts, reason=reason, seen=seen)
        return await on_log(lambda: self._desk.publish(actor_of(person), place, texts, reason=reason, seen=seen))

    async def _propose(
        self, person: Principal, place: TextPlace, texts: TypeTexts | None, *, reason: str | None, seen: int | None
    ) -> PendingAct:
        """:raises ProblemError: 403; 409; 503."""
        before = (await self.published()).get(place)
        held = 0 if before is None else before.version
        if seen not in (None, held):
            raise ProblemError(409, f"it is at version {held} meanwhile; look at that one first")
        about = {"type": place[0], "locale": place[1], "version": str(held + 1), "change": change_mark(texts)}
        was = {"texts": None if before is None else before.texts}
        return await self._approvals.propose(
            person, "template", about, reason=reason, before=was, after={"texts": texts}
        )  # fmt: skip

    async def _confirmed(self, asked: ApprovalRecord) -> Mapping[str, Any]:
        """Publish what a second person confirmed, unless it is done, or something else was published since."""
        place, texts = (asked.about["type"], asked.about["locale"]), (asked.after or {}).get("texts")
        version = int(asked.about["version"])
        done = await on_log(
            lambda: self._desk.carry_out(asked.by, place, texts, reason=asked.reason, version=version)
        )  # fmt: skip
        return (texts or {}) if done else {NOT_DONE: "another version was published since"}

    async def _confirmed_test(self, asked: ApprovalRecord) -> Mapping[str, Any]:
        """Send what a second person confirmed, once."""
        about, given = asked.about, asked.after or {}
        draft = TextDraft(about["channel"], about["locale"], given["texts"])
        text = CampaignText(about["type"], given["payload"], actor=given["actor"], draft=draft)
        actor, proposal = Actor(asked.by, asked.role, asked.subject), int(asked.approval or 0)
        try:
            event_id = await on_log(lambda: self._tests.test_text(actor, text, about["user"], approved=proposal))
        except ProblemError as problem:
            if problem.status != 409:
                raise
            return {NOT_DONE: str(problem)}  # he has sent many today
        return {"event_id": event_id}


def _texts_of(published: Mapping[TextPlace, TemplateRecord]) -> dict[TextPlace, TypeTexts]:
    return {place: record.texts for place, record in published.items() if record.texts is not None}


def _begun(acts: Sequence[NotedAct], first: str) -> bool:
    """Whether the oldest of these is the version that a search may end with."""
    return bool(acts) and acts[-1].record.about.get("version") == first


def _place(request: ApiRequest) -> TextPlace:
    return request.parameters["type"], request.parameters["locale"]


def _shown(record: TemplateRecord) -> answers.TextsShown:
    return msgspec.convert(record, answers.TextsShown, from_attributes=True)


def _field_error(fault: str) -> FieldError:
    form, _, rest = fault.partition(": ")
    problem, _, remedy = rest.rpartition("; ")
    return FieldError(form if form in ("type", "locale") else f"texts.{form}", problem or rest, remedy)
