"""Campaigns as the order of the topic `campaigns` has them: gateways and schedule read it, and see the same.

An act counts if it names the revision that it changes and its campaign allows it. An order to release a chunk counts
if the campaign runs at the order's place. So what a pause or a cancel stops is exact to the record, and of two people
who act at once one is refused. Acts and orders are never overwritten, so compaction changes nothing.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from state.model.campaign import (
    CAMPAIGN_ACT,
    CAMPAIGN_BAD_ROWS,
    CAMPAIGN_CHUNK_HEAD,
    CAMPAIGN_ORDER,
    CAMPAIGN_RELEASED,
    CampaignAct,
    CampaignAudience,
    CampaignChunkHead,
    CampaignOrder,
    CampaignReleased,
    CampaignText,
)
from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.zones import local_ms

TWO_APPROVE_ABOVE = 100_000
"""Recipients; up to here one other person is enough."""
PER_SECOND = 1_000
"""Recipients a second, until it is set."""
TESTS_A_DAY = 20
"""Of one person, of all campaigns together: a test needs no approval."""
_DAY_MS = 86_400_000


class ChunkPlace(NamedTuple):
    """Where a chunk is in the topic, and whose it is."""

    offset: int
    zone: str
    recipients: int


_ALLOWED = {
    "pause": ("running",), "resume": ("paused",), "advance": ("running", "paused"),
    "edit": ("draft",), "audience": ("draft",), "start": ("draft",),
}  # fmt: skip
"""In which states acts count; the others do in all but the last."""


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
        if self.is_over or self.state not in _ALLOWED.get(act.verb, ("draft", "running", "paused")):
            return f"the campaign is {'done' if self.is_done else self.state}"
        return None

    def _approval_refusal(self, act: CampaignAct) -> str | None:
        if self.state != "draft":
            return f"the campaign is {self.state}"
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


@dataclass(slots=True)
class CampaignBook:
    """All campaigns. Used by one thread at a time."""

    campaigns: dict[str, Campaign] = field(default_factory=dict)
    refusals: dict[str, str | None] = field(default_factory=dict)
    """What became of acts, by their ids."""
    bad_rows: dict[tuple[str, int], int] = field(default_factory=dict)
    """Where the rows are that were left out, by campaign and generation."""
    tests: dict[tuple[str, int], CampaignText] = field(default_factory=dict)
    """What tests say that were not released yet, by campaign and generation."""
    _chunks: dict[tuple[str, int], dict[int, ChunkPlace]] = field(default_factory=dict)
    _tested_at: dict[str, list[int]] = field(default_factory=dict)
    """When each person sent tests, within a day of his latest."""

    def take(self, schema: bytes, key: bytes, value: bytes, offset: int) -> CampaignOrder | None:
        """Take a record; gives an order that counts, and a test is one.

        :raises MalformedRecordError: it does not fit; nothing has changed.
        """
        if not value:
            self._forget(key)
        elif schema == CAMPAIGN_ACT.json:
            return self._act(CAMPAIGN_ACT.decode(value))
        elif schema == CAMPAIGN_CHUNK_HEAD.json:
            self._chunk(CAMPAIGN_CHUNK_HEAD.decode(value), offset)
        elif schema == CAMPAIGN_RELEASED.json:
            self._released(CAMPAIGN_RELEASED.decode(value))
        elif schema == CAMPAIGN_BAD_ROWS.json:
            bad = CAMPAIGN_BAD_ROWS.decode(value)
            self.bad_rows[bad.campaign, bad.generation] = offset
        elif schema == CAMPAIGN_ORDER.json:
            return self._order(CAMPAIGN_ORDER.decode(value))
        return None

    def take_or_pass(self, headers: Sequence[tuple[str, bytes]], key: bytes, value: bytes, offset: int) -> None:
        """The same for whoever only looks: what does not fit is passed over."""
        with suppress(MalformedRecordError, *UNDECODABLE):
            self.take(dict(headers).get("schema", b""), key, value, offset)

    def chunks(self, campaign: Campaign) -> Mapping[int, ChunkPlace]:
        """What is left of a campaign's chunks, by number."""
        audience = campaign.audience
        return {} if audience is None else self._chunks.get((campaign.name, audience.generation), {})

    def ordered_chunk(self, order: CampaignOrder) -> ChunkPlace | None:
        """What is to be released; None: it was."""
        return self._chunks.get((order.campaign, order.generation), {}).get(order.number)

    def garbage(self) -> Iterator[tuple[str, int, int]]:
        """Chunks that are never released: of earlier generations, and of campaigns that are over."""
        for (name, generation), chunks in self._chunks.items():
            campaign = self.campaigns.get(name)
            if campaign is None:
                continue
            current = 0 if campaign.audience is None else campaign.audience.generation
            if generation < current or campaign.is_over:  # a later one was left by a process that died
                kept = campaign.ordered if generation == current else {}
                yield from ((name, generation, number) for number in chunks if number not in kept)

    def refusal(self, act: CampaignAct) -> str | None:
        """Why an act would not count now."""
        if act.verb == "test" and act.text is not None and act.text.draft is not None:
            return self._test_refusal(act)
        campaign = self.campaigns.get(act.campaign)
        if campaign is not None:
            return campaign.refusal(act) or self._test_refusal(act)
        return None if act.verb == "create" and act.text is not None else "there is no such campaign"

    def _test_refusal(self, act: CampaignAct) -> str | None:
        if act.verb != "test" or len(self._tests_before(act)) < TESTS_A_DAY:
            return None
        return f"you sent {TESTS_A_DAY} tests within a day; wait until the first of them is a day old"

    def _tests_before(self, act: CampaignAct) -> list[int]:
        return [at for at in self._tested_at.get(act.subject or act.by, ()) if at > act.at - _DAY_MS]

    def _act(self, act: CampaignAct) -> CampaignOrder | None:
        refusal = self.refusals[act.id] = self.refusal(act)
        if refusal is not None:
            return None
        if act.verb == "test":
            return self._test(act)
        if act.verb == "create" and act.text is not None:
            self.campaigns[act.campaign] = Campaign(act.campaign, act.text, act.by, act.at, editor_subject=act.subject)
        self.campaigns[act.campaign].take(act)
        return None

    def _test(self, act: CampaignAct) -> CampaignOrder | None:
        """It changes nothing, so what people have looked at stays what it is."""
        if act.test is None or act.text is None:
            return None
        self._tested_at[act.subject or act.by] = [*self._tests_before(act), act.at]
        self.tests[act.campaign, act.test] = act.text
        return CampaignOrder(act.campaign, act.test, 0, act.at)

    def _chunk(self, chunk: CampaignChunkHead, offset: int) -> None:
        chunks = self._chunks.setdefault((chunk.campaign, chunk.generation), {})
        chunks[chunk.number] = ChunkPlace(offset, chunk.zone, chunk.recipients)

    def _order(self, order: CampaignOrder) -> CampaignOrder | None:
        campaign = self._current(order.campaign, order.generation)
        if campaign is None or campaign.state != "running" or order.number in campaign.ordered:
            return None
        chunk = self.chunks(campaign).get(order.number)
        campaign.count(order, 0 if chunk is None else chunk.recipients)
        return order

    def _released(self, released: CampaignReleased) -> None:
        campaign = self._current(released.campaign, released.generation)
        if campaign is not None:
            campaign.released[released.number] = released.recipients
            campaign.ordered.setdefault(released.number, released.at)
        self.tests.pop((released.campaign, released.generation), None)
        self._chunks.get((released.campaign, released.generation), {}).pop(released.number, None)

    def _current(self, name: str, generation: int) -> Campaign | None:
        campaign = self.campaigns.get(name)
        audience = None if campaign is None else campaign.audience
        return campaign if audience is not None and audience.generation == generation else None

    def _forget(self, key: bytes) -> None:
        name, kind, *rest = key.decode().split("\0")
        if kind == "chunk" and len(rest) == 2:
            self._chunks.get((name, int(rest[0])), {}).pop(int(rest[1]), None)
