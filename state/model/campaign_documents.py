"""What the calls about campaigns take; see `state.model.documents`."""

from typing import Annotated, Literal

from msgspec import Meta

from state.model.documents import INTEGER_MAX, Document, Exact, Payload, Text

TEST_USERS_MAX = 5
CampaignName = Annotated[
    str,
    Meta(
        min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_-]*$(?!\n)", description="Its name, for ever.",
        examples=["summer-sale"],
        extra={"form": "name of small letters, digits, - and _ that begins with a letter or a digit"},
    ),
]  # fmt: skip
Revision = Annotated[int, Meta(ge=1, le=INTEGER_MAX, description="What was seen of it; changed meanwhile: 409.")]
LocalTime = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$(?!\n)", description="In each recipient's zone.",
        examples=["2026-12-01T09:00"], extra={"form": "date and time of day such as 2026-12-01T09:00"},
    ),
]  # fmt: skip
HoldMinutes = Annotated[
    int, Meta(ge=1, le=10_080, description="How long after a stage the next one goes. Absent: when it is told to.")
]
Why = Annotated[Text | None, Meta(description="Why, for the audit.")]
PerSecond = Annotated[int, Meta(ge=1, le=100_000, description="Recipients a second.", examples=[1000])]


class _Content(Document):
    type: Annotated[Text, Meta(description="A type of class P2 and category marketing.", examples=["newsletter"])]
    payload: Payload | None = None
    slot: Annotated[
        bool | None,
        Meta(description="Asks for a dedicated slot: it counts apart from other notifications, one such a day."),
    ] = None


class CampaignContent(_Content):
    """What a campaign sends."""

    revision: Revision | None = None


class NewCampaign(_Content, kw_only=True):
    """A campaign that is to be prepared."""

    name: CampaignName


class CampaignApproval(Document):
    """That another person stands for it."""

    revision: Revision
    reason: Why = None


class CampaignTurn(Document):
    """That it goes on, or does not."""

    revision: Revision | None = None
    reason: Why = None


class CampaignStart(Document):
    """When it goes: at once, at a time, or at a time of day in each recipient's zone."""

    at: Annotated[Exact | None, Meta(description="Milliseconds since 1970, UTC.")] = None
    local: LocalTime | None = None
    hold_minutes: HoldMinutes | None = None
    revision: Revision | None = None
    reason: Why = None


class CampaignTest(Document):
    """To whom it is sent for trying."""

    users: Annotated[
        list[Text],
        Meta(min_length=1, max_length=TEST_USERS_MAX, description="User ids; one that is there twice counts once."),
    ]
    revision: Revision | None = None


class CampaignThrottle(Document):
    """How fast it goes."""

    per_second: PerSecond
    reason: Why = None


class RolloutTurn(Document):
    """What a fan-out in stages is to do."""

    verb: Annotated[
        Literal["pause", "resume", "advance"],
        Meta(description="advance: the next stage goes too, whatever is left of the one before."),
    ]
