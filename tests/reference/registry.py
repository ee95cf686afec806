"""RULES 7: the default type registry, as a table of plain values."""

from __future__ import annotations

from dataclasses import dataclass

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


def spec_of(type_name: str) -> TypeSpec:
    """The row for a type: its own, that of campaign_*, or that of "any other"."""
    if type_name in REGISTRY:
        return REGISTRY[type_name]
    if type_name.startswith("campaign_"):
        return _MARKETING
    return OTHER
