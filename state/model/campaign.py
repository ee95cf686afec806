"""What the topic `campaigns` holds (TOPICS.md): acts on campaigns, chunks of their audiences, and what was released.

| record | key |
|---|---|
| act | campaign, `act`, its id |
| chunk, and once it was released, that it was | campaign, `chunk`, generation, number |
| order to release a chunk | campaign, `order`, generation, number |
| rows of a file that were left out | campaign, `bad`, generation |

Parts of a key are separated by NUL.
"""

from typing import Any, Literal

import msgspec

from state.model.event import Event, SafeInt, TextDraft
from state.model.schema import Schema

TEXTS = "_texts"
"""No campaign has this name."""
CampaignVerb = Literal[
    "create", "edit", "audience", "approve", "start", "throttle", "pause", "resume", "cancel", "test", "advance",
]  # fmt: skip


RolloutVerb = Literal["pause", "resume", "advance", "cancel"]
"""What can be done to a fan-out in stages."""


class CampaignText(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sent."""

    type: str
    payload: dict[str, Any] = {}
    slot: bool = False
    """Whether it asks for a dedicated slot (RULES 3.D); whoever approves the text approves that."""
    actor: str | None = None
    draft: TextDraft | None = None
    """Of a test of texts, which belongs to no campaign: the act names `TEXTS` in its place."""


class CampaignAudience(msgspec.Struct, frozen=True, omit_defaults=True):
    """To whom: a generation of chunks, which counts from the act on that brings it."""

    generation: SafeInt
    """When it was stored, in milliseconds; later ones are higher."""
    chunks: int
    recipients: int
    doubles: int = 0
    bad: int = 0
    """Rows that were left out."""
    unknown: int = 0
    """Recipients of whom neither an address nor a preference is on file."""
    reached: dict[str, int] = {}
    """Recipients by the channels that they would have got it by then; of several, by each."""
    suppressed: dict[str, int] = {}
    """The others, by reason. Both are empty once the type was changed."""
    stages: list[int] = []
    """Percent of the recipients that each stage brings it to; empty: all go in one."""
    stage_chunks: list[int] = []
    """Up to which chunk each stage goes."""
    blur: int = 0
    """0 to 9, drawn when the file came: taken off every figure before it is cut to tens."""


class CampaignAct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person does to a campaign. It counts only if nothing else was done since he looked."""

    id: str
    campaign: str
    revision: int
    """The campaign's before the act; 0: there is none."""
    verb: CampaignVerb
    by: str
    subject: str = ""
    """Who that is, whatever he is called now, as in `approval/1+json`; empty in acts of earlier releases."""
    at: SafeInt
    text: CampaignText | None = None
    audience: CampaignAudience | None = None
    start_at: SafeInt | None = None
    """In milliseconds; null: at once, or by `start_local`."""
    start_local: str | None = None
    """Date and time of day in each recipient's zone, `2026-12-01T09:00`."""
    per_second: int | None = None
    hold_ms: int | None = None
    """How long after a stage the next one goes by itself; null: only when it is told to."""
    test: SafeInt | None = None
    """The generation of the one chunk that a test goes to; its `text` is what it says."""
    event: Event | None = None
    """Of the act that creates a rollout: what goes in parts. A rollout is a campaign that a sender's event began."""


class CampaignChunk(msgspec.Struct, frozen=True):
    """Some recipients of one zone."""

    campaign: str
    generation: SafeInt
    number: int
    zone: str
    recipients: int
    users: list[str]


class CampaignChunkHead(msgspec.Struct, frozen=True):
    """A chunk without its recipients."""

    campaign: str
    generation: SafeInt
    number: int
    zone: str
    recipients: int


class CampaignOrder(msgspec.Struct, frozen=True):
    """Release a chunk. It counts if the campaign runs where the order is in the log."""

    campaign: str
    generation: SafeInt
    number: int
    at: SafeInt
    """When, in milliseconds: the chunk's event came in then."""


class CampaignReleased(msgspec.Struct, frozen=True):
    """The chunk's event was handed to the topics of events."""

    campaign: str
    generation: SafeInt
    number: int
    at: SafeInt
    recipients: int


class CampaignBadRows(msgspec.Struct, frozen=True):
    """Rows of a file that were left out: where each is, and why."""

    campaign: str
    generation: SafeInt
    rows: list[tuple[int, str]]


CAMPAIGN_ACT = Schema("campaign_act", CampaignAct)
CAMPAIGN_CHUNK = Schema("campaign_chunk", CampaignChunk)
CAMPAIGN_CHUNK_HEAD = Schema("campaign_chunk", CampaignChunkHead)
CAMPAIGN_ORDER = Schema("campaign_order", CampaignOrder)
CAMPAIGN_RELEASED = Schema("campaign_released", CampaignReleased)
CAMPAIGN_BAD_ROWS = Schema("campaign_bad_rows", CampaignBadRows)


def campaign_key(campaign: str, *parts: object) -> bytes:
    """The key of a record."""
    return "\0".join((campaign, *map(str, parts))).encode()


def rollout_name(event_id: str) -> str:
    """What the rollout of an event is called among campaigns, none of which can be called so."""
    return f"event:{event_id}"


def begin_act(event: Event, at: int, act_id: str) -> CampaignAct:
    """The act of the sender whose event goes in parts. `act_id` is of this act alone: a begin that is said again has
    another, else compaction would leave it in place of the first, behind what was done since.
    """
    return CampaignAct(
        id=act_id, campaign=rollout_name(event.event_id), revision=0, verb="create", by=event.sender_id, at=at,
        event=event,
    )  # fmt: skip


def chunk_event_id(campaign: str, generation: int, number: int) -> str:
    """The id of a chunk's event: the same whoever releases it, so that it is one event however often it is."""
    return f"{campaign}.{generation}.{number}"
