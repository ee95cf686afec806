"""Rules B and E: which channels are allowed, and how many of them are used (RULES 3.B, 3.E)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from state.model.addresses import canonical, is_served_by
from state.model.channels import CHANNEL_BIT
from state.model.event import Event
from state.model.preference import Preference
from state.model.registry import TypeProfile

if TYPE_CHECKING:
    from state.decide.group import GroupState  # with columns, which are heavy: senders ask only for the order


PASSED_OVER = "passed_over"
_CASES_MAX = 4096
_NONE: frozenset[str] = frozenset()
_ALL_BITS = sum(CHANNEL_BIT.values())


class AllowedChannels(NamedTuple):
    """`channels` in the user's order; `inbox_killed` when a switch took in_app away."""

    channels: tuple[str, ...]
    inbox_killed: bool
    in_app: bool
    interruptive: tuple[str, ...]
    """All but in_app."""


class ChannelRoute(NamedTuple):
    """Channels that E chose, those it left (in order), and whether a switch took the last interruptive one; `passed`
    are those before the chosen one that are away.
    """

    chosen: tuple[str, ...]
    rest: tuple[str, ...]
    killed: bool
    passed: tuple[str, ...] = ()

    @property
    def reason(self) -> str | None:
        """What the record of the decision says of it."""
        return f"{PASSED_OVER} {','.join(self.passed)}" if self.passed else None


def type_enabled(preference: Preference, profile: TypeProfile) -> bool:
    """The user's switch for the type, the registry's default where nothing is stored."""
    setting = preference.types.get(profile.name)
    return profile.enabled if setting is None or setting.enabled is None else setting.enabled


def ordered_channels(preference: Preference, profile: TypeProfile) -> tuple[str, ...]:
    """The user's list for the type, or the type's; of mandatory types the user's list only orders."""
    offered = profile.channels
    if profile.to_only:
        offered = tuple(channel for channel in offered if channel not in profile.to_only)
    setting = preference.types.get(profile.name)
    if setting is None or setting.channels is None:
        chosen = offered
    else:
        chosen = tuple(channel for channel in setting.channels if channel in offered)
        if profile.mandatory:
            chosen += tuple(channel for channel in offered if channel not in chosen)
    if profile.mandatory or not preference.unsubscribed:
        return chosen
    return tuple(c for c in chosen if profile.category not in preference.unsubscribed.get(c, ()))


def carrying(usable_bits: int, event: Event, profile: TypeProfile) -> int:
    """Of the interruptive channels with an active address, as bits, those that can carry the event."""
    if event.priority != "P0":
        usable_bits &= ~CHANNEL_BIT["sms"]
    if profile.critical_push and (event.payload or {}).get("critical") is not True:
        usable_bits &= ~CHANNEL_BIT["push"]
    return usable_bits


def given_address(state: GroupState, event: Event, channel: str) -> str | None:
    """What the event's own `to` names of a channel, if a provider reaches it."""
    return canonical(state.users.served, channel, None, (event.to or {}).get(channel))


def allowed(state: GroupState, row: int, event: Event, profile: TypeProfile) -> AllowedChannels:
    """Rule B without writing the inbox row."""
    return _routed(state, row, event, profile)[0]


def route(state: GroupState, row: int, event: Event, profile: TypeProfile) -> ChannelRoute:
    """Rule E for the first pending item: what is allowed now, less killed channels, as many as the policy says."""
    return _routed(state, row, event, profile)[1]


def _routed(state: GroupState, row: int, event: Event, profile: TypeProfile) -> tuple[AllowedChannels, ChannelRoute]:
    if event.to is not None:
        listed: tuple[str, ...] = tuple(c for c in profile.channels if given_address(state, event, c) is not None)
        return routed(listed, _ALL_BITS, profile.policy, state.kills.channels())
    listed = ordered_channels(state.users.preference_of(row), profile)
    if event.draft:
        listed = tuple(channel for channel in listed if channel == event.draft.channel)
    bits = carrying(state.users.usable.item(row), event, profile)
    if not state.kills.active:
        return routed(listed, bits, profile.policy, _NONE, _NONE, slow_mail(profile, event))
    away = state.kills.away
    passed = frozenset(channel for channel in listed if _is_away(state, row, channel, away)) if away else _NONE
    return routed(listed, bits, profile.policy, state.kills.channels(), passed, slow_mail(profile, event))


def slow_mail(profile: TypeProfile, event: Event) -> bool:
    """Whether mails of the type wait, for the digest or to be read: no provider is away for as long."""
    return not event.draft and (profile.digest or (profile.mail_wait_ms > 0 and event.priority != "P0"))


def _is_away(state: GroupState, row: int, channel: str, away: frozenset[str]) -> bool:
    """Whether the providers of all the user's devices of a channel are away."""
    devices = state.users.devices(row, channel)
    served = state.users.served
    return bool(devices) and all(is_served_by(served, channel, each.platform, away) for each in devices)


@lru_cache(_CASES_MAX)
def routed(
    listed: tuple[str, ...],
    bits: int,
    policy: str,
    killed: frozenset[str],
    away: frozenset[str] = _NONE,
    mail_is_slow: bool = False,
) -> tuple[AllowedChannels, ChannelRoute]:
    """Rules B and E for a user's list and the channels that can carry the event, of which some are away: few cases,
    each worked out once.
    """
    kept = tuple(channel for channel in listed if channel == "in_app" or bits & CHANNEL_BIT[channel])
    interruptive = tuple(channel for channel in kept if channel != "in_app")
    inbox_killed = "in_app" in kept and "in_app" in killed
    channels = interruptive if inbox_killed else kept
    left = tuple(channel for channel in interruptive if channel not in killed)
    chosen = choose(policy, left)
    passed: tuple[str, ...] = ()
    if away and policy == "first":
        chosen, passed = _pass_over(left, away, "email" if mail_is_slow else "")
    rest = tuple(channel for channel in left if channel not in chosen)
    found = AllowedChannels(channels, inbox_killed, "in_app" in channels, interruptive)
    return found, ChannelRoute(chosen, rest, bool(interruptive) and not left, passed)


def _pass_over(left: tuple[str, ...], away: frozenset[str], slow: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first that is neither away nor slow, and those before it that are away; the first of all where it is slow,
    or none is left.
    """
    fit = () if left[:1] == (slow,) else (channel for channel in left if channel not in away and channel != slow)
    chosen = next(iter(fit), None)
    if chosen is None:
        return left[:1], ()
    return (chosen,), tuple(channel for channel in left[: left.index(chosen)] if channel in away)


def choose(policy: str, channels: tuple[str, ...]) -> tuple[str, ...]:
    """`all`: every one; `first`: one; `push_first`: push, the others only if no provider takes it."""
    if policy == "all":
        return channels
    if policy == "push_first" and "push" in channels:
        return ("push",)
    return channels[:1]
