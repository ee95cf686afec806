"""What the HTTP API answers, one struct per document: handlers give them, and the OpenAPI document is made of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from state.model.admission import FieldError
from state.model.audit import Act, ApprovalStep
from state.model.documents import Exact, PreferenceDocument, Text

Count = Annotated[int, Meta(ge=0)]


class Reply(Struct, forbid_unknown_fields=True):
    """Root of all answers: closed, so that nothing is answered that the OpenAPI document does not name."""


class Problem(Reply, kw_only=True):
    """RFC 9457: why there is no success."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What is wrong, and what to do.")]
    errors: Annotated[list[FieldError] | UnsetType, Meta(description="Every wrong member.")] = UNSET
    event_id: Annotated[Text | UnsetType, Meta(description="Of a conflict or a cancellation: the event meant.")] = UNSET
    retry_after_ms: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    reason: Annotated[str | UnsetType, Meta(description="Why this sender's door is closed.")] = UNSET
    closed_at: Annotated[Exact | UnsetType, Meta(description="Since when it is.")] = UNSET


class Accepted(Reply):
    """An event that will not be lost."""

    status: Annotated[Literal[200, 202], Meta(description="202: new. 200: a repeat, of which nothing is recorded.")]
    event_id: Annotated[Text, Meta(description="Of a repeat: that of the original, also where another one was sent.")]
    repeat_of: Annotated[Text | UnsetType, Meta(description="Of a repeat: the event_id of the original.")] = UNSET
    reason: Annotated[
        Literal["event_id", "key", "content"] | UnsetType,
        Meta(description="What it repeats. Content: that of the latest event of its kind, where no key was sent."),
    ] = UNSET
    until: Annotated[
        Exact | UnsetType, Meta(description="The first moment at which the same would be a new event.")
    ] = UNSET


class Cancelled(Reply, kw_only=True):
    """An event kept for later that will not be released."""

    status: Literal[200] = 200
    event_id: Text


EventState = Annotated[
    Literal["pending", "kept", "accepted", "waiting", "decided", "delivered", "failed"],
    Meta(
        description="pending: the log has not acknowledged it. kept: until deliver_at. accepted: nobody is decided. "
        "waiting: somebody's decision waits for the end of a hold or of a window. decided: everybody is, so far; "
        "deliveries may be under way. delivered: all of them have ended, and a provider took one at least. failed: "
        "all of them have ended, and no provider took one."
    ),
]


class FanOutProgress(Reply):
    """How far a fan-out is. A planned group in which nobody is left to notify is never decided."""

    planned: Annotated[Count, Meta(description="Key groups, of 240, in which somebody may be a recipient.")]
    decided: Annotated[Count, Meta(description="Those in which somebody has been decided.")]


class RolloutProgress(Reply):
    """How far an event is that goes in stages."""

    state: Literal["running", "paused", "done", "cancelled"]
    stages: Annotated[list[Count], Meta(description="Percents of the recipients, each with those before it.")]
    stage: Annotated[int, Meta(ge=1, description="The furthest that may go.")]
    percent: Annotated[Count, Meta(description="How many of the recipients have had their turn.")]
    next_at: Annotated[Exact | None, Meta(description="When more goes. Null: not before somebody says so, or never.")]


class EventProgress(Reply):
    """How far an event is."""

    event_id: Text
    state: EventState
    deliver_at: Annotated[Exact | None, Meta(description="When it is released, if it is kept for later.")]
    audience: Annotated[str | None, Meta(description="Whom it reaches.")]
    recipients: Count
    outcomes: Annotated[dict[str, Count], Meta(description="Recipients by the outcome of their decision.")]
    deliveries: Annotated[
        dict[str, Count], Meta(description="What has been handed out, by the outcome of the delivery.")
    ]
    heard: Annotated[
        dict[str, Count],
        Meta(
            description="What was heard afterwards, each once for a delivery or an item. Of providers: delivered, "
            "undelivered, failed, bounced, soft_bounced, complained, withdrawn. Of people: opened, clicked, dismissed."
        ),
    ]
    segments: Annotated[Count, Meta(description="Parts of text messages that providers took.")]
    cost: Annotated[float, Meta(ge=0, description="What these parts cost, by the prices of `[sms]`.")]
    fan_out: Annotated[
        FanOutProgress | None, Meta(description="Null: it goes to one person, or nobody has been decided yet.")
    ]
    rollout: Annotated[RolloutProgress | None, Meta(description="Null: it goes in no stages, or was over a day ago.")]


