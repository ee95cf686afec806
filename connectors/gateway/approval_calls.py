"""`/v1/approvals`: acts that wait for a second person, and what he says."""

from __future__ import annotations

from connectors.gateway import answers
from connectors.gateway.approvals import APPROVERS, Approvals
from connectors.gateway.bodies import sent_document
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.routes import Route
from state.model.admission import AdmissionRules
from state.model.audit import PendingAct
from state.model.documents import ApprovalDecision


class ApprovalCalls:
    """Handlers."""

    def __init__(self, rules: AdmissionRules, approvals: Approvals) -> None:
        self._rules, self._approvals = rules, approvals

    async def show(self, _request: ApiRequest) -> ApiResponse:
        """Those of the last hour."""
        found = await self._approvals.lately()
        return json_response(200, answers.ApprovalsLately([told_approval(each, self._now_ms()) for each in found]))

    async def decide(self, request: ApiRequest) -> ApiResponse:
        """Confirm or refuse one."""
        given, name = await sent_document(request, self._rules, ApprovalDecision), request.parameters["approval"]
        confirm, reason = given["decision"] == "confirm", given.get("reason")
        decided = await self._approvals.decide(name, request.caller(), confirm=confirm, reason=reason)
        return json_response(200, told_approval(decided, self._now_ms()))

    def _now_ms(self) -> int:
        return self._approvals.now_ms()


def told_approval(pending: PendingAct, now_ms: int) -> answers.Approval:
    """What the API says of it."""
    asked, decided = pending.asked, pending.decided
    who, when, why = (None, None, None) if decided is None else (decided.by, decided.at, decided.reason)
    return answers.Approval(
        id=pending.id, state=pending.state(now_ms), act=asked.act, about=asked.about, reason=asked.reason,
        before=asked.before, after=asked.after, by=asked.by, role=asked.role, at=asked.at, until=asked.until,
        may_confirm=list(APPROVERS), decided_by=who, decided_at=when, decided_reason=why, done=pending.done,
    )  # fmt: skip


def approval_calls(calls: ApprovalCalls) -> list[Route]:
    """For whoever may propose."""
    roles = frozenset(APPROVERS)
    return [
        Route(
            "getApprovals", "GET", "/v1/approvals", roles, "Acts that need a second person",
            "Of the last hour, the newest first: what waits, until when, and what became of the others.",
            calls.show, {200: answers.ApprovalsLately}, (503,),
        ),
        Route(
            "decideApproval", "POST", "/v1/approvals/{approval}", roles, "Confirm or refuse an act of another person",
            "Confirmed, it is done at once. 403: it is one's own; only to refuse it is allowed. 409: it was decided "
            "already, or ten minutes are over.",
            calls.decide, {200: answers.Approval}, (404, 409, 503), body={"application/json": ApprovalDecision},
        ),
    ]  # fmt: skip
