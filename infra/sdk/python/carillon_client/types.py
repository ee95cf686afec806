"""What the HTTP API takes and gives. Written by `make sdk` from the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Text = str
TimeZone = str


class Accepted(TypedDict):
    """An event that will not be lost."""

    status: Literal[200, 202]
    """202: new. 200: a repeat, of which nothing is recorded."""
    event_id: Text
    """Of a repeat: that of the original, also where another one was sent."""
    repeat_of: NotRequired[Text]
    """Of a repeat: the event_id of the original."""
    reason: NotRequired[Literal["content", "event_id", "key"]]
    """What it repeats. Content: that of the latest event of its kind, where no key was sent."""
    until: NotRequired[int]
    """The first moment at which the same would be a new event."""


class Addresses(TypedDict):
    """Where a P0 event goes, whatever is on file: exactly the channels that are named."""

    push: NotRequired[str | None]
    sms: NotRequired[str | None]
    email: NotRequired[str | None]
    webhook: NotRequired[str | None]
    chat: NotRequired[str | None]
    in_app: NotRequired[str | None]


class ArchivedRows(TypedDict):
    """Rows that are done with."""

    ids: NotRequired[list[Text] | None]
    """Absent: all that are read."""
    up_to: NotRequired[int | None]
    """`up_to` of the page shown: later rows stay."""


class Cancelled(TypedDict):
    """An event kept for later that will not be released."""

    status: Literal[200]
    event_id: Text


class DeviceStored(TypedDict):
    """A device as it was registered."""

    device_id: Text
    registered_at: int
    removed: list[Text]
    """Devices of this user that had to go: he may have ten."""


class EndpointEntry(TypedDict):
    """Where a user is reached; the address itself is never shown."""

    channel: Text
    id: Text
    platform: Text | None
    registered_at: int


class EndpointStored(TypedDict):
    """An address as it was registered."""

    id: Text
    registered_at: int
    removed: list[Text]
    """Devices of this user that had to go: he may have ten."""


class Endpoints(TypedDict):
    """All that are in use, the oldest first."""

    endpoints: list[EndpointEntry]
    retired: NotRequired[list[RetiredEntry]]
    """Those that are not any more, and were not registered since."""


class EventProgress(TypedDict):
    """How far an event is."""

    event_id: Text
    state: Literal["accepted", "decided", "delivered", "failed", "kept", "pending", "waiting"]
    """pending: the log has not acknowledged it. kept: until deliver_at. accepted: nobody is decided. waiting:
    somebody's decision waits for the end of a hold or of a window. decided: everybody is, so far; deliveries may
    be under way. delivered: all of them have ended, and a provider took one at least. failed: all of them have
    ended, and no provider took one.
    """
    deliver_at: int | None
    """When it is released, if it is kept for later."""
    audience: str | None
    """Whom it reaches."""
    recipients: int
    outcomes: dict[str, int]
    """Recipients by the outcome of their decision."""
    deliveries: dict[str, int]
    """What has been handed out, by the outcome of the delivery."""
    heard: dict[str, int]
    """What was heard afterwards, each once for a delivery or an item. Of providers: delivered, undelivered, failed,
    bounced, soft_bounced, complained, withdrawn. Of people: opened, clicked, dismissed.
    """
    segments: int
    """Parts of text messages that providers took."""
    cost: float
    """What these parts cost, by the prices of `[sms]`."""
    fan_out: FanOutProgress | None
    """Null: it goes to one person, or nobody has been decided yet."""
    rollout: RolloutProgress | None
    """Null: it goes in no stages, or was over a day ago."""


class FanOutProgress(TypedDict):
    """How far a fan-out is. A planned group in which nobody is left to notify is never decided."""

    planned: int
    """Key groups, of 240, in which somebody may be a recipient."""
    decided: int
    """Those in which somebody has been decided."""


class FeedbackStored(TypedDict):
    """What counts from now on; again, it changes nothing."""

    event_id: Text
    outcome: Text
    channel: Text


class FieldError(TypedDict):
    """One thing wrong with a document; it never repeats a value, which could be a secret."""

    path: str
    problem: str
    remedy: str


class Follow(TypedDict):
    """That a user follows another one, or no longer."""

    followee: Text
    follower: Text
    on: NotRequired[bool | None]
    """absent: true"""


class FrequencyCap(TypedDict):
    """The most notifications that interrupt; 0: none."""

    max_per_hour: NotRequired[int | None]
    """Absent: 10."""
    max_per_day: NotRequired[int | None]
    """Absent: 50."""


class InboxItem(TypedDict):
    """A row of an inbox."""

    type: Text
    object: Text | None
    first_event_id: Text
    """The event that began the row; the row's name."""
    count: int
    """Events in it."""
    actors: list[Text]
    """The latest distinct ones, newest first."""
    at: int
    """Of its latest event."""
    read: bool
    archived: bool
    title: str
    """Plain text, in the language that the user had when the event came."""
    body: str
    """What happened, as plain text of at most 240 characters."""
    url: str | None
    """The payload's, if it is a web address."""
    payload: Any


