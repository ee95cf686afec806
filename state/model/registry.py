"""The type registry (RULES 7): what a type may do and how it is delivered.

The registry is configuration: a team adds a type by a table `[types.NAME]` in `carillon.toml`, or publishes it while
the system runs (`TypeRecord`). A name that ends in `*` means every type with that prefix (the longest prefix wins).
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any, Protocol, Self

import msgspec

from state.model.channels import CHANNELS
from state.model.durations import DAY_MS, HOUR_MS, MINUTE_MS
from state.model.errors import ConfigurationError

POLICIES = ("all", "first", "push_first")
FAN_OUTS = ("DIRECT", "FOLLOWERS", "SEGMENT", "BROADCAST")


class TypeProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the registry says of one type. Durations in milliseconds."""

    name: str = ""
    klass: str = "P1"
    """P0, P1 or P2: the most urgent class an event of this type may have."""
    category: str = "other"
    """What a person unsubscribes from."""
    fan_out: tuple[str, ...] = ("DIRECT",)
    ttl_ms: int = HOUR_MS
    window_ms: int = 0
    """Aggregation window; 0: none."""
    policy: str = "first"
    """all, first or push_first (RULES 3.E)."""
    channels: tuple[str, ...] = ("in_app",)
    """Channels offered, in order."""
    to_only: tuple[str, ...] = ()
    """Channels among `channels` that are used only when the event's `to` names them."""
    digest: bool = False
    """Its email goes to the daily digest."""
    mail_wait_ms: int = 0
    """Its email goes only if its row in the inbox is still unread after so long (RULES 3.E); 0: at once."""
    pinned: bool = False
    mandatory: bool = False
    notify_self: bool = False
    absolute_ttl: bool = False
    critical_push: bool = False
    """Push only where payload.critical is true."""
    enabled: bool = True
    """The default where the user has no setting."""
    repeat_window_ms: int = HOUR_MS
    owners: tuple[str, ...] = ()
    """Senders that may send it; empty: every sender that is configured for its class."""
    names: Mapping[str, str] = msgspec.field(default_factory=dict)
    """What people call it, by language ("en"), on the page of preferences."""
    schema: str = ""
    """JSON Schema, as text, that the payload of an accepted event meets (RULES 1); empty: any payload."""
    registered: bool = True

    def __hash__(self) -> int:
        """By the name: what else it says makes it differ, and `names` has no hash."""
        return hash(self.name)


def _types(names: str, **fields: Any) -> list[TypeProfile]:
    return [TypeProfile(name=name, **fields) for name in names.split()]


def _default_types() -> list[TypeProfile]:
    security: dict[str, Any] = {
        "klass": "P0", "category": "security", "policy": "all", "pinned": True, "mandatory": True, "notify_self": True,
    }  # fmt: skip
    social: dict[str, Any] = {"category": "social", "ttl_ms": HOUR_MS}
    with_email = ("push", "in_app", "email")
    return [
        *_types("otp", ttl_ms=10 * MINUTE_MS, channels=("push", "sms", "email"), to_only=("email",), **security),
        *_types(
            "password_reset security_alert payment_confirmation account_lockout",
            ttl_ms=DAY_MS, channels=("push", "sms", "email", "in_app"), **security,
        ),
        *_types("like", window_ms=60_000, channels=("push", "in_app"), **social),
        *_types("follow", window_ms=120_000, channels=("push", "in_app"), **social),
        *_types("comment", window_ms=30_000, channels=with_email, digest=True, **social),
        *_types("reply mention share", channels=with_email, digest=True, **social),
        *_types(
            "new_post new_video new_article",
            category="following", fan_out=("FOLLOWERS",), ttl_ms=6 * HOUR_MS, channels=("push", "in_app"),
        ),
        *_types(
            "announcement policy_change maintenance account_status",
            category="service", fan_out=("SEGMENT", "BROADCAST"), ttl_ms=7 * DAY_MS, channels=with_email,
            critical_push=True,
        ),
        *_types(
            "reminder renewal appointment",
            category="reminders", channels=("push", "email", "in_app"), notify_self=True, absolute_ttl=True,
        ),
        *_types(
            "newsletter promotion re_engagement campaign_*",
            klass="P2", category="marketing", fan_out=("SEGMENT",), ttl_ms=DAY_MS, channels=("email", "push"),
            enabled=False,
        ),
    ]  # fmt: skip


