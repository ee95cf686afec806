"""What preferences, endpoints, follows, segments and switches say, and what RULES 2, 3.A, 3.B and 3.D read of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from reference import clock
from reference.events import Event
from reference.rollouts import in_stretch


@dataclass(slots=True)
class World:
    """Everything that records other than events have set, as of now."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: dict[tuple[str, str], dict[Any, str | None]] = field(default_factory=dict)
    platforms: dict[tuple[str, str, Any], str] = field(default_factory=dict)
    followers: dict[str, set[str]] = field(default_factory=dict)
    segments: dict[str, list[str]] = field(default_factory=dict)
    kills: set[tuple[str, Any]] = field(default_factory=set)
    users: set[str] = field(default_factory=set)

    def set_preference(self, record: dict[str, Any]) -> None:
        self.documents[record["user"]] = record.get("doc") or {}
        self.users.add(record["user"])

    def set_endpoint(self, record: dict[str, Any]) -> None:
        place = record["user"], record["channel"]
        self.endpoints.setdefault(place, {})[record.get("id")] = record.get("state") or "active"
        self.platforms[*place, record.get("id")] = record.get("platform") or "*"
        self.users.add(record["user"])

    def set_follow(self, record: dict[str, Any]) -> None:
        followers = self.followers.setdefault(record["followee"], set())
        (followers.add if record.get("on") is not False else followers.discard)(record["follower"])

    def set_segment(self, record: dict[str, Any]) -> None:
        self.segments[record["segment"]] = record["users"]

    def set_kill(self, record: dict[str, Any]) -> None:
        switch = (record["scope"], None if record["scope"] == "all" else record.get("value"))
        (self.kills.add if record.get("on") is not False else self.kills.discard)(switch)

    def document(self, user: str) -> dict[str, Any]:
        return self.documents.get(user, {})


def section(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A nested map of a document; a missing key is that key's default."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


# RULES 2 ---------------------------------------------------------------------


def recipients(world: World, event: Event) -> list[str]:
    """Who receives the event: a set, in code point order so that runs agree. Of a part, those of its stretch."""
    found = _audience(world, event)
    return found if event.stretch is None else [user for user in found if in_stretch(user, event.stretch)]


def _audience(world: World, event: Event) -> list[str]:
    if event.fan_out_type == "BROADCAST":
        return sorted(world.users)
    if event.fan_out_type == "FOLLOWERS":
        return sorted(world.followers.get(event.actor, ()) if event.actor is not None else ())
    if event.fan_out_type == "SEGMENT":
        return sorted(set(world.segments.get(event.segment, ())) if event.segment is not None else ())
    return [event.target] if event.fan_out_type == "DIRECT" and event.target is not None else []


# RULES 3.A -------------------------------------------------------------------


def killed(world: World, event: Event) -> bool:
    """RULES 3.A.1: a switch on everything, the sender, the type or the campaign."""
    switches = [("all", None), ("type", event.type)]
    if event.sender is not None:
        switches.append(("sender", event.sender))
    if event.fan_out_type in ("SEGMENT", "BROADCAST") and event.object is not None:
        switches.append(("campaign", event.object))
    return any(switch in world.kills for switch in switches)


def channel_killed(world: World, channel: str) -> bool:
    return ("channel", channel) in world.kills


def away(world: World, user: str, channel: str) -> bool:
    """RULES 3.E: no provider of any of his devices of the channel can send now."""
    devices = world.endpoints.get((user, channel), {})
    platforms = [world.platforms[user, channel, name] for name, state in devices.items() if state == "active"]
    return bool(platforms) and all(("away", f"{channel}/{platform}") in world.kills for platform in platforms)


def type_enabled(world: World, user: str, event: Event) -> bool:
    """RULES 3.A.5: the stored setting, else the registry's: on, but for types that are opt-in."""
    setting = section(section(world.document(user), "types"), event.type).get("enabled")
    return not event.spec.opt_in if setting is None else bool(setting)


def muted(world: World, user: str, event: Event) -> bool:
    """RULES 3.A.6: the actor or the object is on his list."""
    lists = section(world.document(user), "muted")
    by_actor = event.actor is not None and event.actor in (lists.get("actors") or ())
    return by_actor or (event.object is not None and event.object in (lists.get("objects") or ()))


# RULES 3.B -------------------------------------------------------------------


def allowed(world: World, user: str, event: Event) -> list[str]:
    """RULES 3.B: `allowed`, but with in_app still in it where only a kill switch takes it away."""
    if event.to:
        return list(event.to)
    chosen = _chosen(world, user, event)
    if not event.spec.mandatory:
        unsubscribed = section(world.document(user), "unsubscribed")
        chosen = [channel for channel in chosen if event.spec.category not in (unsubscribed.get(channel) or ())]
    return [channel for channel in chosen if _usable(world, user, event, channel)]


def _chosen(world: World, user: str, event: Event) -> list[str]:
    """His channels in his order; no list stored: the type's; for a mandatory type his list only orders."""
    stored = section(section(world.document(user), "types"), event.type).get("channels")
    if stored is None:
        return list(event.spec.channels)
    mine = [channel for channel in dict.fromkeys(stored) if channel in event.spec.channels]
    left_out = [channel for channel in event.spec.channels if channel not in mine]
    return mine + left_out if event.spec.mandatory else mine


def _usable(world: World, user: str, event: Event, channel: str) -> bool:
    if channel == "in_app":
        return True
    if channel == "sms" and event.cls != "P0":
        return False
    if channel == "push" and event.spec.critical_push and not _critical(event):
        return False
    return "active" in world.endpoints.get((user, channel), {}).values()


def _critical(event: Event) -> bool:
    return isinstance(event.payload, dict) and event.payload.get("critical") is True


# RULES 3.D -------------------------------------------------------------------


def zone_of(world: World, user: str) -> tzinfo:
    """His quiet-hours zone; missing or invalid: UTC."""
    return clock.zone(section(world.document(user), "quiet_hours").get("timezone"))


def quiet_until(world: World, user: str, now: int) -> int | None:
    """RULES 3.D.1: the first instant outside, if `now` is inside his quiet hours."""
    settings = section(world.document(user), "quiet_hours")
    start = clock.parse_hh_mm(_or(settings.get("start"), "22:00"))
    end = clock.parse_hh_mm(_or(settings.get("end"), "08:00"))
    if settings.get("enabled") is not True or start is None or end is None:
        return None
    tz = zone_of(world, user)
    if not clock.within(start, end, clock.time_of_day(tz, now)):
        return None
    return clock.first_instant_outside(tz, start, end, now)


def caps(world: World, user: str) -> tuple[int, int]:
    """His (max_per_hour, max_per_day)."""
    settings = section(world.document(user), "frequency_cap")
    return _or(settings.get("max_per_hour"), 10), _or(settings.get("max_per_day"), 50)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