class InboxPage(TypedDict):
    """Rows, newest first."""

    items: list[InboxItem]
    unread: int
    """Unread rows of the whole inbox."""
    up_to: int | None
    """What to say when this page was read."""
    cursor: str | None
    """Of the next page; null: this is the last one."""


class MarkedRows(TypedDict):
    """Rows of one's inbox."""

    ids: list[Text]
    """`first_event_id` of each row; unknown ones are ignored."""


class Muted(TypedDict):
    """Whom and what the user does not want to hear of."""

    actors: NotRequired[list[Text] | None]
    objects: NotRequired[list[Text] | None]


class NewDevice(TypedDict):
    """A push token of the session's user, or a browser's subscription."""

    device_id: Text
    """The installation; registered again, it is replaced."""
    platform: Text
    token: str | Subscription


class NewEndpoint(TypedDict):
    """An address of a user on a channel."""

    address: str | Subscription
    """Token, phone number, mail address, web address or subscription."""
    channel: NotRequired[Literal["chat", "email", "push", "sms", "webhook"] | None]
    """The one of the path, or absent."""
    platform: NotRequired[Text | None]
    """Of a push token."""
    state: NotRequired[Literal["active", "invalid"] | None]
    """Absent: active."""


class NewEvent(TypedDict):
    """An event as a producer sends it. With a `schema_version` above 1 unknown members are ignored."""

    type: Text
    """A registered type that this sender owns."""
    event_id: NotRequired[Text | None]
    """The event's name, for 24 hours. Absent: one is made."""
    idempotency_key: NotRequired[Text | None]
    """A repeat under it is answered with the original event_id; another body is 409."""
    priority: NotRequired[Literal["P0", "P1", "P2"] | None]
    """Never more urgent than the type's. Absent: the type's."""
    fan_out_type: NotRequired[Literal["BROADCAST", "DIRECT", "FOLLOWERS", "SEGMENT"] | None]
    """Whom it reaches: target, the followers of actor, the members of segment, or everyone whom a preference or an
    endpoint has named. One of those that the type allows. Absent: DIRECT.
    """
    actor: NotRequired[Text | None]
    """The user who did it."""
    target: NotRequired[Text | None]
    """The user who is told. DIRECT needs it."""
    object: NotRequired[Text | None]
    """What it is about."""
    segment: NotRequired[Text | None]
    """A segment that was defined before. SEGMENT needs it."""
    payload: NotRequired[dict[str, Any] | None]
    """Values for the type's texts: at most 16 KiB of JSON, 8 levels deep."""
    ttl_ms: NotRequired[int | None]
    """How long it is worth sending. Absent: the type's."""
    created_at: NotRequired[int | None]
    """For display; decides nothing."""
    deliver_at: NotRequired[int | None]
    """When to release it. Past by more than the type's ttl, or more than a year ahead, is an error."""
    to: NotRequired[Addresses | None]
    """Of class P0 and DIRECT only."""
    rollout: NotRequired[NewRollout | None]
    """Of an event to many: it goes in stages."""
    sender_id: NotRequired[Text | None]
    """That of the credential, or absent."""
    schema_version: NotRequired[int | None]
    retracts: NotRequired[bool | None]
    """Takes back what the same fields without it have sent."""
    parent_event_id: NotRequired[Text | None]
    """Of a retraction: only items of this event."""


