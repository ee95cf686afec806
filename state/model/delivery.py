"""What the sending side reads and writes (TOPICS.md): emissions to deliver, attempts, delivery records, verdicts.

`emission/4+arrow` is an Arrow IPC stream of one record batch. What is the same in every row is in the schema's
metadata, an emission's id is the shared `emission_base` and what follows from the user, and `endpoints` are all
addresses of a user as decide stores them (`pack_endpoints`). Earlier releases wrote `emission/3+arrow`, with the user's
part of the ids in a column `tag`, and `emission/1+arrow`, with a column for each field.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.event import TextDraft
from state.model.keys import TAG_BYTES, user_tag
from state.model.preference import QuietRange
from state.model.schema import Schema

EMISSION_JSON = "emission/1+json"
EMISSION_ARROW = "emission/1+arrow"
EMISSION_TAGGED = "emission/3+arrow"
EMISSION_SLICE = "emission/4+arrow"
EMISSION_SLICES = frozenset({EMISSION_TAGGED, EMISSION_SLICE})


class DeviceAddress(msgspec.Struct, frozen=True):
    """One address at which a channel reaches the user, fixed at emission."""

    id: str
    platform: str | None = None
    address: str | None = None
    registered_at: int = 0


class Endpoint(NamedTuple):
    """A stored registration; `place` is the offset in `work` that set it."""

    channel: str
    id: str
    platform: str | None
    address: str | None
    active: bool
    registered_at: int
    place: int


class PackedEndpoint(NamedTuple):
    """An `Endpoint` as it is stored: an address in hex, as many tokens are, is its bytes."""

    channel: str
    id: str
    platform: str | None
    address: Any
    """Text, bytes or None."""
    active: bool
    registered_at: int
    place: int


_HEX_MIN = 32
_pack = msgspec.msgpack.Encoder().encode
packed_endpoints = msgspec.msgpack.Decoder(list[PackedEndpoint]).decode
"""Registrations as they were packed; raises `msgspec.DecodeError` where they are none."""


def pack_endpoints(endpoints: Iterable[Endpoint]) -> bytes:
    """As MessagePack; `unpack_endpoints` gives exactly the same again."""
    return _pack([(*each[:3], _packed_address(each.address), *each[4:]) for each in endpoints])


def _packed_address(address: str | None) -> Any:
    if address is None or len(address) < _HEX_MIN:
        return address
    try:
        packed = bytes.fromhex(address)
    except ValueError:
        return address
    return packed if packed.hex() == address else address  # capitals and blanks are read, too


def unpack_endpoints(packed: bytes) -> list[Endpoint]:
    """Registrations as they were; earlier releases packed every address as text.

    :raises msgspec.DecodeError: they are none.
    """
    return [
        Endpoint(channel, name, platform, _address_of(address), active, registered_at, place)
        for channel, name, platform, address, active, registered_at, place in packed_endpoints(packed)
    ]


def _address_of(packed: object) -> str | None:
    if isinstance(packed, bytes):
        return packed.hex()
    if packed is None or isinstance(packed, str):
        return packed
    raise msgspec.ValidationError("address: no text, or bytes")


def addresses_of(endpoints: Sequence[PackedEndpoint], channel: str) -> tuple[DeviceAddress, ...]:
    """Those of one channel, as it is told them."""
    return tuple([
        DeviceAddress(each.id, each.platform, _address_of(each.address), each.registered_at)
        for each in endpoints
        if each.channel == channel
    ])  # fmt: skip


class ChannelAddresses(msgspec.Struct, frozen=True):
    """A channel and its addresses."""

    channel: str
    devices: tuple[DeviceAddress, ...] = ()


ACTOR_NAME_MAX = 256


def named_actor(payload: Mapping[str, Any] | None) -> str | None:
    """What a payload calls its actor, if that is a short text."""
    name = (payload or {}).get("actor_name")
    return name if isinstance(name, str) and len(name) <= ACTOR_NAME_MAX else None


class DigestItem(msgspec.Struct, frozen=True):
    """One item of a digest mail."""

    event_id: str
    type: str
    actor: str | None = None
    object: str | None = None
    payload: dict[str, Any] | None = None


class ToDeliver(msgspec.Struct, frozen=True, kw_only=True):
    """One channel of an emission: what a deliver lane is asked to send. Times in ms UTC."""

    emission_id: str
    user: str
    type: str
    object: str | None = None
    count: int = 1
    actors: tuple[str, ...] = ()
    actor_count: int = 0
    first: bool = True
    first_event_id: str
    priority: str
    sender_id: str = ""
    campaign: str | None = None
    category: str = "other"
    channel: str
    devices: tuple[DeviceAddress, ...]
    rest: tuple[ChannelAddresses, ...] = ()
    policy: str = "first"
    payload: dict[str, Any] | None = None
    locale: str | None = None
    name: str | None = None
    decided_at: int
    ingested_at: int = 0
    valid_until: int
    digest_items: tuple[DigestItem, ...] | None = None
    quiet: QuietRange | UnsetType | None = UNSET
    """The user's quiet hours as of the emission; absent where he has none, and for P0."""
    items: tuple[tuple[str, str | None], ...] | UnsetType = UNSET
    """(event_id, actor) of each event, in order; absent where there is one, of a digest, and of more than 1,000."""
    names: tuple[str | None, ...] | UnsetType = UNSET
    """What the sender calls the actor of each of `items`; absent where it names none."""
    draft: TextDraft | UnsetType = UNSET
    """What a test of texts says."""


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """A retraction that found nothing pending: what shows nothing else may leave the user's screens (RULES 3.F)."""

    event_id: str
    """Of the retraction."""
    user: str
    type: str
    object: str | None = None
    actor: str | None = None
    parent_event_id: str | None = None
    priority: str
    sender_id: str = ""
    devices: tuple[DeviceAddress, ...]
    """Those that take push now."""
    decided_at: int


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of topic `attempts`: the sender's own log, from which outcomes and attempt counts derive.

    `intent` is written before the first byte of a try, `answer` after it. `closed` is written where a delivery ends in
    another way than by the answer `sent`, with its outcome (RULES 5), so that a restart decides nothing a second time.
    """

    state: str
    key: str
    at: int
    attempt: int = 0
    provider: str | None = None
    provider_id: str | None = None
    result: str | None = None
    detail: str | None = None
    retry_at: int | None = None
    gone_at: int | None = None
    outcome: str | None = None
    reason: str | None = None
    fell_back_to: str | None = None
    moved_to: str | None = None
    """Of an answer: the provider of the same channel that goes on."""
    segments: int | None = None
    """Of an answer `sent`: the parts of the text message."""
    cost: float | None = None
    """What they cost, by the prices of then."""
    variant: str | None = None
    """Of an intent: the variant of the text that goes out (RULES 3.C)."""


_to_deliver = msgspec.json.Decoder(ToDeliver)
ATTEMPT, WITHDRAWAL = Schema("attempt", Attempt), Schema("withdrawal", Withdrawal)
_JSON_COLUMNS = ("devices", "rest", "payload", "digest_items", "actors", "quiet")


def decode_to_deliver(schema: str, value: bytes) -> list[ToDeliver]:
    """The emissions of one record of `deliver.<channel>`, in order.

    :raises MalformedRecordError: naming the schema or the field that does not fit.
    """
    read = _READERS.get(schema)
    if read is None:
        raise MalformedRecordError(f"header schema: {schema!r} is none of {', '.join(_READERS)}")
    try:
        return read(value)
    except (*UNDECODABLE, orjson.JSONDecodeError) as error:
        raise MalformedRecordError(f"emission: {error}") from error


def _batch(value: bytes) -> list[ToDeliver]:
    from state.model.arrow import batch_rows  # with pyarrow, which is heavy: only large fan-outs come so

    return msgspec.convert(_without_json(batch_rows(value, "emission")), list[ToDeliver])


def _slice(value: bytes, tag_of: Callable[[dict[str, Any]], bytes]) -> list[ToDeliver]:
    common, rows = _slice_rows(value)
    base = str(common.pop("emission_base", ""))
    channel, rest = str(common.get("channel")), msgspec.convert(common.pop("rest", []), list[str])
    for row in rows:
        row["emission_id"] = base + tag_of(row).hex()
        packed = row.pop("endpoints", None)
        if not isinstance(packed, bytes):
            raise MalformedRecordError("emission: endpoints: missing, or no bytes")
        endpoints = packed_endpoints(packed)
        row["devices"] = addresses_of(endpoints, channel)
        row["rest"] = [ChannelAddresses(each, addresses_of(endpoints, each)) for each in rest]
    return msgspec.convert([common | row for row in rows], list[ToDeliver])


def _written_tag(row: dict[str, Any]) -> bytes:
    tag = row.pop("tag", None)
    if not isinstance(tag, bytes) or len(tag) != TAG_BYTES:
        raise MalformedRecordError(f"emission: tag: not {TAG_BYTES} bytes throughout")
    return tag


def _own_tag(row: dict[str, Any]) -> bytes:
    user = row.get("user")
    if not isinstance(user, str):
        raise MalformedRecordError("emission: user: no text, or missing")
    return user_tag(user)


def _slice_rows(value: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What all emissions have in common, and what each of them has."""
    from state.model.arrow import batch_table, common_json  # with pyarrow, as above

    table = batch_table(value, "emission")
    common: dict[str, Any] = msgspec.json.decode(common_json(table, "emission"), type=dict[str, Any])
    return common, _without_json(table.to_pylist())