class EndpointStored(Reply):
    """An address as it was registered."""

    id: Text
    registered_at: Exact
    removed: Annotated[list[Text], Meta(description="Devices of this user that had to go: he may have ten.")]


class EndpointEntry(Reply):
    """Where a user is reached; the address itself is never shown."""

    channel: Text
    id: Text
    platform: Text | None
    registered_at: Exact


class RetiredEntry(EndpointEntry):
    """Where a user was reached until it was found to be out of use."""

    cause: Annotated[
        Text,
        Meta(description="gone: a provider or a mail that came back said so. expired: no app registered it for long."),
    ]


class Endpoints(Reply):
    """All that are in use, the oldest first."""

    endpoints: list[EndpointEntry]
    retired: Annotated[
        list[RetiredEntry] | UnsetType, Meta(description="Those that are not any more, and were not registered since.")
    ] = UNSET


class KnownUser(Endpoints, kw_only=True):
    """Where a user is reached, and which segments he is in as they were last defined."""

    segments: list[Text]


class DeviceStored(Reply):
    """A device as it was registered."""

    device_id: Text
    registered_at: Exact
    removed: Annotated[list[Text], Meta(description="Devices of this user that had to go: he may have ten.")]


class ProfileStored(Reply):
    """The profile as it is now."""

    user: Text
    locale: str | None
    name: Text | None


class FollowsStored(Reply):
    """How many were stored: all or none."""

    stored: Count


class SegmentStored(Reply):
    """The version of a segment that counts from now on."""

    segment: Text
    version: Exact
    users: Count


class PreferencesStored(PreferenceDocument):
    """The document as it is stored, and what in it has no effect today."""

    warnings: Annotated[
        list[FieldError] | UnsetType, Meta(description="Types and categories that the registry does not know.")
    ] = UNSET


class PreferenceType(Reply):
    """A type of events, as people see it."""

    name: Text
    title: Annotated[str, Meta(description="What people call it.")]
    category: Text
    channels: Annotated[list[Text], Meta(description="Among which one may choose, in the type's order.")]
    enabled: Annotated[bool, Meta(description="Whether it is on where the preferences say nothing of it.")]
    mandatory: Annotated[bool, Meta(description="It cannot be switched off.")]


class PreferenceTypes(Reply):
    """What a user may choose."""

    language: Annotated[str, Meta(description="Of all titles and texts.")]
    categories: Annotated[dict[str, str], Meta(description="Their titles, by name. In the order to show them.")]
    channels: Annotated[dict[str, str], Meta(description="Their titles, by name.")]
    types: list[PreferenceType]
    texts: Annotated[dict[str, str], Meta(description="What a page of preferences says besides, by key.")]


class PageLinkMade(Reply):
    """Where a user's page of preferences is, for a while."""

    url: Annotated[str, Meta(description="Where gateway.public_url is not set, its path only.")]
    ends_at: Annotated[Exact, Meta(description="The first moment at which it opens nothing any more.")]


class InboxItem(Reply):
    """A row of an inbox."""

    type: Text
    object: Text | None
    first_event_id: Annotated[Text, Meta(description="The event that began the row; the row's name.")]
    count: Annotated[Count, Meta(description="Events in it.")]
    actors: Annotated[tuple[Text, ...], Meta(max_length=3, description="The latest distinct ones, newest first.")]
    at: Annotated[Exact, Meta(description="Of its latest event.")]
    read: bool
    archived: bool
    title: Annotated[str, Meta(description="Plain text, in the language that the user had when the event came.")]
    body: Annotated[str, Meta(description="What happened, as plain text of at most 240 characters.")]
    url: Annotated[str | None, Meta(description="The payload's, if it is a web address.")]
    payload: dict[str, Any] | Raw | None


class InboxPage(Reply):
    """Rows, newest first."""

    items: list[InboxItem]
    unread: Annotated[Count, Meta(description="Unread rows of the whole inbox.")]
    up_to: Annotated[Exact | None, Meta(description="What to say when this page was read.")]
    cursor: Annotated[str | None, Meta(description="Of the next page; null: this is the last one.")]


class ReadStored(Reply):
    """Up to when it was read; null: everything."""

    up_to: Exact | None
    ids: Annotated[list[Text] | UnsetType, Meta(description="Of single rows: those that there are.")] = UNSET