class NewFeedback(TypedDict):
    """What the user did with a notification or an item of his inbox."""

    event_id: Text
    """Of an event whose item is in the inbox."""
    outcome: Literal["clicked", "dismissed", "opened"]
    channel: NotRequired[Literal["in_app", "push"] | None]
    """Where he met it. Absent: in the app."""


class NewOwnPageLink(TypedDict):
    """A link to one's page of preferences."""

    locale: NotRequired[str | None]
    """Of the page. Absent: the browser's."""


class NewPageLink(TypedDict):
    """A link to a user's page of preferences."""

    locale: NotRequired[str | None]
    """Of the page. Absent: the browser's."""
    lifetime_s: NotRequired[int | None]
    """Seconds, to 30 days. Absent: an hour."""


class NewRollout(TypedDict):
    """That a fan-out goes in stages: to the first so many percent of its recipients, in the order of their hashes."""

    stages: list[int]
    hold_ms: NotRequired[int | None]
    """How long after a stage the next one goes. Absent: when it is told to."""
    spread_ms: NotRequired[int | None]
    """The throttle: all of it takes at least so long, percent by percent. Absent: a stage at once."""


class PageLinkMade(TypedDict):
    """Where a user's page of preferences is, for a while."""

    url: str
    """Where gateway.public_url is not set, its path only."""
    ends_at: int
    """The first moment at which it opens nothing any more."""


class PreferenceDocument(TypedDict):
    """A user's preferences, as a whole; whatever is absent has its default."""

    master: NotRequired[bool | None]
    """False: nothing but class P0."""
    quiet_hours: NotRequired[QuietHours | None]
    frequency_cap: NotRequired[FrequencyCap | None]
    types: NotRequired[dict[str, TypeSetting | None] | None]
    unsubscribed: NotRequired[Unsubscribed | None]
    muted: NotRequired[Muted | None]


class PreferenceType(TypedDict):
    """A type of events, as people see it."""

    name: Text
    title: str
    """What people call it."""
    category: Text
    channels: list[Text]
    """Among which one may choose, in the type's order."""
    enabled: bool
    """Whether it is on where the preferences say nothing of it."""
    mandatory: bool
    """It cannot be switched off."""


class PreferenceTypes(TypedDict):
    """What a user may choose."""

    language: str
    """Of all titles and texts."""
    categories: dict[str, str]
    """Their titles, by name. In the order to show them."""
    channels: dict[str, str]
    """Their titles, by name."""
    types: list[PreferenceType]
    texts: dict[str, str]
    """What a page of preferences says besides, by key."""


class PreferencesStored(TypedDict):
    """The document as it is stored, and what in it has no effect today."""

    master: NotRequired[bool | None]
    """False: nothing but class P0."""
    quiet_hours: NotRequired[QuietHours | None]
    frequency_cap: NotRequired[FrequencyCap | None]
    types: NotRequired[dict[str, TypeSetting | None] | None]
    unsubscribed: NotRequired[Unsubscribed | None]
    muted: NotRequired[Muted | None]
    warnings: NotRequired[list[FieldError]]
    """Types and categories that the registry does not know."""


