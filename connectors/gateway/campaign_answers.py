"""What calls about campaigns answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from connectors.gateway.answers import Count, Reply
from state.model.documents import Exact, Text
from state.schedule.campaign import Campaign

LEAST = 10
"""No smaller number is told, nor what it counts: behind it could be one person."""
Many = Annotated[int, Meta(ge=LEAST)]
Few = Many | None
"""Null: fewer."""


class AudienceShown(Reply):
    """To whom a campaign goes."""

    recipients: Annotated[int, Meta(ge=0, description="Each counted once.")]
    doubles: Annotated[int, Meta(ge=0, description="Rows that named a recipient again.")]
    bad: Annotated[int, Meta(ge=0, description="Rows that were left out; see `bad-rows`.")]
    unknown: Annotated[Few, Meta(description="Recipients without any address or preference on file.")]
    reached: Annotated[dict[str, Many], Meta(description="Recipients by channel, as they were when the file came.")]
    suppressed: Annotated[dict[str, Many], Meta(description="Those whom it would not reach, by reason.")]


class CampaignShown(Reply):
    """A campaign as it is."""

    name: Text
    revision: Count
    state: Annotated[Literal["draft", "running", "paused", "cancelled", "done"], Meta(description="done: all released")]
    type: Text
    payload: dict[str, Any]
    slot: Annotated[bool, Meta(description="Whether it asks for a dedicated slot, which its approvals then are for.")]
    created_at: Exact
    editor: Annotated[Text, Meta(description="Who changed last what is sent or to whom. He does not approve it.")]
    approvals: list[Text]
    approvals_needed: Count
    per_second: Count
    start_at: Exact | None
    start_local: str | None
    audience: AudienceShown | None
    stages: Annotated[list[int], Meta(description="Percent of the recipients that each stage brings it to.")]
    stage: Annotated[int, Meta(ge=0, description="Which of them it is in, from 1 on; 0: it goes in one.")]
    hold_minutes: Annotated[int | None, Meta(description="After how long a stage follows. Null: when it is told to.")]
    released: Annotated[int, Meta(ge=0, description="Recipients whose part of the campaign went to be decided.")]


class Campaigns(Reply):
    """All campaigns, the newest first."""

    campaigns: list[CampaignShown]


class BadRow(Reply):
    """A row that was left out."""

    row: Annotated[int, Meta(ge=1, description="Its line, or in Parquet its row.")]
    problem: str


class CampaignTested(Reply):
    """A test on its way."""

    event_id: Annotated[Text, Meta(description="Of the test; it is in no report.")]
    users: Annotated[int, Meta(ge=1)]


class CampaignReport(Reply):
    """What became of what was released, without what counts fewer than ten people."""

    name: Text
    recipients: Few
    outcomes: Annotated[dict[str, Many], Meta(description="Recipients by the outcome of their decision.")]
    reasons: Annotated[dict[str, Many], Meta(description="Those who were suppressed, by reason.")]
    deliveries: dict[str, Many]
    heard: Annotated[dict[str, Many], Meta(description="What providers and people said afterwards.")]
    variants: Annotated[
        dict[str, dict[str, Many]],
        Meta(description="By variant of its text, notifications that were `sent`, and of which something was heard."),
    ]


def few(number: int, blur: int) -> Few:
    """A count of people as marketing sees it: in tens, less up to 19. So one person more in a file of known ones seldom
    shows, and nobody can tell when it does.
    """
    return (number - blur) // LEAST * LEAST if number >= LEAST + blur else None


def few_left_out(counts: Mapping[str, int], blur: int) -> dict[str, Many]:
    """Counts as marketing sees them: of a file that names one person, a name alone would tell what is so of him."""
    return {name: told for name, number in counts.items() if (told := few(number, blur)) is not None}


def campaign_shown(campaign: Campaign) -> CampaignShown:
    """A campaign for whoever asks."""
    audience = campaign.audience
    shown = None
    if audience is not None:
        shown = AudienceShown(
            audience.recipients, audience.doubles, audience.bad, few(audience.unknown, audience.blur),
            few_left_out(audience.reached, audience.blur), few_left_out(audience.suppressed, audience.blur),
        )  # fmt: skip
    return CampaignShown(
        name=campaign.name, revision=campaign.revision, state="done" if campaign.is_done else campaign.state,  # type: ignore[arg-type]  # the states of a campaign
        type=campaign.text.type, payload=campaign.text.payload, slot=campaign.text.slot,
        created_at=campaign.created_at, editor=campaign.editor, approvals=list(campaign.approvals),
        approvals_needed=campaign.approvals_needed, per_second=campaign.per_second,
        start_at=campaign.start_at, start_local=campaign.start_local, audience=shown,
        stages=[] if audience is None else audience.stages, stage=campaign.stage + 1 if campaign.stage_chunks else 0,
        hold_minutes=None if campaign.hold_ms is None else campaign.hold_ms // 60_000,
        released=sum(campaign.released.values()),
    )  # fmt: skip
