"""Which chunks of a campaign go now, the events that they become, and whom they would reach."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from operators.route import carrying, ordered_channels, routed, type_enabled
from state.model.admission import Outlook
from state.model.campaign import CampaignChunk, CampaignText, chunk_event_id
from state.model.channels import CHANNEL_BIT
from state.model.event import Event, RawEvent, resolve
from state.model.preference import compile_preference
from state.model.registry import Registry, TypeProfile
from state.schedule.campaign import Campaign
from state.schedule.campaigns import ChunkPlace
from state.schedule.rollouts import Rollout

SENDER = "campaigns"
"""The sender of every campaign's events: its door is closed and its switch is set like another's."""
TEST_SENDER = "campaign-tests"
"""The sender of tests, of texts too: reports pass them over. Switches and mutes of the campaign hold for them."""
_CATCH_UP_MS = 1_000
"""What the throttle did not use is lost after this time: it does not add up while nothing is due."""


def next_chunks(campaign: Campaign, chunks: Mapping[int, ChunkPlace], now: int) -> Iterator[int]:
    """The chunks that are due and that stages and throttle let go by `now`, in order."""
    end = campaign.open_chunks(now)
    free_at, due_at = max(campaign.free_at, now - _CATCH_UP_MS), cache(campaign.due_at)  # of few zones
    for number in sorted(chunks):
        if free_at > now or number >= end:
            return
        chunk = chunks[number]
        if number not in campaign.ordered and due_at(chunk.zone) <= now:
            yield number
            free_at += chunk.recipients * 1000 / campaign.per_second


def chunk_event(
    campaign: Campaign, chunk: CampaignChunk, at: int, registry: Registry, test: CampaignText | None
) -> Event:
    """The event of a chunk that is released: one of a SEGMENT that names its members itself. The campaign is its
    object, so switches and reports know it by its name. `test`: it is one, says this, and counts as organic.
    """
    text = campaign.text if test is None else test
    event_id = chunk_event_id(chunk.campaign, chunk.generation, chunk.number)
    raw = RawEvent(
        event_id=event_id,
        idempotency_key=event_id,  # chunks have equal contents, and are no repeats of each other
        type=text.type,
        priority="P2",
        fan_out_type="SEGMENT",
        sender_id=SENDER if test is None else TEST_SENDER,
        object=campaign.name,
        payload=text.payload,
        deliver_at=at,
        slot=text.slot and test is None,
    )
    return replace(resolve(raw, registry, ingested_at=at), recipients=chunk.users)


def draft_event(chunk: CampaignChunk, test: CampaignText, at: int, registry: Registry) -> Event:
    """The event of a test of texts: to one person, about an object of its own, so that it joins nothing."""
    event_id = chunk_event_id(chunk.campaign, chunk.generation, chunk.number)
    raw = RawEvent(
        event_id=event_id,
        idempotency_key=event_id,
        type=test.type,
        priority="P2",
        sender_id=TEST_SENDER,
        actor=test.actor,
        target=chunk.users[0],
        object=event_id,
        payload=test.payload,
    )
    return replace(resolve(raw, registry, ingested_at=at), draft=test.draft or UNSET)


def part_event(rollout: Rollout, number: int, at: int) -> Event:
    """The event of a part that is released: as if it came in at that moment."""
    return replace(rollout.event, ingested_at=at, deliver_at=at, rollout=UNSET, part=rollout.part(number))


def outlook(event: Event, profile: TypeProfile, document: Any, addresses: Collection[str]) -> Outlook:
    """What the rules A, B and E say of one recipient as he is now; not asked are mutes, quiet hours, caps, and the
    switches of operators.
    """
    preference = compile_preference(document)
    if not preference.master:
        return Outlook((), "master_off")
    if not profile.mandatory and not type_enabled(preference, profile):
        return Outlook((), "type_off")
    bits = carrying(sum(CHANNEL_BIT.get(channel, 0) for channel in set(addresses)), event, profile)
    found, chosen = routed(ordered_channels(preference, profile), bits, profile.policy, frozenset())
    if not found.channels:
        return Outlook((), "no_channel")
    return Outlook((*chosen.chosen, *(("in_app",) if found.in_app else ())), None)
