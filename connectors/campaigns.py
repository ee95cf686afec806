"""Topic `campaigns` for whoever acts on campaigns: gateway, console and command line alike."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import asdict

from connectors.audit_chain import AuditChain
from connectors.log.interface import Log, NewRecord
from connectors.log.read_to_ends import stored_records
from state.model.audit import AuditRecord
from state.model.campaign import (
    CAMPAIGN_ACT,
    CAMPAIGN_BAD_ROWS,
    CAMPAIGN_CHUNK,
    TEXTS,
    CampaignAct,
    CampaignBadRows,
    CampaignChunk,
    CampaignText,
    RolloutVerb,
    campaign_key,
    chunk_event_id,
    rollout_name,
)
from state.model.errors import RefusedActError
from state.model.event import TextDraft
from state.model.topics import CAMPAIGNS
from state.schedule.campaign import Campaign
from state.schedule.campaigns import CampaignBook
from state.schedule.rollouts import Rollout

PLACE = (CAMPAIGNS, 0)


class Actor(NamedTuple):
    """Who acts, as topic `audit` names him."""

    name: str
    role: str
    subject: str = ""
    """Who that is, whatever he is called."""


class CampaignDesk:
    """Reads the topic as far as it goes, and appends acts. Methods block on the log; any thread may call them."""

    def __init__(self, log: Log, *, clock: Callable[[], int]) -> None:
        """`clock`: milliseconds since 1970. The log stays the caller's to close."""
        self._log, self._clock, self._lock, self._chain = log, clock, threading.Lock(), AuditChain(log)
        self._book = CampaignBook()
        self._next_offset = log.begin_offset(*PLACE)
        self._generation = 0

    def campaigns(self) -> Sequence[Campaign]:
        """All, the newest first.

        :raises LogError: the topic cannot be read.
        """
        with self._lock:
            self._read()
            found = [each for each in self._book.campaigns.values() if not isinstance(each, Rollout)]
            return sorted(found, key=lambda each: each.created_at, reverse=True)

    def find(self, name: str) -> Campaign | None:
        """One of them."""
        return next((each for each in self.campaigns() if each.name == name), None)

    def rollout(self, event_id: str) -> Rollout | None:
        """That of an event, for a day after it is over.

        :raises LogError: the topic cannot be read.
        """
        with self._lock:
            self._read()
            found = self._book.campaigns.get(rollout_name(event_id))
            return found if isinstance(found, Rollout) else None

    def act(
        self, actor: Actor, name: str, verb: Any, *, revision: int | None = None, reason: str | None = None,
        **given: Any,
    ) -> Campaign:  # fmt: skip
        """Do something to a campaign; it is noted first, with its reason. `revision`: what he saw; None: what is now.

        :raises RefusedActError: it does not count; the text says why.
        :raises LogError: it was not acknowledged.
        """
        with self._lock:
            self._act(actor, name, verb, revision, given, reason=reason)
            return self._book.campaigns[name]

    def turn(self, actor: Actor, event_id: str, verb: RolloutVerb) -> Rollout:
        """Do something to an event that goes in stages. Raises as `act`."""
        found = self.act(actor, rollout_name(event_id), verb)
        assert isinstance(found, Rollout)
        return found

    def _act(
        self, actor: Actor, name: str, verb: Any, revision: int | None, given: Mapping[str, Any],
        before: Sequence[NewRecord] = (), reason: str | None = None,
    ) -> None:  # fmt: skip
        """`before`: what the act needs in the topic."""
        self._read()
        known = self._book.campaigns.get(name)
        seen = (0 if known is None else known.revision) if revision is None else revision
        fields = {"id": secrets.token_hex(8), **given}
        act = CampaignAct(
            campaign=name, revision=seen, verb=verb, by=actor.name, subject=actor.subject, at=self._clock(), **fields
        )  # fmt: skip
        done = self._book.refusals
        refusal = done[act.id] if act.id in done else self._book.refusal(act)
        if refusal is None and act.id not in done:
            self._log.append([self._chain.record(_noted(actor, act, known, reason)), *before, act_record(act)])
            self._read()
            refusal = self._book.refusals[act.id]
        if refusal is not None:
            raise RefusedActError(refusal)

    def test(self, actor: Actor, name: str, users: Sequence[str], *, revision: int | None = None) -> str:
        """Send it as it is to these users alone, before or after it was approved; the event's id.

        :raises RefusedActError: there is no such campaign, it is over, or he has sent many.
        :raises LogError: it was not acknowledged.
        """
        campaign = self.find(name)
        if campaign is None:
            raise RefusedActError("there is no such campaign")
        generation = self.next_generation(campaign)
        seen = campaign.revision if revision is None else revision
        return self._test(actor, name, campaign.text, users, seen, generation)

    def test_text(self, actor: Actor, text: CampaignText, user: str, *, approved: int | None = None) -> str:
        """Send a draft of texts to this user alone; the event's id. `approved`: the number of the proposal that another
        person has confirmed; of one it is sent once. Raises as `test`.
        """
        if approved is None:
            return self._test(actor, TEXTS, text, [user], 0, self.next_generation())
        return self._test(actor, TEXTS, text, [user], 0, approved, id=f"approved {approved}")

    def _test(
        self, actor: Actor, name: str, text: CampaignText, users: Sequence[str], revision: int, generation: int,
        **given: Any,
    ) -> str:  # fmt: skip
        chunk = _chunk_record(CampaignChunk(name, generation, 0, "UTC", len(users), list(users)))
        with self._lock:
            self._act(actor, name, "test", revision, {**given, "test": generation, "text": text}, (chunk,))
        return chunk_event_id(name, generation, 0)

    def next_generation(self, campaign: Campaign | None = None) -> int:
        """Of an audience or a test: the time, and higher than any before it, also than the campaign's of a gateway
        whose clock is ahead. What is lower than a campaign's audience is thrown away.
        """
        above = 0 if campaign is None or campaign.audience is None else campaign.audience.generation
        with self._lock:
            self._generation = max(self._clock(), self._generation + 1, above + 1)
            return self._generation

    def store_chunk(self, chunk: CampaignChunk) -> None:
        """A part of an audience, which counts once an act says so."""
        self._log.append([_chunk_record(chunk)])

    def drop_chunks(self, name: str, generation: int, chunks: int) -> None:
        """An audience did not come to count."""
        self._log.append(
            [NewRecord(*PLACE, campaign_key(name, "chunk", generation, each), b"", ()) for each in range(chunks)]
        )

    def store_bad_rows(self, bad: CampaignBadRows) -> None:
        """Rows that were left out."""
        key = campaign_key(bad.campaign, "bad", bad.generation)
        self._log.append([NewRecord(*PLACE, key, CAMPAIGN_BAD_ROWS.encode(bad), CAMPAIGN_BAD_ROWS.headers)])

    def bad_rows(self, campaign: Campaign) -> Sequence[tuple[int, str]]:
        """Where the rows are that were left out, and why."""
        audience = campaign.audience
        offset = None if audience is None else self._book.bad_rows.get((campaign.name, audience.generation))
        if offset is None:
            return ()
        (record,) = stored_records(self._log, {PLACE: offset}, {PLACE: offset + 1})
        return CAMPAIGN_BAD_ROWS.decode(record.value).rows

    def _read(self) -> None:
        end = self._log.end_offset(*PLACE)
        for record in stored_records(self._log, {PLACE: self._next_offset}, {PLACE: end}):
            self._book.take_or_pass(record.headers, record.key, record.value, record.offset)
        self._next_offset = max(self._next_offset, end)


