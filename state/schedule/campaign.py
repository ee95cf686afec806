"""One campaign: what may be done to it, and how much of it may go now."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from state.model.campaign import CampaignAct, CampaignAudience, CampaignOrder, CampaignText
from state.model.zones import local_ms

TWO_APPROVE_ABOVE = 100_000
"""Recipients; up to here one other person is enough."""
PER_SECOND = 1_000
"""Recipients a second, until it is set."""
_ALLOWED = {
    "pause": ("running",), "resume": ("paused",), "advance": ("running", "paused"),
    "edit": ("draft",), "audience": ("draft",), "start": ("draft",),
}  # fmt: skip
"""In which states acts count; the others do in all but the last."""


class CampaignChange(NamedTuple):
    """What an act left behind."""

    revision: int
    verb: str
    by: str
    at: int
    text: CampaignText


@dataclass(slots=True)
class Campaign:
    """One campaign."""

    name: str
    text: CampaignText
    editor: str
    """Who changed last what is sent or to whom: he does not approve it, by whatever name."""
    created_at: int
    revision: int = 0
    state: str = "draft"
    """draft, running, paused, cancelled."""
    approvals: list[str] = field(default_factory=list)
    editor_subject: str = ""
    approval_subjects: list[str] = field(default_factory=list)
    """Who they are, whatever they are called, as far as it is told."""
    audience: CampaignAudience | None = None
    start_at: int | None = None
    start_local: str | None = None
    per_second: int = PER_SECOND
    stage: int = 0
    """The furthest that was told to go or has begun."""
    hold_ms: int | None = None
    ordered: dict[int, int] = field(default_factory=dict)
    """Chunks that are released, and when."""
    released: dict[int, int] = field(default_factory=dict)
    """Chunks whose events were handed on, and how many recipients they have."""
    free_at: float = 0.0
    """When the throttle allows the next chunk, in milliseconds."""
    changes: list[CampaignChange] = field(default_factory=list)
    """By each act that counted, in order."""

    @property
    def approvals_needed(self) -> int:
        """How many other people must approve."""
        return 2 if self.audience is not None and self.audience.recipients > TWO_APPROVE_ABOVE else 1

    @property
    def is_over(self) -> bool:
        """Whether nothing can be released any more."""
        return self.state == "cancelled" or self.is_done

    @property
    def is_done(self) -> bool:
        """Whether everything was released."""
        return self.audience is not None and self.state != "draft" and len(self.ordered) >= self.audience.chunks

    @property
    def stage_chunks(self) -> Sequence[int]:
        """Up to which chunk each stage goes; empty: there are no stages."""
        return () if self.audience is None else self.audience.stage_chunks

    def open_chunks(self, now: int) -> int:
        """Chunks below this number may go: of stages that were told to, that have begun, or whose hold is over."""
        ends = self.stage_chunks
        if not ends:
            return 0 if self.audience is None else self.audience.chunks
        gone = [at for number, at in self.ordered.items() if number < ends[self.stage]]
        is_over = self.hold_ms is not None and len(gone) == ends[self.stage] and now >= max(gone) + self.hold_ms
        return ends[min(self.stage + is_over, len(ends) - 1)]

    def refusal(self, act: CampaignAct) -> str | None:
        """Why the act does not count here; None: it does."""
        if act.verb == "create":
            return "there is a campaign of this name"
        if act.revision != self.revision:
            return "somebody else changed the campaign meanwhile; look again"
        if act.verb == "approve":
            return self._approval_refusal(act)
        if act.verb == "advance" and self.stage + 1 >= len(self.stage_chunks):
            return "it has no further stage"
        if act.verb == "start" and act.hold_ms is not None and not self.stage_chunks:
            return "its file was sent without stages"
        if act.verb == "start" and len(self.approvals) < self.approvals_needed:
            return f"it has {len(self.approvals)} of {self.approvals_needed} approvals"
        allowed = _ALLOWED.get(act.verb, ("draft", "running", "paused"))
        if self.is_over:
            return f"it is {'done' if self.is_done else self.state}"
        return None if self.state in allowed else f"it is {self.state}; this is for one that is {' or '.join(allowed)}"

    def _approval_refusal(self, act: CampaignAct) -> str | None:
        if self.state != "draft":
            return f"it is {self.state}"
        if self.audience is None:
            return "it has no audience yet"
        if _is_same(act, self.editor, self.editor_subject):
            return "whoever changed it last does not approve it; another person must"
        approved = zip(self.approvals, self.approval_subjects, strict=True)
        return "you have approved it" if any(_is_same(act, *each) for each in approved) else None

    def take(self, act: CampaignAct) -> None:
        """An act that counts."""
        self.revision += 1
        match act.verb:
            case "edit" | "audience":
                if act.text is not None and act.text.type != self.text.type and self.audience is not None:
                    self.audience = replace(self.audience, reached={}, suppressed={})
                self.text, self.audience = act.text or self.text, act.audience or self.audience
                self.editor, self.editor_subject = act.by, act.subject
                self.approvals, self.approval_subjects = [], []
            case "approve":
                self.approvals.append(act.by)
                self.approval_subjects.append(act.subject)
            case "start":
                self.state, self.start_at, self.start_local = "running", act.start_at, act.start_local
                self.hold_ms = act.hold_ms
            case "advance":
                self.stage += 1
            case "pause" | "resume" | "cancel":
                self.state = {"pause": "paused", "resume": "running", "cancel": "cancelled"}[act.verb]
        self.per_second = act.per_second or self.per_second
        self.changes.append(CampaignChange(self.revision, act.verb, act.by, act.at, self.text))

    def since(self, revision: int) -> tuple[CampaignText | None, list[CampaignChange]]:
        """What it said in a revision, and the changes after that; None: there was no such revision."""
        known = {change.revision: change.text for change in self.changes}
        return known.get(revision), [change for change in self.changes if change.revision > revision]

    def due_at(self, zone: str) -> int:
        """When chunks of a zone may be released."""
        if self.start_local is not None:
            return local_ms(datetime.fromisoformat(self.start_local), zone)
        return self.start_at or 0

    def count(self, order: CampaignOrder, recipients: int) -> None:
        """A chunk is released: the throttle waits as long as its recipients take."""
        self.ordered[order.number] = order.at
        begun = min(bisect_right(self.stage_chunks, order.number), len(self.stage_chunks) - 1)
        self.stage = max(self.stage, begun)
        self.free_at = max(self.free_at, order.at) + recipients * 1000 / self.per_second


def _is_same(act: CampaignAct, name: str, subject: str) -> bool:
    """Whether that person acts: two may be called alike, and one may be called otherwise meanwhile."""
    return act.subject == subject if act.subject and subject else act.by == name
