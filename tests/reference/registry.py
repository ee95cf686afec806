"""RULES 7: the default type registry, as a table of plain values."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """One row of the table; durations in milliseconds."""

    cls: str
    category: str
    ttl: int
    window: int
    policy: str
    channels: tuple[str, ...]
    only_by_to: tuple[str, ...] = ()
    pinned: bool = False
    mandatory: bool = False
    notify_self: bool = False
    absolute_ttl: bool = False
    email_digest: bool = False
    mail_wait: int = 0
    critical_push: bool = False
    opt_in: bool = False
    repeat_window: int = HOUR


def _p0(ttl: int, channels: tuple[str, ...], only_by_to: tuple[str, ...] = ()) -> TypeSpec:
    return TypeSpec(
        "P0", "security", ttl, 0, "all", channels, only_by_to, pinned=True, mandatory=True, notify_self=True
    )


_SECURITY = _p0(DAY, ("push", "sms", "email", "in_app"))
_TALK = TypeSpec("P1", "social", HOUR, 0, "first", ("push", "in_app", "email"), email_digest=True)
_FOLLOWING = TypeSpec("P1", "following", 6 * HOUR, 0, "first", ("push", "in_app"))
_SERVICE = TypeSpec("P1", "service", 7 * DAY, 0, "first", ("push", "in_app", "email"), critical_push=True)
_REMINDER = TypeSpec(
    "P1", "reminders", HOUR, 0, "first", ("push", "email", "in_app"), notify_self=True, absolute_ttl=True
)
_MARKETING = TypeSpec("P2", "marketing", DAY, 0, "first", ("email", "push"), opt_in=True)
OTHER = TypeSpec("P1", "other", HOUR, 0, "first", ("in_app",))

REGISTRY: dict[str, TypeSpec] = {
    "otp": _p0(10 * MINUTE, ("push", "sms"), only_by_to=("email",)),
    "like": TypeSpec("P1", "social", HOUR, 60_000, "first", ("push", "in_app")),
    "follow": TypeSpec("P1", "social", HOUR, 120_000, "first", ("push", "in_app")),
    "comment": TypeSpec("P1", "social", HOUR, 30_000, "first", ("push", "in_app", "email"), email_digest=True),
    **dict.fromkeys(("password_reset", "security_alert", "payment_confirmation", "account_lockout"), _SECURITY),
    **dict.fromkeys(("reply", "mention", "share"), _TALK),
    **dict.fromkeys(("new_post", "new_video", "new_article"), _FOLLOWING),
    **dict.fromkeys(("announcement", "policy_change", "maintenance", "account_status"), _SERVICE),
    **dict.fromkeys(("reminder", "renewal", "appointment"), _REMINDER),
    **dict.fromkeys(("newsletter", "promotion", "re_engagement"), _MARKETING),
}


NAMES = {
    "klass": "cls", "ttl_ms": "ttl", "window_ms": "window", "to_only": "only_by_to", "digest": "email_digest",
    "mail_wait_ms": "mail_wait", "repeat_window_ms": "repeat_window",
}  # fmt: skip
"""What a table of the registry calls the columns that have another name here."""


class Types:
    """The registry as it is in force; what was published for a type (RULES 7) stands before the table above."""

    def __init__(self) -> None:
        self._published: dict[str, TypeSpec] = {}

    def publish(self, name: str, table: dict[str, Any] | None) -> None:
        """From now on the type is what the table changes of its row above; None: that row holds again."""
        self._published.pop(name, None)
        if table is not None:
            self._published[name] = _changed(REGISTRY.get(name, OTHER), table)

    def of(self, type_name: str) -> TypeSpec:
        """The row for a type: what was published for it, its own, that of campaign_*, or that of "any other"."""
        if type_name in self._published:
            return self._published[type_name]
        if type_name in REGISTRY:
            return REGISTRY[type_name]
        return _MARKETING if type_name.startswith("campaign_") else OTHER


def _changed(spec: TypeSpec, table: dict[str, Any]) -> TypeSpec:
    given = {NAMES.get(name, name): value for name, value in table.items() if name != "enabled"}
    if "enabled" in table:
        given["opt_in"] = not table["enabled"]
    if "channels" in given or "only_by_to" in given:
        # a table lists those that only `to` names among the channels
        only = tuple(given.get("only_by_to", spec.only_by_to))
        offered = given.get("channels", spec.channels + spec.only_by_to)
        given["only_by_to"], given["channels"] = only, tuple(each for each in offered if each not in only)
    known = {each.name for each in fields(TypeSpec)}
    assert given.keys() <= known, given.keys() - known
    return replace(spec, **given)
