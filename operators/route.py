"""Rules B and E: which channels are allowed, and how many of them are used (RULES 3.B, 3.E)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from state.model.addresses import CHANNEL_BIT, canonical
from state.model.event import Event
from state.model.preference import Preference
from state.model.registry import TypeProfile

if TYPE_CHECKING:
    from state.decide.group import GroupState  # with columns, which are heavy: senders ask only for the order


class AllowedChannels(NamedTuple):
    """`channels` in the user's order; `inbox_killed` when a switch took in_app away."""

    channels: tuple[str, ...]
    inbox_killed: bool

    @property
    def in_app(self) -> bool:
        return "in_app" in self.channels

    @property
    def interruptive(self) -> tuple[str, ...]:
        return tuple(channel for channel in self.channels if channel != "in_app")


class ChannelRoute(NamedTuple):
    """Channels that E chose, those it left (in order), and whether a switch took the last interruptive one."""

    chosen: tuple[str, ...]
    rest: tuple[str, ...]
    killed: bool


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


def usable(channel: str, usable_bits: int, event: Event, profile: TypeProfile) -> bool:
    """Whether an interruptive channel can carry the event to an active address."""
    if not usable_bits & CHANNEL_BIT[channel]:
        return False
    if channel == "sms":
        return event.priority == "P0"
    if channel == "push" and profile.critical_push:
        return (event.payload or {}).get("critical") is True
    return True


def given_address(state: GroupState, event: Event, channel: str) -> str | None:
    """What the event's own `to` names of a channel, if a provider reaches it."""
    return canonical(state.users.served, channel, None, (event.to or {}).get(channel))


def allowed(state: GroupState, row: int, event: Event, profile: TypeProfile) -> AllowedChannels:
    """Rule B without writing the inbox row."""
    if event.to is not None:
        listed: tuple[str, ...] = tuple(c for c in profile.channels if given_address(state, event, c) is not None)
        kept = listed
    else:
        listed = ordered_channels(state.users.preference_of(row), profile)
        bits = int(state.users.usable[row])
        kept = tuple(c for c in listed if c == "in_app" or usable(c, bits, event, profile))
    killed = "in_app" in kept and state.kills.channel("in_app")
    return AllowedChannels(tuple(c for c in kept if c != "in_app") if killed else kept, killed)


def route(state: GroupState, row: int, event: Event, profile: TypeProfile) -> ChannelRoute:
    """Rule E for the first pending item: what is allowed now, less killed channels, as many as the policy says."""
    interruptive = allowed(state, row, event, profile).interruptive
    left = tuple(channel for channel in interruptive if not state.kills.channel(channel))
    chosen = choose(profile.policy, left)
    return ChannelRoute(
        chosen, tuple(channel for channel in left if channel not in chosen), bool(interruptive) and not left
    )


def choose(policy: str, channels: tuple[str, ...]) -> tuple[str, ...]:
    """`all`: every one; `first`: one; `push_first`: push, the others only if no provider takes it."""
    if policy == "all":
        return channels
    if policy == "push_first" and "push" in channels:
        return ("push",)
    return channels[:1]