class Problem(TypedDict):
    """RFC 9457: why there is no success."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    """What is wrong, and what to do."""
    errors: NotRequired[list[FieldError]]
    """Every wrong member."""
    event_id: NotRequired[Text]
    """Of a conflict or a cancellation: the event meant."""
    retry_after_ms: NotRequired[int]
    reason: NotRequired[str]
    """Why this sender's door is closed."""
    closed_at: NotRequired[int]
    """Since when it is."""


class Profile(TypedDict):
    """Locale and display name of a user, as a whole."""

    locale: NotRequired[str | None]
    name: NotRequired[Text | None]


class ProfileStored(TypedDict):
    """The profile as it is now."""

    user: Text
    locale: str | None
    name: Text | None


class QuietHours(TypedDict):
    """When P1 waits and P2 is not sent, on the user's local clock."""

    enabled: NotRequired[bool | None]
    """Only true switches them on."""
    start: NotRequired[str | None]
    """Absent: 22:00."""
    end: NotRequired[str | None]
    """Absent: 08:00. Equal to start: never."""
    timezone: NotRequired[TimeZone | None]
    """IANA name. Absent: UTC."""


class ReadStored(TypedDict):
    """Up to when it was read; null: everything."""

    up_to: int | None
    ids: NotRequired[list[Text]]
    """Of single rows: those that there are."""


class ReadUpTo(TypedDict):
    """What the user has seen."""

    up_to: NotRequired[int | None]
    """`up_to` of the page shown. Absent: everything."""
    ids: NotRequired[list[Text] | None]
    """These rows alone."""


class RetiredEntry(TypedDict):
    """Where a user was reached until it was found to be out of use."""

    channel: Text
    id: Text
    platform: Text | None
    registered_at: int
    cause: Text
    """gone: a provider or a mail that came back said so. expired: no app registered it for long."""


class RolloutProgress(TypedDict):
    """How far an event is that goes in stages."""

    state: Literal["cancelled", "done", "paused", "running"]
    stages: list[int]
    """Percents of the recipients, each with those before it."""
    stage: int
    """The furthest that may go."""
    percent: int
    """How many of the recipients have had their turn."""
    next_at: int | None
    """When more goes. Null: not before somebody says so, or never."""


class RolloutTurn(TypedDict):
    """What a fan-out in stages is to do."""

    verb: Literal["advance", "pause", "resume"]
    """advance: the next stage goes too, whatever is left of the one before."""


class RowsMarked(TypedDict):
    """Rows that were marked."""

    ids: list[Text] | None
    """Null: all that are read. Otherwise those that there are."""


class SegmentStored(TypedDict):
    """The version of a segment that counts from now on."""

    segment: Text
    version: int
    users: int


class StreamTicket(TypedDict):
    """What opens the stream of one's inbox without a header."""

    ticket: str
    """For the query of the stream's address. It opens nothing else."""
    expires_at: int
    """The first moment at which it opens nothing any more."""


class Subscription(TypedDict):
    """A browser's push subscription, as `subscription.toJSON()` gives it (W3C Push API)."""

    endpoint: str
    """At a push service that the operator allows."""
    keys: SubscriptionKeys
    expirationTime: NotRequired[Any]
    """Has no effect: the push service says when the subscription is over."""


class SubscriptionKeys(TypedDict):
    """The keys of a push subscription, in base64url."""

    p256dh: str
    """The browser's public key, a point on P-256."""
    auth: str
    """16 bytes."""


class TypeSetting(TypedDict):
    """What the user wants of one type."""

    enabled: NotRequired[bool | None]
    """Absent: as the type's default."""
    channels: NotRequired[list[Literal["chat", "email", "in_app", "push", "sms", "webhook"]] | None]
    """In the order of his choice. Absent: the type's."""


class Unsubscribed(TypedDict):
    """Categories of types that a channel must not be used for."""

    push: NotRequired[list[Text] | None]
    sms: NotRequired[list[Text] | None]
    email: NotRequired[list[Text] | None]
    webhook: NotRequired[list[Text] | None]
    chat: NotRequired[list[Text] | None]
    in_app: NotRequired[list[Text] | None]
