"""Records of the decision log (TOPICS.md, "The decision log").

`stamp` is the sequencer's time in ms, `g` the key group (None: every group of the partition), `src` where the record
came from. `place` of a record is its offset in its partition and is not part of its bytes.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.event import Event
from state.model.keys import key_group
from state.model.row_status import NamedRow, RowStatus
from state.model.settings import (
    SUPPRESS_NOTHING,
    EndpointRecord,
    FollowRecord,
    Kill,
    PreferenceRecord,
    ProfileRecord,
    ReadRecord,
    Setting,
)
from state.model.topics import READS

BULK_FROM, BULK_FROM_BEFORE = 8, 32
"""`VersionsWork.bulk_from` of this release, and what held before records said it."""


class Work(msgspec.Struct, kw_only=True, frozen=True, tag_field="k", omit_defaults=True):
    """What every record of the decision log carries."""

    g: int | None = None
    stamp: int
    src: tuple[str, int, int, int] | None = None
    ahead: int = 0
    """By how many ms the stamp is ahead of the machine's clock; 0 up to a second."""


class EventWork(Work, tag="event", frozen=True):
    """An event for named recipients of one group."""

    event: Event
    users: list[str]


class SliceWork(Work, tag="slice", frozen=True):
    """An event for the followers, members or users of one group whose hash lies in [hash_from, hash_to)."""

    event: Event
    hash_from: str = "0"
    hash_to: str = str(1 << 64)
    plan: str = ""
    """Bitmap of all key groups that the event has slices for, hexadecimal: a restart completes it, and adds none."""


class PreferenceWork(Work, tag="preference", frozen=True):
    """The user's whole document."""

    user: str
    doc: dict[str, Any]


class EndpointWork(Work, tag="endpoint", frozen=True):
    """A registration (`registered_at`) or, with `gone_at`, a provider's verdict on registrations not newer than it."""

    user: str
    channel: str
    id: str
    platform: str | None = None
    address: str | None = None
    state: str = "active"
    registered_at: int = 0
    gone_at: int | None = None


class ProfileWork(Work, tag="profile", frozen=True):
    """Locale and display name, for rendering."""

    user: str
    locale: str | None = None
    name: str | None = None


class FollowWork(Work, tag="follow", frozen=True):
    """A follower of this group follows, or no more."""

    follower: str
    followee: str
    on: bool


class SegmentWork(Work, tag="segment", frozen=True):
    """The members of a segment in this group, in place of those before."""

    segment: str
    users: list[str]


class KillWork(Work, tag="kill", frozen=True):
    """A kill switch, on or lifted; for every group."""

    scope: str
    value: str | None = None
    on: bool = True


class ReadWork(Work, tag="read", frozen=True):
    """The user read his inbox up to a time; absent: all. With `erase` his rows and what waits for him are gone.

    With `status` some rows have it (`ReadRecord`).
    """

    user: str
    up_to: int | None = None
    erase: bool | msgspec.UnsetType = msgspec.UNSET
    status: RowStatus | msgspec.UnsetType = msgspec.UNSET
    rows: tuple[NamedRow, ...] | msgspec.UnsetType = msgspec.UNSET
    until: int | msgspec.UnsetType = msgspec.UNSET

    def logged(self) -> int | None:
        """The offset of the user's record in `reads`; None: it came another way."""
        return self.src[2] if self.src is not None and self.src[0] == READS else None


class TickWork(Work, tag="tick", frozen=True):
    """Only moves time."""


class VersionsWork(Work, tag="versions", frozen=True):
    """From here on these versions decide; `types` are the registry's tables.

    `served` is what providers reach (None: whatever is on file), `forms` the version of what tells addresses.
    """

    registry: int
    tzdata: str
    rules: int
    types: dict[str, dict[str, Any]] = {}
    served: dict[str, dict[str, str]] | None = None
    forms: str = ""
    bulk_from: int = 0
    """Events with fewer recipients in a group are decided one by one; 0: as before. What is decided twice, by two
    releases, must be written in the same form.
    """


AnyWork = (
    EventWork
    | SliceWork
    | PreferenceWork
    | EndpointWork
    | ProfileWork
    | FollowWork
    | SegmentWork
    | KillWork
    | ReadWork
    | TickWork
    | VersionsWork
)


