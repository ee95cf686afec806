"""`/v1/senders/{sender}/limit`: a sender asks for more, ops grant it; what touches P0 needs a second person (RULES 1).

Both are records of topic `registry`, which every gateway follows: what is granted holds there within seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta

from connectors.gateway.acts import Acts
from connectors.gateway.answers import Approval, Reply
from connectors.gateway.approval_calls import told_approval
from connectors.gateway.approvals import Approvals
from connectors.gateway.auth import Principal
from connectors.gateway.bodies import sent_document
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.options import ServiceKey
from connectors.gateway.problems import ProblemError
from connectors.gateway.routes import Route
from connectors.gateway.writer import SettingWriter
from connectors.log.interface import NewRecord, Record
from state.model.admission import AdmissionRules
from state.model.audit import ApprovalRecord, AuditRecord, PendingAct
from state.model.documents import Exact, LimitChange, Text
from state.model.sender_limit import LIMIT, LIMIT_REQUEST, LimitRecord
from state.model.topics import REGISTRY

CALLERS = frozenset(("producer", "p0", "ops", "admin"))
GRANTING = ("ops", "admin")
_PATH = "/v1/senders/{sender}/limit"


class GrantedLimits:
    """What the topic says; read by one thread, asked by any."""

    def __init__(self) -> None:
        self.granted: dict[str, LimitRecord] = {}
        self.asked: dict[str, LimitRecord] = {}
        """Open requests."""

    def on_record(self, record: Record) -> None:
        """A record of the topic.

        :raises MalformedRecordError: it does not fit; it changes nothing.
        """
        schema = dict(record.headers).get("schema")
        if schema == LIMIT.json:
            granted = LIMIT.decode(record.value)
            self.granted[granted.sender] = granted
            self.asked.pop(granted.sender, None)
        elif schema == LIMIT_REQUEST.json:
            asked = LIMIT_REQUEST.decode(record.value)
            self.asked[asked.sender] = asked

    def of(self, sender: str, configured: int) -> int:
        """Events in any second that the sender may send."""
        granted = self.granted.get(sender)
        return configured if granted is None else granted.per_second


class LimitShown(Reply):
    """How much a sender may send."""

    sender: Text
    per_second: Annotated[Exact, Meta(description="Events in any second, as it is now.")]
    configured: Annotated[Exact, Meta(description="By the configuration, which holds until ops grant a limit.")]
    granted_by: str | None
    asked: Annotated[Exact | None, Meta(description="What somebody asked for, and ops did not decide on yet.")]
    asked_by: str | None
    reason: Annotated[str | None, Meta(description="Of the request, or else of what was granted last.")]


class SenderDesk:
    """Asks, grants, shows."""

    def __init__(
        self,
        rules: AdmissionRules,
        limits: GrantedLimits,
        keys: Sequence[ServiceKey],
        writer: SettingWriter,
        acts: Acts,
        approvals: Approvals,
    ) -> None:
        self._rules, self._limits, self._writer, self._acts, self._approvals = rules, limits, writer, acts, approvals
        self._keys = {key.sender_id: key for key in keys if key.role in ("producer", "p0")}
        self._p0 = {key.sender_id for key in keys if key.sends_p0()}
        approvals.does("limit", self._confirmed)

    async def get(self, request: ApiRequest) -> ApiResponse:
        """As it is."""
        sender = request.parameters["sender"]
        shown = self.shown(sender)
        self._check(sender, request.caller())
        return json_response(200, shown)

    async def put(self, request: ApiRequest) -> ApiResponse:
        """Ask or grant."""
        body = await sent_document(request, self._rules, LimitChange)
        sender, person = request.parameters["sender"], request.caller()
        self.shown(sender)
        self._check(sender, person)
        pending = await self.change(sender, body["per_second"], person, body["reason"])
        if pending is not None:
            return json_response(202, told_approval(pending, self._acts.now_ms()))
        return json_response(200, self.shown(sender))

    def _check(self, sender: str, person: Principal) -> None:
        if person.role not in GRANTING and person.name != sender:
            raise ProblemError(403, "a sender sees and asks for its own limit alone; this is that of another one")

    def shown(self, sender: str) -> LimitShown:
        """Of one sender.

        :raises ProblemError: 404.
        """
        if (key := self._keys.get(sender)) is None:
            raise ProblemError(404, "no sender has this name")
        granted, asked = self._limits.granted.get(sender), self._limits.asked.get(sender)
        last = asked or granted
        return LimitShown(
            sender, self._limits.of(sender, key.limit_per_s), key.limit_per_s, None if granted is None else granted.by,
            None if asked is None else asked.per_second, None if asked is None else asked.by,
            None if last is None else last.reason,
        )  # fmt: skip

    async def change(self, sender: str, per_second: int, person: Principal, reason: str) -> PendingAct | None:
        """Grant a limit, if the person may, or else ask for it. That of a sender of P0 waits for a second person.

        :raises ProblemError: 404, 503.
        """
        was, will = {"per_second": self.shown(sender).per_second}, {"per_second": per_second}
        about, grants = {"sender": sender}, person.role in GRANTING
        if grants and sender in self._p0:
            about["per_second"] = str(per_second)
            return await self._approvals.propose(person, "limit", about, reason=reason, before=was, after=will)
        noted = self._acts.record(
            person, "limit" if grants else "ask_limit", about, reason=reason, before=was, after=will
        )  # fmt: skip
        made = LimitRecord(sender=sender, per_second=per_second, by=person.name, reason=reason)
        await self._store(made, noted, granted=grants)
        return None

    async def _confirmed(self, asked: ApprovalRecord) -> Mapping[str, Any]:
        sender, per_second = asked.about["sender"], int(asked.about["per_second"])
        if self.shown(sender).per_second != per_second:
            await self._store(LimitRecord(sender=sender, per_second=per_second, by=asked.by, reason=asked.reason))
        return {"per_second": per_second}

    async def _store(self, record: LimitRecord, noted: AuditRecord | None = None, *, granted: bool = True) -> None:
        schema = LIMIT if granted else LIMIT_REQUEST
        key = f"{schema.name}/{record.sender}".encode()
        stored = NewRecord(REGISTRY, 0, key, schema.encode(record), schema.headers)
        done = self._writer.append([stored]) if noted is None else self._acts.note(noted, stored)
        offset = (await done)[-1]
        self._limits.on_record(Record(REGISTRY, 0, offset, 0, key, stored.value, schema.headers))


def sender_calls(desk: SenderDesk) -> list[Route]:
    """For senders and operators."""
    return [
        Route(
            "getSenderLimit", "GET", _PATH, CALLERS, "How much a sender may send",
            "The limit that holds, and what was asked for. A sender sees its own.",
            desk.get, {200: LimitShown}, (404,),
        ),
        Route(
            "putSenderLimit", "PUT", _PATH, CALLERS, "Ask for another limit, or grant it",
            "By the sender itself it is a request, which ops see on the page Senders. By ops or admin it holds in "
            "every gateway within seconds. 202: the sender sends P0, so a second person has to confirm it.",
            desk.put, {200: LimitShown, 202: Approval}, (404, 503), body={"application/json": LimitChange},
        ),
    ]  # fmt: skip
