"""What the HTTP API takes, one struct per document: the OpenAPI document and the validation are both made of these.

A type's bounds are its `Meta`: msgspec judges by them, and the schema repeats them. What no schema can say is a `check`
in the `extra` of a Meta: a function that gives what is wrong with a value of the right type, or None. `form` there says
in words what a pattern asks for. Null counts as absent. `operators.validate` finds every error of a document at once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal
from unicodedata import is_normalized

import msgspec
import orjson
from msgspec import Meta, Struct

from state.model.channels import CHANNELS, INTERRUPTIVE
from state.model.zones import zone_names

PAYLOAD_BYTES_MAX = 16 * 1024
PAYLOAD_DEPTH_MAX = 8
LIST_LENGTH_MAX = 10_000
INTEGER_MAX = 2**53 - 1
PAYLOAD_INTEGER_MAX = 2**64 - 1
PAYLOAD_INTEGER_MIN = -(2**63)
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$(?!\n)"
"""No control characters. The look-ahead keeps Python's `$` from passing over a last line break."""

Complaint = tuple[str, str]
"""What is wrong, and what to do about it; it never repeats the value, which could be a secret."""
Check = Callable[[Any], Complaint | None]


def unicode_text(value: str) -> Complaint | None:
    """RULES 1: texts are in Unicode form NFC; and UTF-8 can hold them, which some readers of JSON do not see to."""
    if value.isascii():
        return None
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "holds half of a surrogate pair", "send whole characters"
    return None if is_normalized("NFC", value) else ("is not in Unicode form NFC", "normalise it to NFC")


def payload(value: dict[str, Any]) -> Complaint | None:
    """RULES 1: at most 16 KiB of JSON, depth 8 (the map itself is the first level)."""
    complaint = _nested(value, PAYLOAD_DEPTH_MAX)
    if complaint is None and len(orjson.dumps(value)) > PAYLOAD_BYTES_MAX:
        return "is larger than 16 KiB of JSON", "send a reference to large content instead"
    return complaint


def type_table(value: dict[str, Any]) -> Complaint | None:
    """A table is a record of the log, and of the decision log once more in each partition."""
    try:
        size = len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        return "holds what JSON cannot say in UTF-8", "send whole characters, and integers of 64 bits"
    return None if size <= PAYLOAD_BYTES_MAX else ("is larger than 16 KiB of JSON", "say less in its schema")


def _nested(value: Any, depth_left: int) -> Complaint | None:
    if isinstance(value, str):
        return None
    if isinstance(value, dict | list):
        if depth_left == 0:
            return "is nested deeper than 8 levels", "flatten it"
        for item in value.values() if isinstance(value, dict) else value:
            complaint = _nested(item, depth_left - 1)
            if complaint is not None:
                return complaint
    elif isinstance(value, int) and not PAYLOAD_INTEGER_MIN <= value <= PAYLOAD_INTEGER_MAX:
        return "holds an integer beyond 64 bits", "send it as a string"
    return None


def zone(value: str) -> Complaint | None:
    """A name of the pinned zone data, by which quiet hours are decided."""
    return None if value in zone_names() else ("is no IANA time zone", "send a name such as Europe/Paris")


def distinct(value: list[Any]) -> Complaint | None:
    """Nothing twice."""
    return None if len(set(value)) == len(value) else ("names one twice", "send each at most once")