def _without_json(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        for name in _JSON_COLUMNS:
            if isinstance(row.get(name), str | bytes):
                row[name] = orjson.loads(row[name])
    return rows


_READERS: Mapping[str, Callable[[bytes], list[ToDeliver]]] = {
    EMISSION_JSON: lambda value: [_to_deliver.decode(value)],
    EMISSION_ARROW: _batch,
    EMISSION_TAGGED: lambda value: _slice(value, _written_tag),
    EMISSION_SLICE: lambda value: _slice(value, _own_tag),
}


def delivery_key(emission_id: str, user: str, channel: str, device: str) -> str:
    """What is sent once within 24 h (RULES 4). The emission's id fixes the user, so no two pairs share a key."""
    return f"{emission_id}/{user}/{channel}/{device}"


def split_key(key: str, channel: str) -> tuple[str, str, str] | None:
    """Emission, user and device of a delivery key of this channel; None: it is none. The emission's id tells the user.

    >>> split_key(delivery_key("em_1" + user_tag("a/sms/b").hex(), "a/sms/b", "sms", "d"), "sms")[1:]
    ('a/sms/b', 'd')
    """
    emission_id, _, rest = key.partition("/")
    between = f"/{channel}/"
    at = rest.find(between)
    while at >= 0:
        if emission_id.endswith(user_tag(rest[:at]).hex()):
            return emission_id, rest[:at], rest[at + len(between) :]
        at = rest.find(between, at + 1)
    return None


WITHDRAWAL_PREFIX = "withdraw/"
"""Before the key of a delivery, it is the key of its withdrawal: no emission's id begins like that."""
