"""What people did to the system, as topic `audit` keeps it for ever (TOPICS.md), and acts that need two of them.

What destroys or touches P0 is first a proposal. Its name is the proposal's offset. The first step behind it that holds
decides it, in the order of the topic; so all who read the topic agree, however many confirm at once.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, Self

import msgspec

from state.model.event import SafeInt
from state.model.schema import Schema

Act = Literal[
    "kill", "lift", "explain", "history", "search", "retry_letter", "discard_letter", "campaign", "sign_in",
    "sign_out_everywhere", "template", "template_test", "type", "ask_limit",
    "limit", "device_moved", "configuration",
]  # fmt: skip
"""What can be done."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act of a person. It tells who looked at whom, and never what he saw."""

    at: SafeInt
    """When, in milliseconds."""
    by: str
    """The name of his credential, or of the person at the command line."""
    role: str
    act: Act
    about: dict[str, str] = {}
    """What it was done to: `user`, `event`, `scope` and `value`, `letter`, `campaign` and `verb`; `type`, `locale` and
    `version` or `channel`; `sender`; `from_user` and `to_user`, hashed; `process` and `host`; `approval`, if a second
    person confirmed.
    """
    reason: str | None = None
    """In his words."""
    before: dict[str, Any] | None = None
    """What was so before, where the act changed something."""
    after: dict[str, Any] | None = None


ApprovalStep = Literal["proposed", "confirmed", "refused", "expired"]


class ApprovalRecord(AuditRecord, frozen=True, kw_only=True, omit_defaults=True):
    """One step of an act that needs a second person."""

    step: ApprovalStep
    until: SafeInt
    """The first moment, in milliseconds, at which it can be confirmed no more."""
    subject: str = ""
    """Who that is: two names can be one person's, and one name can be two people's."""
    approval: str | None = None
    """The offset of the proposal in the topic, in decimal; None: this is the proposal."""


NOT_DONE = "not_done"
"""In `after` of an act that was confirmed and overtaken: why nothing was done."""


class PendingAct(NamedTuple):
    """An act from its proposal on."""

    offset: int
    """Of its proposal."""
    asked: ApprovalRecord
    decided: ApprovalRecord | None = None
    """The step that holds."""
    decided_at: int = -1
    """The offset of that step."""
    done: bool = False
    """Whether it is noted that it was carried out, or that a switch was lifted since it was confirmed."""
    not_done: str | None = None
    """Why it was not carried out although it was confirmed."""

    @property
    def id(self) -> str:
        """Its name."""
        return str(self.offset)

    @property
    def unfinished(self) -> bool:
        """Whether it is confirmed, and not known to be carried out or to be overtaken."""
        settled = self.done or self.not_done is not None
        return self.decided is not None and self.decided.step == "confirmed" and not settled

    def carried_out(self, record: AuditRecord) -> Self:
        """With the act as it was noted."""
        not_done = (record.after or {}).get(NOT_DONE)
        return self._replace(done=not_done is None, not_done=not_done)

    def state(self, now_ms: int) -> ApprovalStep:
        """How far it is."""
        if self.decided is not None:
            return self.decided.step
        return "proposed" if now_ms < self.asked.until else "expired"


def pending_acts(records: Iterable[tuple[int, int, AuditRecord]]) -> list[PendingAct]:
    """What the records of topic `audit` (offset, the log's time in milliseconds, record) come to, the oldest first."""
    found: dict[str, PendingAct] = {}
    for offset, time_ms, record in records:
        if not isinstance(record, ApprovalRecord):
            for name in _done_by(record, found):
                found[name] = found[name].carried_out(record)
        elif record.approval is None:
            found[str(offset)] = PendingAct(offset, record)
        elif (pending := found.get(record.approval)) is not None and _holds(pending, record, time_ms):
            found[record.approval] = pending._replace(decided=record, decided_at=offset)
    return list(found.values())


def _done_by(record: AuditRecord, found: Mapping[str, PendingAct]) -> list[str]:
    """What this act carries out, or takes back: what was lifted since must not be stopped by whoever comes late."""
    if record.act == "lift":
        return [
            name
            for name, each in found.items()
            if each.unfinished and each.asked.act == "kill" and _switch(each.asked) == _switch(record)
        ]
    return [name] if (name := record.about.get("approval", "")) in found else []


def _switch(record: AuditRecord) -> tuple[str, str]:
    return record.about.get("scope", ""), record.about.get("value", "")


def _holds(pending: PendingAct, record: ApprovalRecord, time_ms: int) -> bool:
    if pending.decided is not None:
        return False
    in_time = max(time_ms, record.at) < pending.asked.until
    return record.step != "confirmed" or (in_time and record.subject != pending.asked.subject)


AUDIT = Schema("audit", AuditRecord)
APPROVAL = Schema("approval", ApprovalRecord)