Text = Annotated[str, Meta(min_length=1, max_length=256, pattern=PRINTABLE, extra={"check": unicode_text})]
"""RULES 1: NFC, 1..256 characters, no control characters."""
Address = Annotated[str, Meta(min_length=1, max_length=4096, pattern=PRINTABLE, extra={"check": unicode_text})]
Exact = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
"""An integer that every JSON reader keeps exactly; times are milliseconds since 1970 in UTC."""
TypeTable = Annotated[
    dict[str, Any],
    Meta(description="As `[types.NAME]` of carillon.toml: klass, channels, ...", extra={"check": type_table}),
]
Payload = Annotated[dict[str, Any], Meta(extra={"check": payload})]
Texts = Annotated[list[Text], Meta(max_length=LIST_LENGTH_MAX)]
TimeOfDay = Annotated[
    str,
    Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)", extra={"form": "time of day, HH:MM from 00:00 to 23:59"}),
]
Zone = Annotated[str, Meta(extra_json_schema={"enum": sorted(zone_names())}, extra={"check": zone})]
LanguageTag = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,4}$(?!\n)",
        examples=["pt-BR"],
        extra={"form": "language tag such as en or pt-BR"},
    ),
]
if TYPE_CHECKING:
    ChannelName = str
    Interruptive = str
else:
    ChannelName = Literal[CHANNELS]
    Interruptive = Literal[INTERRUPTIVE]
Channels = Annotated[
    list[ChannelName],
    Meta(max_length=len(CHANNELS), extra_json_schema={"uniqueItems": True}, extra={"check": distinct}),
]
Switch = Annotated[bool | None, Meta(description="absent: true")]


class Document(Struct, kw_only=True, forbid_unknown_fields=True):
    """Root of all documents that come from outside: closed, so that a misspelled member is an error."""


def _by_channel(name: str, member: Any, what: str) -> Any:
    """A document with a member for each channel."""
    fields = [(channel, member | None, None) for channel in CHANNELS]
    return msgspec.defstruct(name, fields, bases=(Document,), module=__name__, namespace={"__doc__": what})


if TYPE_CHECKING:
    Addresses = Document
    Unsubscribed = Document
else:
    Addresses = _by_channel(
        "Addresses", Address, "Where a P0 event goes, whatever is on file: exactly the channels that are named."
    )
    Unsubscribed = _by_channel("Unsubscribed", Texts, "Categories of types that a channel must not be used for.")


def rising(value: list[int]) -> Complaint | None:
    """Percents at which stages end."""
    is_sound = value == sorted(set(value)) and value[-1] == 100
    return None if is_sound else ("are no rising percents up to 100", "send [1, 10, 100]")


Percent = Annotated[int, Meta(ge=1, le=100)]


class NewRollout(Document):
    """That a fan-out goes in stages: to the first so many percent of its recipients, in the order of their hashes."""

    stages: Annotated[
        list[Percent], Meta(min_length=1, max_length=10, examples=[[1, 10, 100]], extra={"check": rising})
    ]
    hold_ms: Annotated[
        Annotated[int, Meta(ge=1_000, le=604_800_000)] | None,
        Meta(description="How long after a stage the next one goes. Absent: when it is told to."),
    ] = None
    spread_ms: Annotated[
        Annotated[int, Meta(ge=60_000, le=604_800_000)] | None,
        Meta(
            description="The throttle: all of it takes at least so long, percent by percent. Absent: a stage at once."
        ),
    ] = None