def check_profile(profile: TypeProfile, *, reader: bool) -> None:
    """`reader` as in `load_registry`.

    :raises ConfigurationError: naming the key and the remedy.
    """
    where = f"types.{profile.name}"
    if profile.klass not in ("P0", "P1", "P2"):
        raise ConfigurationError(f"{where}.klass: {profile.klass!r} is none of P0, P1, P2")
    if profile.policy not in POLICIES:
        raise ConfigurationError(f"{where}.policy: {profile.policy!r} is none of {', '.join(POLICIES)}")
    for key, given, allowed in (
        ("channels", profile.channels, CHANNELS), ("fan_out", profile.fan_out, FAN_OUTS),
    ):  # fmt: skip
        unknown = [name for name in given if name not in allowed and not (reader and key == "channels")]
        if unknown or len(set(given)) != len(given):
            problem = f"{', '.join(unknown)} is not known" if unknown else "a name is there twice"
            raise ConfigurationError(f"{where}.{key}: {problem}; use {', '.join(allowed)} once each")
    if profile.pinned and profile.klass != "P0":
        raise ConfigurationError(f"{where}.klass: a pinned type is P0 and can be reclassified by nothing")
    for name in ("ttl_ms", "window_ms", "repeat_window_ms", "mail_wait_ms"):
        if getattr(profile, name) < 0:
            raise ConfigurationError(f"{where}.{name}: is negative")
    if profile.mail_wait_ms and (
        profile.digest or profile.klass == "P0" or not {"in_app", "email"} <= {*profile.channels}
    ):
        raise ConfigurationError(
            f"{where}.mail_wait_ms: is only for P1 and P2 with the channels in_app and email, and without digest"
        )


def names_type(name: str, type_name: str) -> bool:
    """Whether a name of the registry, perhaps with a star, is the type's."""
    return type_name.startswith(name[:-1]) if name.endswith("*") else type_name == name


class Registry:
    """Type name to profile; an unregistered type is decided with the default profile, registered false."""

    def __init__(
        self, profiles: list[TypeProfile], *, version: int = 1, tables: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.version = version
        self.tables = tables or {}
        """What changed the default registry into this one."""
        self.exact = {p.name: p for p in profiles if not p.name.endswith("*")}
        self._prefixes = sorted(((p.name[:-1], p) for p in profiles if p.name.endswith("*")), key=lambda x: -len(x[0]))
        self._categories = frozenset(p.category for p in profiles)
        self._resolved: dict[str, TypeProfile] = dict(self.exact)

    @property
    def current(self) -> Self:
        """A registry that nobody changes is in force for ever."""
        return self

    def up_to_date(self) -> Self:
        """See `current`."""
        return self

    def up_to(self, _end: int) -> Self:
        """See `current`."""
        return self

    def profile(self, type_name: str) -> TypeProfile:
        """The profile of a type, registered or not."""
        found = self._resolved.get(type_name)
        return found if found is not None else self._resolve(type_name)

    def _resolve(self, type_name: str) -> TypeProfile:
        for prefix, profile in self._prefixes:
            if type_name.startswith(prefix):
                found = msgspec.structs.replace(profile, name=type_name)
                break
        else:
            found = TypeProfile(name=type_name, registered=False)
        if len(self._resolved) < 100_000:  # unregistered names come from outside: the memo is bounded
            self._resolved[type_name] = found
        return found

    def categories(self) -> frozenset[str]:
        """What a person can unsubscribe from."""
        return self._categories

    def names(self) -> list[str]:
        """The configured names, prefixes with their star."""
        return [*self.exact, *(prefix + "*" for prefix, _ in self._prefixes)]

    def absent_channels(self) -> list[str]:
        """Channels that types offer and no package here adds, which only a reader's registry has."""
        profiles = [*self.exact.values(), *(profile for _, profile in self._prefixes)]
        return sorted({channel for profile in profiles for channel in profile.channels}.difference(CHANNELS))


def load_registry(
    tables: Mapping[str, Mapping[str, Any]] | None = None, *, version: int = 1, reader: bool = False
) -> Registry:
    """The default registry, changed key by key by the tables `[types.NAME]`.

    `reader`: for who only reads what is stored; to him a channel is a name, whose package may be on other machines.

    :raises ConfigurationError: naming the key.
    """
    profiles = {profile.name: profile for profile in _default_types()}
    for name, table in (tables or {}).items():
        base = profiles.get(name) or TypeProfile(name=name)
        if base.pinned and table.get("klass", "P0") != "P0":
            raise ConfigurationError(f"types.{name}.klass: a pinned type is P0 and can be reclassified by nothing")
        try:
            profile = msgspec.convert({**msgspec.to_builtins(base), **table, "name": name}, TypeProfile)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"types.{name}: {error}") from error
        profiles[name] = msgspec.structs.replace(profile, pinned=base.pinned or profile.pinned)
    for profile in profiles.values():
        check_profile(profile, reader=reader)
    return Registry(list(profiles.values()), version=version, tables=tables)


def registry_of(tables: Mapping[str, Mapping[str, Any]], *, reader: bool = False) -> Registry:
    """The same, numbered by its content: 1 is the default registry.

    :raises ConfigurationError: naming the key.
    """
    version = zlib.crc32(json.dumps(tables, sort_keys=True).encode()) if tables else 1
    return load_registry(tables, version=version, reader=reader)


class RegistryInForce(Protocol):
    """A registry that may be another one in a moment: ask once for each decision."""

    @property
    def current(self) -> Registry:
        """The one in force now."""
        ...


class TypesToDate(RegistryInForce, Protocol):
    """One that also can be waited for."""

    def up_to_date(self) -> Registry:
        """The registry with everything that was published before this call.

        :raises LogUnavailableError: that could not be read.
        """
        ...

    def up_to(self, end: int) -> Registry:
        """The same with everything that is below this offset of topic `registry`."""
        ...