def _chunk_record(chunk: CampaignChunk) -> NewRecord:
    key = campaign_key(chunk.campaign, "chunk", chunk.generation, chunk.number)
    return NewRecord(*PLACE, key, CAMPAIGN_CHUNK.encode(chunk), CAMPAIGN_CHUNK.headers)


def act_record(act: CampaignAct) -> NewRecord:
    """An act on a campaign, or the begin of a rollout."""
    key = campaign_key(act.campaign, "act", act.id)
    return NewRecord(*PLACE, key, CAMPAIGN_ACT.encode(act), CAMPAIGN_ACT.headers)


def _noted(actor: Actor, act: CampaignAct, known: Campaign | None, reason: str | None) -> AuditRecord:
    """What the audit says: no content."""
    if act.text is not None and act.text.draft is not None:
        return _text_noted(actor, act, act.text.type, act.text.draft)
    left_out = ("id", "campaign", "verb", "by", "subject", "at", "text", "test")
    after: Mapping[str, Any] = {
        name: value for name, value in asdict(act).items() if value is not None and name not in left_out
    }
    if act.text is not None:
        after = {**after, "type": act.text.type, "slot": act.text.slot}
    if act.audience is not None:
        figures = ("unknown", "reached", "suppressed", "blur")  # of a small file they would tell of one person
        told = {name: value for name, value in asdict(act.audience).items() if name not in figures}
        after = {**after, "audience": told}
    event_id = act.campaign.removeprefix(rollout_name(""))
    about = {"campaign" if event_id == act.campaign else "event": event_id, "verb": act.verb}
    if act.test is not None:
        about["event_id"] = chunk_event_id(act.campaign, act.test, 0)  # the ledger says to whom
    before = None
    if known is not None and act.test is None:
        before = {"state": known.state, "revision": known.revision, "per_second": known.per_second,
                  "approvals": list(known.approvals), "type": known.text.type, "slot": known.text.slot}  # fmt: skip
    return AuditRecord(
        at=act.at, by=actor.name, role=actor.role, act="campaign", about=about, reason=reason, before=before,
        after=dict(after),
    )  # fmt: skip


def _text_noted(actor: Actor, act: CampaignAct, type_name: str, draft: TextDraft) -> AuditRecord:
    event_id = chunk_event_id(act.campaign, act.test or 0, 0)  # the ledger says to whom
    about = {"type": type_name, "locale": draft.locale, "channel": draft.channel, "event_id": event_id}
    return AuditRecord(at=act.at, by=actor.name, role=actor.role, act="template_test", about=about)