class RowsMarked(Reply):
    """Rows that were marked."""

    ids: Annotated[list[Text] | None, Meta(description="Null: all that are read. Otherwise those that there are.")]


class StreamTicket(Reply):
    """What opens the stream of one's inbox without a header."""

    ticket: Annotated[str, Meta(description="For the query of the stream's address. It opens nothing else.")]
    expires_at: Annotated[Exact, Meta(description="The first moment at which it opens nothing any more.")]


class FeedbackStored(Reply):
    """What counts from now on; again, it changes nothing."""

    event_id: Text
    outcome: Text
    channel: Text


class SwitchStored(Reply):
    """A kill switch as it is set."""

    scope: str
    value: str | None
    on: bool
    offset: Annotated[Count, Meta(description="What processes report as obeyed.")]


class SwitchSet(Reply):
    """A kill switch or a closed door, as it is in force."""

    scope: str
    value: Annotated[str | None, Meta(description="Null: everything.")]
    since: Annotated[Exact, Meta(description="When it was set.")]
    by: Annotated[str | None, Meta(description="Who set it; null: not known.")]
    reason: str | None


class SwitchesInForce(Reply):
    """What is stopped now."""

    switches: Annotated[list[SwitchSet], Meta(description="The oldest first.")]


class Approval(Reply):
    """An act that needs a second person."""

    id: Text
    state: Annotated[ApprovalStep, Meta(description="proposed: it waits for a second person.")]
    act: Act
    about: Annotated[dict[str, str], Meta(description="To what: scope and value, letter.")]
    reason: Annotated[str | None, Meta(description="Of who proposed it, in his words.")]
    before: Annotated[dict[str, Any] | None, Meta(description="What is so while it is not done.")]
    after: dict[str, Any] | None
    by: Annotated[Text, Meta(description="Who proposed it.")]
    role: Text
    at: Exact
    until: Annotated[Exact, Meta(description="The first moment at which it can be confirmed no more.")]
    may_confirm: Annotated[list[Text], Meta(description="Another person of one of these roles.")]
    decided_by: Annotated[str | None, Meta(description="Who confirmed or refused it.")]
    decided_at: Exact | None
    decided_reason: str | None
    done: Annotated[bool, Meta(description="Whether it is carried out.")]


class ApprovalsLately(Reply):
    """Acts that need a second person."""

    approvals: Annotated[list[Approval], Meta(description="Of the last hour, the newest first.")]


class Explanation(Reply):
    """Every record of an event for a user."""

    event: Text
    user: Text
    records: Annotated[
        list[dict[str, Any]], Meta(description="In order of time, as on the ledger, each in words in `explanation`.")
    ]


class History(Reply):
    """What was decided for a user, and delivered to him."""

    user: Text
    records: Annotated[list[dict[str, Any]], Meta(description="As on the ledger, the newest first.")]
    cursor: Annotated[str | None, Meta(description="Of the next page; null: this is the last one.")]


class AuditedAct(Reply):
    """What a person did."""

    at: Exact
    by: Annotated[Text, Meta(description="The name of his credential.")]
    role: Text
    act: Act
    about: Annotated[dict[str, str], Meta(description="To what: user, event, scope and value, letter.")]
    reason: Annotated[str | None, Meta(description="In his words.")]
    before: Annotated[dict[str, Any] | None, Meta(description="What was so before.")]
    after: dict[str, Any] | None
    step: Annotated[
        ApprovalStep | UnsetType, Meta(description="Of an act that needs a second person; else it is done.")
    ] = UNSET
    approval: Annotated[str | UnsetType | None, Meta(description="The id of what it is a step of.")] = UNSET
    until: Annotated[Exact | UnsetType, Meta(description="When its time ends.")] = UNSET


class AuditPage(Reply):
    """Acts of people, the newest first."""

    acts: Annotated[list[AuditedAct], Meta(description="Where few match, a page may end before it is full.")]
    cursor: Annotated[str | None, Meta(description="Of the next page; null: this is the last one.")]


class ComponentFile(Reply):
    """A file for pages of the host application."""

    path: Annotated[str, Meta(description="Names these very contents: a browser keeps them for a year.")]
    integrity: Annotated[str, Meta(description="As the attribute of this name takes it.")]


class Health(Reply):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(Reply):
    """Whether it should be given work."""

    ready: bool
    checks: dict[str, bool]