class NewEvent(Document):
    """An event as a producer sends it. With a `schema_version` above 1 unknown members are ignored."""

    type: Annotated[Text, Meta(description="A registered type that this sender owns.")]
    event_id: Annotated[Text | None, Meta(description="The event's name, for 24 hours. Absent: one is made.")] = None
    idempotency_key: Annotated[
        Text | None, Meta(description="A repeat under it is answered with the original event_id; another body is 409.")
    ] = None
    priority: Annotated[
        Literal["P0", "P1", "P2"] | None, Meta(description="Never more urgent than the type's. Absent: the type's.")
    ] = None
    fan_out_type: Annotated[
        Literal["DIRECT", "FOLLOWERS", "SEGMENT", "BROADCAST"] | None,
        Meta(
            description="Whom it reaches: target, the followers of actor, the members of segment, or everyone whom a "
            "preference or an endpoint has named. One of those that the type allows. Absent: DIRECT."
        ),
    ] = None
    actor: Annotated[Text | None, Meta(description="The user who did it.")] = None
    target: Annotated[Text | None, Meta(description="The user who is told. DIRECT needs it.")] = None
    object: Annotated[Text | None, Meta(description="What it is about.")] = None
    segment: Annotated[Text | None, Meta(description="A segment that was defined before. SEGMENT needs it.")] = None
    payload: Annotated[
        Payload | None, Meta(description="Values for the type's texts: at most 16 KiB of JSON, 8 levels deep.")
    ] = None
    ttl_ms: Annotated[Exact | None, Meta(description="How long it is worth sending. Absent: the type's.")] = None
    created_at: Annotated[Exact | None, Meta(description="For display; decides nothing.")] = None
    deliver_at: Annotated[
        Exact | None,
        Meta(
            description="When to release it. Past by more than the type's ttl, or more than a year ahead, is an error."
        ),
    ] = None
    to: Annotated[Addresses | None, Meta(description="Of class P0 and DIRECT only.")] = None
    rollout: Annotated[NewRollout | None, Meta(description="Of an event to many: it goes in stages.")] = None
    sender_id: Annotated[Text | None, Meta(description="That of the credential, or absent.")] = None
    schema_version: Annotated[int, Meta(ge=1, le=INTEGER_MAX)] | None = None
    retracts: Annotated[bool | None, Meta(description="Takes back what the same fields without it have sent.")] = None
    parent_event_id: Annotated[Text | None, Meta(description="Of a retraction: only items of this event.")] = None


class SubscriptionKeys(Document):
    """The keys of a push subscription, in base64url."""

    p256dh: Annotated[Address, Meta(description="The browser's public key, a point on P-256.")]
    auth: Annotated[Address, Meta(description="16 bytes.")]


class Subscription(Document):
    """A browser's push subscription, as `subscription.toJSON()` gives it (W3C Push API)."""

    endpoint: Annotated[Address, Meta(description="At a push service that the operator allows.")]
    keys: SubscriptionKeys
    expiration_time: Annotated[
        Any, Meta(description="Has no effect: the push service says when the subscription is over.")
    ] = msgspec.field(default=None, name="expirationTime")


Reached = Address | Subscription


class NewEndpoint(Document):
    """An address of a user on a channel."""

    address: Annotated[Reached, Meta(description="Token, phone number, mail address, web address or subscription.")]
    channel: Annotated[Interruptive | None, Meta(description="The one of the path, or absent.")] = None
    platform: Annotated[Text | None, Meta(description="Of a push token.", examples=["ios"])] = None
    state: Annotated[Literal["active", "invalid"] | None, Meta(description="Absent: active.")] = None


class NewDevice(Document):
    """A push token of the session's user, or a browser's subscription."""

    device_id: Annotated[Text, Meta(description="The installation; registered again, it is replaced.")]
    platform: Annotated[Text, Meta(examples=["ios"])]
    token: Reached


class Profile(Document):
    """Locale and display name of a user, as a whole."""

    locale: LanguageTag | None = None
    name: Text | None = None


class Follow(Document):
    """That a user follows another one, or no longer."""

    followee: Text
    follower: Text
    on: Switch = None


class SegmentMembers(Document):
    """The users of a segment; a user named twice is in it once."""

    users: list[Text]


class QuietHours(Document):
    """When P1 waits and P2 is not sent, on the user's local clock."""

    enabled: Annotated[bool | None, Meta(description="Only true switches them on.")] = None
    start: Annotated[TimeOfDay | None, Meta(description="Absent: 22:00.")] = None
    end: Annotated[TimeOfDay | None, Meta(description="Absent: 08:00. Equal to start: never.")] = None
    timezone: Annotated[Zone | None, Meta(description="IANA name. Absent: UTC.")] = None


class FrequencyCap(Document):
    """The most notifications that interrupt; 0: none."""

    max_per_hour: Annotated[Exact | None, Meta(description="Absent: 10.")] = None
    max_per_day: Annotated[Exact | None, Meta(description="Absent: 50.")] = None


