"""`/v1/types`: what types may do, published by teams for their own and by ops for all (RULES 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from connectors.gateway import answers
from connectors.gateway.acts import Acts, reason_of
from connectors.gateway.approval_calls import told_approval
from connectors.gateway.approvals import Approvals, change_mark
from connectors.gateway.auth import Principal
from connectors.gateway.backstage import Questions
from connectors.gateway.bodies import sent_document
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import ProblemError, invalid, retry_later
from connectors.gateway.routes import Route
from connectors.gateway.type_answers import (
    TypeShown,
    TypesShown,
    TypeTried,
    tried_of,
    type_shown,
    without_reasons,
)
from connectors.gateway.writer import SettingWriter, on_log
from connectors.types import PublishedTypes, changed_type, type_publication, written_table
from state.model.admission import AdmissionRules
from state.model.audit import NOT_DONE, ApprovalRecord, PendingAct
from state.model.documents import TypeChange, TypeTry
from state.model.registry import Registry, TypeProfile
from state.model.type_record import next_record

CALLERS = frozenset(("producer", "p0", "ops", "admin"))
"""Senders publish what is theirs."""
_FREE = ("ops", "admin")
_ONE = "/v1/types/{type}"


class TypeDesk:
    """Shows the registry, and publishes what a type may do from now on."""

    def __init__(
        self,
        rules: AdmissionRules,
        types: PublishedTypes,
        writer: SettingWriter,
        acts: Acts,
        approvals: Approvals,
        questions: Questions | None = None,
    ) -> None:
        """Without `questions` nothing can be tried."""
        self._questions = questions
        self._one_at_a_time, self._trial = asyncio.Lock(), asyncio.Lock()
        self._rules, self._types, self._writer, self._acts, self._approvals = rules, types, writer, acts, approvals
        approvals.does("type", self._confirmed)

    async def all(self, _request: ApiRequest) -> ApiResponse:
        """Every type of the registry."""
        return json_response(200, TypesShown(await self.shown()))

    async def get(self, request: ApiRequest) -> ApiResponse:
        """One."""
        return json_response(200, await self.one(request.parameters["type"]))

    async def put(self, request: ApiRequest) -> ApiResponse:
        """Publish a table."""
        change = msgspec.convert(await sent_document(request, self._rules, TypeChange), TypeChange)
        name, person = request.parameters["type"], request.caller()
        return await self._told(await self.publish(name, change.table, person, change.reason, change.version), name)

    async def delete(self, request: ApiRequest) -> ApiResponse:
        """Take back what is published."""
        name, reason = request.parameters["type"], reason_of(request.query(("reason",)))
        return await self._told(await self.publish(name, None, request.caller(), reason), name)

    async def post_trial(self, request: ApiRequest) -> ApiResponse:
        """Try a table."""
        body = await sent_document(request, self._rules, TypeTry)
        name, person = request.parameters["type"], request.caller()
        tried = await self.tried(name, body["table"], person)
        return json_response(200, tried if person.role in _FREE else without_reasons(tried))

    async def tried(self, name: str, table: Mapping[str, Any] | None, person: Principal) -> TypeTried:
        """What it would have done to what the last day brought.

        :raises ProblemError: 400; 403: a sender may not publish this; 503.
        """
        registry, written = await self._registry(), None if table is None else written_table(table)
        self._allow(person, name, registry.profile(name), written, self._after(name, written))
        if self._questions is None:
            return TypeTried("this gateway does not read the ledger")
        questions = self._questions
        if self._trial.locked():
            raise retry_later(503, "another table is being tried at this gateway; try again", 10_000)
        async with self._trial:  # senders try too, and must not take all the threads of whoever operates the system
            told = await questions.ask(lambda backstage: backstage.try_type(name, written))
        return tried_of(told)

    async def _told(self, pending: PendingAct | None, name: str) -> ApiResponse:
        if pending is not None:
            return json_response(202, told_approval(pending, self._acts.now_ms()))
        return json_response(200, await self.one(name, new=True))  # one that was taken back may be none any more

    async def shown(self) -> list[TypeShown]:
        """All types, by name.

        :raises ProblemError: 503.
        """
        registry = await self._registry()
        return [self._shown(registry.profile(name), name) for name in sorted(registry.names())]

    async def one(self, name: str, *, new: bool = False) -> TypeShown:
        """A type of the registry, or (`new`) what is decided of one that is not there.

        :raises ProblemError: 404, 503.
        """
        registry = await self._registry()
        profile = registry.profile(name)
        if not profile.registered and not new:
            raise ProblemError(404, "no type has this name; PUT makes one")
        return self._shown(profile, name)

    def _shown(self, profile: TypeProfile, name: str) -> TypeShown:
        return type_shown(profile, name, self._types.published.get(name), self._types.configured.get(name))

    async def publish(
        self, name: str, table: Mapping[str, Any] | None, person: Principal, reason: str, version: int | None = None
    ) -> PendingAct | None:
        """Let a table be in force from here on, or (None) the file's again. What touches P0 waits for a second person.

        :raises ProblemError: 400; 403: a sender may not say this by itself; 404: nothing is published; 409: another
            version than `version` is; 503.
        """
        async with self._one_at_a_time:
            return await self._publish(name, None if table is None else written_table(table), person, reason, version)

    async def _publish(
        self, name: str, written: dict[str, Any] | None, person: Principal, reason: str, version: int | None
    ) -> PendingAct | None:
        registry, now = await self._registry(), self.version_of(name)
        if version is not None and version != now:
            raise ProblemError(409, f"version {now} is published by now; look at it, and make the change again")
        if written is None and self._published(name) is None:
            raise ProblemError(404, "nothing is published of this type")
        after = self._after(name, written)
        before = registry.profile(name)
        self._allow(person, name, before, written, after)
        was, will = {"table": self._published(name)}, {"table": written}
        if "P0" in (before.klass, after.klass):
            about = {"type": name, "version": str(now), "change": change_mark(written)}
            return await self._approvals.propose(person, "type", about, reason=reason, before=was, after=will)
        about = {"type": name, "version": str(now + 1)}
        noted = self._acts.record(person, "type", about, reason=reason, before=was, after=will)
        record = next_record(self._types.published.get(name), name, written, person.name, reason)
        await self._acts.note(noted, type_publication(record))
        return None

    def _allow(
        self, person: Principal, name: str, before: TypeProfile, written: dict[str, Any] | None, after: TypeProfile
    ) -> None:
        if person.role in _FREE:
            return
        assert person.sender is not None
        if errors := self._rules.sender_errors(name, person.sender, before, None if written is None else after):
            raise ProblemError(403, "a sender may not publish this by itself", errors=errors)

    def _after(self, name: str, table: dict[str, Any] | None) -> TypeProfile:
        """What it would be then.

        :raises ProblemError: 400.
        """
        after = changed_type(self._rules, self._types.configured, self._types.published, name, table)
        if isinstance(after, TypeProfile):
            return after
        raise invalid(after)

    async def _confirmed(self, asked: ApprovalRecord) -> Mapping[str, Any]:
        """Publish what a second person confirmed, unless it is done, or something else was published since."""
        async with self._one_at_a_time:
            return await self._confirm(asked)

    async def _confirm(self, asked: ApprovalRecord) -> Mapping[str, Any]:
        await self._registry()
        name, table = asked.about["type"], (asked.after or {}).get("table")
        now = self.version_of(name)
        if now == int(asked.about["version"]):
            now += 1
            record = next_record(self._types.published.get(name), name, table, asked.by, asked.reason)
            await self._writer.append([type_publication(record)])
        elif self._published(name) != table:
            return {NOT_DONE: "another version was published since"}
        return {"version": now}

    def version_of(self, name: str) -> int:
        """How often it was published or taken back."""
        record = self._types.published.get(name)
        return 0 if record is None else record.version

    def _published(self, name: str) -> dict[str, Any] | None:
        record = self._types.published.get(name)
        return None if record is None else record.table

    async def _registry(self) -> Registry:
        """With everything that is published at this moment."""
        return await on_log(self._types.up_to_date)


def type_calls(desk: TypeDesk) -> list[Route]:
    """For senders and operators."""
    return [
        Route(
            "listTypes", "GET", "/v1/types", CALLERS, "Types", "The registry: what each type may do, and who says so.",
            desk.all, {200: TypesShown}, (503,),
        ),
        Route(
            "getType", "GET", _ONE, CALLERS, "A type", "What is in force, and where it is from.",
            desk.get, {200: TypeShown}, (404, 503),
        ),
        Route(
            "putType", "PUT", _ONE, CALLERS, "Publish a type",
            "The table takes the place of the one before, and of the configuration file's, in every process within "
            "seconds and without a restart. Senders publish new types and those that they own, of class P1 and P2. "
            "202: it is or was P0, so a second person has to confirm it.",
            desk.put, {200: TypeShown, 202: answers.Approval}, (409, 503), body={"application/json": TypeChange},
        ),
        Route(
            "tryType", "POST", f"{_ONE}/trial", CALLERS, "What a table would have done",
            "What is kept of the last day of P1 and P2 is decided twice, by the types of now and with the table, by "
            "the code that decides; up to 20 000 records of a partition, for up to a minute. It cannot say what people "
            "or providers would have done then. Nothing is published, and P0 is not tried. Senders try what they may "
            "publish, and see outcomes without their reasons.",
            desk.post_trial, {200: TypeTried}, (503,), body={"application/json": TypeTry},
        ),
        Route(
            "deleteType", "DELETE", _ONE, CALLERS, "Take a published type back",
            "What the configuration file says holds again, or the default. 404: nothing is published.",
            desk.delete, {200: TypeShown, 202: answers.Approval}, (404, 503),
            query={"reason": Annotated[str, Meta(description="Why.")]},
        ),
    ]  # fmt: skip