def work_of(setting: Setting, stamp: int) -> Work | None:
    """What a setting is in the decision log; None: nothing, a door is the gateways' alone."""
    return _WORK_OF[type(setting)](setting, stamp)


def _preference(it: PreferenceRecord, stamp: int) -> Work:
    return PreferenceWork(g=key_group(it.user), stamp=stamp, user=it.user, doc=it.doc)


def _endpoint(it: EndpointRecord, stamp: int) -> Work:
    gone_at = None if it.gone_at is msgspec.UNSET else it.gone_at
    return EndpointWork(
        g=key_group(it.user), stamp=stamp, user=it.user, channel=it.channel, id=it.id, platform=it.platform,
        address=it.address, state=it.state, registered_at=it.registered_at, gone_at=gone_at,
    )  # fmt: skip


def _profile(it: ProfileRecord, stamp: int) -> Work:
    return ProfileWork(g=key_group(it.user), stamp=stamp, user=it.user, locale=it.locale, name=it.name)


def _follow(it: FollowRecord, stamp: int) -> Work:
    return FollowWork(g=key_group(it.follower), stamp=stamp, follower=it.follower, followee=it.followee, on=it.on)


def _read(it: ReadRecord, stamp: int) -> Work:
    """Without a time it is a reading of everything so far."""
    up_to = stamp if it.up_to is None else it.up_to
    everything = it.status is not msgspec.UNSET and it.rows is msgspec.UNSET and it.until is msgspec.UNSET
    until = stamp if everything else it.until
    return ReadWork(
        g=key_group(it.user), stamp=stamp, user=it.user, up_to=up_to, erase=it.erase, status=it.status, rows=it.rows,
        until=until,
    )  # fmt: skip


def _kill(it: Kill, stamp: int) -> Work | None:
    return None if it.scope in SUPPRESS_NOTHING else KillWork(stamp=stamp, scope=it.scope, value=it.value, on=it.on)


_WORK_OF: dict[type[Any], Callable[[Any, int], Work | None]] = {
    PreferenceRecord: _preference,
    EndpointRecord: _endpoint,
    ProfileRecord: _profile,
    FollowRecord: _follow,
    ReadRecord: _read,
    Kill: _kill,
}

DEPTH_MAX = 64
"""Levels of JSON; the gateway admits payloads of far fewer (RULES 1)."""
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]')
_TICK_BEGINS = b'{"k":"tick"'
_VERSIONS_BEGIN = b'{"k":"versions"'
_TICK = re.compile(rb'\{"k":"tick","stamp":([0-9]{1,13})(?:,"ahead":[0-9]{1,13})?\}')
_decoder = msgspec.json.Decoder(AnyWork)
_encoder = msgspec.json.Encoder()


def decode_work(value: bytes) -> AnyWork:
    """:raises MalformedRecordError: naming the field that does not fit, or nested so deep that what is read could not
    be stored again.
    """
    refuse_deep(value, "work")
    try:
        record: AnyWork = _decoder.decode(value)
    except UNDECODABLE as error:
        raise MalformedRecordError(f"work: {error}") from error
    return record


def refuse_deep(value: bytes, what: str) -> None:
    """JSON that decodes here might not where the stack is deeper.

    :raises MalformedRecordError: it is nested deeper than DEPTH_MAX levels.
    """
    if value.count(b"{") + value.count(b"[") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        raise MalformedRecordError(f"{what}: nested deeper than {DEPTH_MAX} levels")


def _depth(value: bytes) -> int:
    deepest = depth = 0
    for match in _BRACKETS.finditer(value):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(match.group(), 0)
        deepest = max(deepest, depth)
    return deepest


def tick_stamp(value: bytes) -> int | None:
    """The stamp of a tick that says nothing else; None for any other record or spelling."""
    found = _TICK.fullmatch(value) if value.startswith(_TICK_BEGINS) else None
    return None if found is None else int(found[1])


def is_versions(value: bytes) -> bool:
    """Whether it is a `VersionsWork` as `encode_work` writes it."""
    return value.startswith(_VERSIONS_BEGIN)


def encode_work(record: Work) -> bytes:
    """JSON with the kind under `k`."""
    return _encoder.encode(record)