class TypeSetting(Document):
    """What the user wants of one type."""

    enabled: Annotated[bool | None, Meta(description="Absent: as the type's default.")] = None
    channels: Annotated[Channels | None, Meta(description="In the order of his choice. Absent: the type's.")] = None


class Muted(Document):
    """Whom and what the user does not want to hear of."""

    actors: Texts | None = None
    objects: Texts | None = None


class PreferenceDocument(Document):
    """A user's preferences, as a whole; whatever is absent has its default."""

    master: Annotated[bool | None, Meta(description="False: nothing but class P0.")] = None
    quiet_hours: QuietHours | None = None
    frequency_cap: FrequencyCap | None = None
    types: Annotated[dict[Text, TypeSetting | None], Meta(max_length=LIST_LENGTH_MAX)] | None = None
    unsubscribed: Unsubscribed | None = None
    muted: Muted | None = None


class NewOwnPageLink(Document):
    """A link to one's page of preferences."""

    locale: Annotated[LanguageTag | None, Meta(description="Of the page. Absent: the browser's.")] = None


class NewPageLink(NewOwnPageLink):
    """A link to a user's page of preferences."""

    lifetime_s: Annotated[
        Annotated[int, Meta(ge=60, le=2_592_000)] | None, Meta(description="Seconds, to 30 days. Absent: an hour.")
    ] = None


class KillSwitch(Document):
    """What must not be sent until it is lifted."""

    scope: Literal["all", "sender", "type", "channel", "campaign", "door", "key", "drain"]
    value: Annotated[Text | None, Meta(description="Which one. All scopes but `all` need it.")] = None
    on: Switch = None
    reason: Text | None = None
    force: Annotated[bool | None, Meta(description="Also a name that is not known yet.")] = None


class ApprovalDecision(Document):
    """What a second person says to an act that was proposed."""

    decision: Literal["confirm", "refuse"]
    reason: Annotated[Text | None, Meta(description="Why, in his words.")] = None


RowIds = Annotated[
    list[Text],
    Meta(max_length=100, description="`first_event_id` of each row; unknown ones are ignored."),
]


class LimitChange(Document):
    """How much a sender may send."""

    per_second: Annotated[int, Meta(ge=1, le=1_000_000, description="Events in any second.", examples=[500])]
    reason: Annotated[Text, Meta(description="Why, in a few words.")]


class TypeTry(Document):
    """What might be published of a type."""

    table: TypeTable


class TypeChange(Document):
    """What is published of a type."""

    table: TypeTable
    reason: Annotated[Text, Meta(description="Why, in a few words.")]
    version: Annotated[Exact | None, Meta(description="The one it was made of; 409 if there is another.")] = None


class ReadUpTo(Document):
    """What the user has seen."""

    up_to: Annotated[Exact | None, Meta(description="`up_to` of the page shown. Absent: everything.")] = None
    ids: Annotated[RowIds | None, Meta(description="These rows alone.")] = None


class MarkedRows(Document):
    """Rows of one's inbox."""

    ids: RowIds


class ArchivedRows(Document):
    """Rows that are done with."""

    ids: Annotated[RowIds | None, Meta(description="Absent: all that are read.")] = None
    up_to: Annotated[Exact | None, Meta(description="`up_to` of the page shown: later rows stay.")] = None


class NewFeedback(Document):
    """What the user did with a notification or an item of his inbox."""

    event_id: Annotated[Text, Meta(description="Of an event whose item is in the inbox.")]
    outcome: Literal["opened", "clicked", "dismissed"]
    channel: Annotated[Literal["in_app", "push"] | None, Meta(description="Where he met it. Absent: in the app.")] = (
        None
    )


FAN_OUT_NEEDS: dict[str, tuple[str, ...]] = {
    "DIRECT": ("target",), "FOLLOWERS": ("actor",), "SEGMENT": ("segment",), "BROADCAST": (),
}  # fmt: skip
"""What each fan-out needs (RULES 1)."""
