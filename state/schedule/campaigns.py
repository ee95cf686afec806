"""Campaigns as the order of the topic `campaigns` has them: gateways and schedule read it, and see the same.

An act counts if it names the revision that it changes and its campaign allows it. An order to release a chunk counts
if the campaign runs at the order's place. So what a pause or a cancel stops is exact to the record, and of two people
who act at once one is refused. Every act has a key of its own, and an order is written again only where
the one before did not count, so compaction changes nothing. Of several begins of one rollout the first counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import UNSET

from state.model.campaign import (
    CAMPAIGN_ACT,
    CAMPAIGN_BAD_ROWS,
    CAMPAIGN_CHUNK_HEAD,
    CAMPAIGN_ORDER,
    CAMPAIGN_RELEASED,
    CampaignAct,
    CampaignChunkHead,
    CampaignOrder,
    CampaignReleased,
    CampaignText,
    begin_act,
)
from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.event import Event
from state.schedule.campaign import Campaign
from state.schedule.kept import retraction_key
from state.schedule.rollouts import Rollout, begun_rollout

TESTS_A_DAY = 20
"""Of one person, of all campaigns together: a test needs no approval."""
_DAY_MS = 86_400_000


class ChunkPlace(NamedTuple):
    """Where a chunk is in the topic, and whose it is."""

    offset: int
    zone: str
    recipients: int


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
            return self.act(CAMPAIGN_ACT.decode(value))
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

    def rollouts(self) -> Iterator[Rollout]:
        """Those that are not forgotten, the oldest first."""
        return (each for each in self.campaigns.values() if isinstance(each, Rollout))

    def retracted_by(self, retraction: Event) -> list[Rollout]:
        """Rollouts of which it cancels what has not gone."""
        key, parent = retraction_key(retraction), retraction.parent_event_id
        return [
            each
            for each in self.rollouts()
            if not each.is_over and retraction_key(each.event) == key and parent in (None, each.event.event_id)
        ]

    def forgettable(self, now: int) -> Iterator[Rollout]:
        """Rollouts that have been over for a day: their ids count no more."""
        for each in self.rollouts():
            if each.is_over and len(each.released) == len(each.ordered) and each.changed_at < now - _DAY_MS:
                yield each

    def garbage(self) -> Iterator[tuple[str, int, int]]:
        """Chunks that are never released: of earlier generations, and of campaigns that are over. A test that waits for
        its release is none of them.
        """
        for (name, generation), chunks in self._chunks.items():
            campaign = self.campaigns.get(name)
            if campaign is None or (name, generation) in self.tests:
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
        rolls = act.event is not None and act.event.rollout is not UNSET
        begins = act.verb == "create" and (act.text is not None or rolls)
        return None if begins else "there is no such campaign"

    def _test_refusal(self, act: CampaignAct) -> str | None:
        if act.verb != "test" or len(self._tests_before(act)) < TESTS_A_DAY:
            return None
        return f"you sent {TESTS_A_DAY} tests within a day; wait until the first of them is a day old"

    def _tests_before(self, act: CampaignAct) -> list[int]:
        return [at for at in self._tested_at.get(act.subject or act.by, ()) if at > act.at - _DAY_MS]

    def begin(self, event: Event, at: int) -> None:
        """Of an event with a plan: its rollout begins."""
        self.act(begin_act(event, at, event.event_id))

    def act(self, act: CampaignAct) -> CampaignOrder | None:
        """Take an act, if it counts; a test is an order."""
        refusal = self.refusals[act.id] = self.refusal(act)
        if refusal is not None:
            self._note_refused(act)
            return None
        if act.verb == "test":
            return self._test(act)
        if act.verb == "create" and act.text is not None:
            self.campaigns[act.campaign] = Campaign(act.campaign, act.text, act.by, act.at, editor_subject=act.subject)
        if act.verb == "create" and act.event is not None and act.event.rollout is not UNSET:
            self.campaigns[act.campaign] = begun_rollout(act.event, act.event.rollout, act.at)
        self.campaigns[act.campaign].take(act)
        return None

    def _note_refused(self, act: CampaignAct) -> None:
        rollout = self.campaigns.get(act.campaign)
        if isinstance(rollout, Rollout):
            rollout.note(act)

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
        if kind == "act":
            self._forget_act(name, rest[0])
        if kind == "chunk" and len(rest) == 2:
            self._chunks.get((name, int(rest[0])), {}).pop(int(rest[1]), None)

    def _forget_act(self, name: str, act_id: str) -> None:
        """A rollout is there until none of its begins is: compaction may take the first before the others."""
        self.refusals.pop(act_id, None)
        rollout = self.campaigns.get(name)
        if isinstance(rollout, Rollout) and rollout.loses(act_id):
            del self.campaigns[name]
