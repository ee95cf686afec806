"""What a person may choose, and what is chosen now: a preference document and the registry, as people see them; pure.

Shown are the types that the registry names, and those of the document that it knows by a prefix. What else a document
says is not shown, and stays as it is. A type's way by text message is shown only where it would be used: RULES 3.B.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from connectors.gateway.pages.words import PageWords
from state.model.admission import AdmissionRules
from state.model.preference import (
    DEFAULT_MAX_PER_DAY,
    DEFAULT_MAX_PER_HOUR,
    DEFAULT_QUIET_END,
    DEFAULT_QUIET_START,
    Preference,
    compile_preference,
    mapping,
    muted_names,
)
from state.model.registry import TypeProfile
from state.model.zones import zone_names

MUTED_SHOWN_MAX = 200
CAPS = {"max_per_hour": DEFAULT_MAX_PER_HOUR, "max_per_day": DEFAULT_MAX_PER_DAY}
_REGIONS = frozenset("Africa America Antarctica Arctic Asia Atlantic Australia Europe Indian Pacific".split())


class Chosen(NamedTuple):
    """What holds for a type now."""

    on: bool
    channels: tuple[str, ...]
    """All that are stored, in their order, or the type's."""


@dataclass(frozen=True, slots=True)
class Way:
    """One channel of a type or of a category."""

    name: str
    title: str
    on: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class TypeChoice:
    """One type."""

    name: str
    title: str
    on: bool
    ways: tuple[Way, ...]

    @property
    def field(self) -> str:
        """Its id in the page."""
        return field_of(self.name)


@dataclass(frozen=True, slots=True)
class CategoryChoice:
    """The types of one category; `ways` are the channels on which he has not unsubscribed from it."""

    name: str
    title: str
    ways: tuple[Way, ...]
    types: tuple[TypeChoice, ...]
    mandatory: tuple[str, ...]
    """Titles of those that nobody can switch off."""


def offered_types(rules: AdmissionRules, document: Mapping[str, Any]) -> list[TypeProfile]:
    """The types that are shown, in the order of the registry; those of the document last."""
    named = [name for name in rules.type_names() if not name.endswith("*")]
    own = document.get("types")
    named += [name for name in (own if isinstance(own, Mapping) else ()) if name not in named]
    return [profile for profile in map(rules.profile, named) if profile.registered]


def offered_channels(profile: TypeProfile) -> tuple[str, ...]:
    """Channels of a type among which a person may choose."""
    return tuple(
        channel
        for channel in profile.channels
        if channel not in profile.to_only and (channel != "sms" or profile.klass == "P0")
    )


def chosen(preference: Preference, profile: TypeProfile) -> Chosen:
    """What holds for a type (RULES 3.A.5 and 3.B), but for `unsubscribed`."""
    setting = preference.types.get(profile.name)
    if setting is None:
        return Chosen(profile.enabled, profile.channels)
    on = profile.enabled if setting.enabled is None else setting.enabled
    return Chosen(on, profile.channels if setting.channels is None else setting.channels)


class Choices:
    """A document as the page shows it."""

    def __init__(self, document: Mapping[str, Any], rules: AdmissionRules, words: PageWords) -> None:
        """The document may be malformed, or not valid yet."""
        self._document, self._words = document, words
        self._preference = compile_preference(document)
        self.profiles = offered_types(rules, document)
        self.master = self._preference.master
        found = sorted(self._categories(), key=lambda category: not category.types)
        self.categories = tuple(found)
        """Those in which there is nothing to choose come last."""

    def _categories(self) -> Iterator[CategoryChoice]:
        for name in dict.fromkeys(profile.category for profile in self.profiles):
            profiles = [profile for profile in self.profiles if profile.category == name]
            free = [profile for profile in profiles if not profile.mandatory]
            channels = dict.fromkeys(channel for profile in free for channel in offered_channels(profile))
            ways = tuple(self._way(channel, self._open(channel, name)) for channel in channels)
            mandatory = tuple(self._words.type(profile) for profile in profiles if profile.mandatory)
            types = tuple(map(self._type, free))
            yield CategoryChoice(name, self._words.category(name), ways, types, mandatory)

    def _open(self, channel: str, category: str) -> bool:
        return category not in self._preference.unsubscribed.get(channel, ())

    def _way(self, channel: str, on: bool, note: str = "") -> Way:
        return Way(channel, self._words.channel(channel), on, note)

    def _type(self, profile: TypeProfile) -> TypeChoice:
        now = chosen(self._preference, profile)
        ways = tuple(
            self._way(
                channel,
                channel in now.channels,
                "" if self._open(channel, profile.category) else self._words.page("closed"),
            )
            for channel in offered_channels(profile)
        )
        return TypeChoice(profile.name, self._words.type(profile), now.on, ways)

    @property
    def quiet(self) -> dict[str, Any]:
        """Quiet hours as they are stored, with their defaults."""
        stored = mapping(self._document.get("quiet_hours"))
        return {
            "on": stored.get("enabled") is True,
            "start": or_default(stored.get("start"), DEFAULT_QUIET_START),
            "end": or_default(stored.get("end"), DEFAULT_QUIET_END),
            "zone": stored.get("timezone") or "",
        }

    @property
    def zones(self) -> tuple[str, ...]:
        """Time zones to choose from, and the stored one."""
        stored = self.quiet["zone"]
        return _zones() if stored in _zones() or not stored else (stored, *_zones())

    @property
    def caps(self) -> list[dict[str, Any]]:
        """The caps; an empty one has its default."""
        stored = mapping(self._document.get("frequency_cap"))
        values = {name: stored.get(name) for name in CAPS}
        return [
            {"name": name, "value": "" if values[name] is None else values[name], "default": default}
            for name, default in CAPS.items()
        ]

    @property
    def muted(self) -> list[dict[str, Any]]:
        """Who and what is muted; of very many, the first."""
        found = []
        for kind, title in (("actors", "muted_people"), ("objects", "muted_things")):
            names = sorted(muted_names(self._document, kind))
            more = max(0, len(names) - MUTED_SHOWN_MAX)
            found.append({"kind": kind, "title": title, "names": names[:MUTED_SHOWN_MAX], "more": more})
        return found

    def switches(self) -> dict[tuple[str, ...], tuple[str, bool]]:
        """Whatever can be switched: what it is called, and whether it is on."""
        found: dict[tuple[str, ...], tuple[str, bool]] = {("master",): (self._words.page("master"), self.master)}
        for category in self.categories:
            whole = self._words.page("whole", category=category.title)
            for way in category.ways:
                found["category", category.name, way.name] = (f"{whole}: {way.title}", way.on)
            for each in category.types:
                found["type", each.name] = (each.title, each.on)
                for way in each.ways:
                    found["type", each.name, way.name] = (f"{each.title}: {way.title}", way.on)
        found["quiet",] = (self._words.page("quiet"), self.quiet["on"])
        return found


def field_of(type_name: str) -> str:
    """An id in the page: names of types may hold what an id must not."""
    return "type-" + type_name.encode("utf-8", "surrogatepass").hex()


def or_default(value: Any, default: Any) -> Any:
    """Null counts as absent, and nothing else does."""
    return default if value is None else value


@cache
def _zones() -> tuple[str, ...]:
    """Those of places, and UTC."""
    return tuple(sorted(name for name in zone_names() if name == "UTC" or name.partition("/")[0] in _REGIONS))
