"""What is true now, as its topics hold it (TOPICS.md): preferences, addresses, profiles, follows, segments, what was
read, and kill switches.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from state.model.event import SafeInt
from state.model.row_status import NamedRow, RowStatus
from state.model.schema import Schema
from state.model.topics import CONTROL, ENDPOINTS, FOLLOWS, PREFERENCES, PROFILES, READS, SEGMENTS

DOOR: Final = "door"
DRAIN: Final = "drain"
KEY: Final = "key"
SUPPRESS_NOTHING: Final = frozenset((DOOR, DRAIN, KEY))
"""Scopes that no decision knows: a closed door and a revoked key refuse, and a drain holds back."""
EXPIRED: Final = "expired"
"""No app has registered the token for long (RULES 4, "Token")."""


class PreferenceRecord(msgspec.Struct, frozen=True):
    """A user's whole preference document."""

    user: str
    doc: dict[str, Any] = {}
    by_link: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET
    """Of `doc.unsubscribed`, what a link in a mail switched off: channel to categories."""


class EndpointRecord(msgspec.Struct, frozen=True):
    """A registration of an address; or, with `gone_at`, what a `GoneRecord` says."""

    user: str
    channel: str
    id: str
    platform: str | None = None
    address: str | None = None
    state: str = "active"
    registered_at: SafeInt = 0
    gone_at: SafeInt | msgspec.UnsetType = msgspec.UNSET
    cause: str | msgspec.UnsetType = msgspec.UNSET
    first_at: SafeInt | msgspec.UnsetType = msgspec.UNSET
    """When this address was registered for the first time, if that was before."""


class GoneRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's word that an address is dead; holds only for registrations not newer than `gone_at`.

    With `cause` no provider said it: the token is `EXPIRED`.
    """

    user: str
    channel: str
    id: str
    state: str = "invalid"
    gone_at: int
    cause: str | msgspec.UnsetType = msgspec.UNSET


class ProfileRecord(msgspec.Struct, frozen=True):
    """A user's locale and name."""

    user: str
    locale: str | None = None
    name: str | None = None


class FollowRecord(msgspec.Struct, frozen=True):
    """Somebody follows somebody, or does so no more."""

    followee: str
    follower: str
    on: bool = True


class SegmentRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Some members of a segment; or, with `chunks`, that its version has so many such records and counts from here."""

    segment: str
    version: str | int
    chunk: int | None = None
    users: list[str] | None = None
    chunks: int | None = None


class ReadRecord(msgspec.Struct, frozen=True):
    """A user read his inbox up to a time; null: everything. With `erase` he and all that he has there are gone.

    With `status` these `rows` have it; without `rows` all that he read `until` a time are archived. `up_to` is then 0:
    a program that knows no status does nothing.
    """

    user: str
    up_to: SafeInt | None = None
    erase: bool | msgspec.UnsetType = msgspec.UNSET
    status: RowStatus | msgspec.UnsetType = msgspec.UNSET
    rows: tuple[NamedRow, ...] | msgspec.UnsetType = msgspec.UNSET
    until: SafeInt | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        """:raises ValueError: it does not say which rows."""
        if self.status not in (msgspec.UNSET, "archived") and self.rows is msgspec.UNSET:
            raise ValueError(f"status {self.status} needs rows")


class Kill(msgspec.Struct, frozen=True):
    """A kill switch, set or lifted; with scope `door` the sender's door at the gateways, with scope `key` the keys and
    sessions of somebody, with scope `drain` a class or a provider to which nothing more is sent for now.
    """

    scope: Literal["all", "sender", "type", "channel", "campaign", "door", "key", "drain"]
    value: str | None = None
    """Whom it names; of no meaning for scope `all`."""
    on: bool = True
    reason: str | None = None
    by: str | None = None
    """Who set it: a credential's name, or a person at the command line."""

    def __post_init__(self) -> None:
        """:raises ValueError: it names nobody."""
        if self.scope != "all" and not self.value:
            raise ValueError(f"a switch of scope {self.scope} needs a value")

    @property
    def switch(self) -> tuple[str, str]:
        """Scope and value, which is empty for scope `all`."""
        return self.scope, "" if self.scope == "all" else (self.value or "")


class SwitchOn(NamedTuple):
    """A switch, door or drain that is set."""

    scope: str
    value: str
    since_ms: int
    """When the log took the record that set it."""
    by: str | None
    reason: str | None


PREFERENCE = Schema("preference", PreferenceRecord)
ENDPOINT = Schema("endpoint", EndpointRecord)
GONE = Schema("endpoint", GoneRecord)
PROFILE = Schema("profile", ProfileRecord)
FOLLOW = Schema("follow", FollowRecord)
SEGMENT = Schema("segment", SegmentRecord)
READ = Schema("read", ReadRecord)
KILL = Schema("kill", Kill)

SETTINGS: Mapping[str, Schema[Any]] = {
    PREFERENCES: PREFERENCE,
    ENDPOINTS: ENDPOINT,
    PROFILES: PROFILE,
    FOLLOWS: FOLLOW,
    SEGMENTS: SEGMENT,
    READS: READ,
    CONTROL: KILL,
}
"""By topic. `GONE` is read as `ENDPOINT`."""
Setting = PreferenceRecord | EndpointRecord | ProfileRecord | FollowRecord | ReadRecord | Kill
"""What counts by itself; a segment needs several records."""
