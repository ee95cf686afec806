"""What a person may choose instead of unsubscribing: less of some types, and fewer a day; pure.

Whoever has a mail has its link, so the page tells nothing of what is chosen now, and what it stores is never more than
before: a channel or a type that is off stays off, and a cap only falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.gateway.pages.choices import chosen, field_of, offered_channels, offered_types
from connectors.gateway.pages.form import SentForm
from connectors.gateway.pages.words import PageWords
from state.model.admission import AdmissionRules
from state.model.preference import compile_preference
from state.model.registry import TypeProfile

MOSTS = (10, 5, 3, 1)
"""Caps of a day to choose from."""
APP, WITHOUT, OFF = "app", "without", "off"
_IN_APP = "in_app"


@dataclass(frozen=True, slots=True)
class LessOffer:
    """One type of the categories of a link."""

    name: str
    title: str
    options: tuple[tuple[str, str], ...]
    """What the form says, and what the person reads; the first changes nothing."""

    @property
    def field(self) -> str:
        """Its id in the page."""
        return field_of(self.name)


def less_types(rules: AdmissionRules, categories: Sequence[str]) -> list[TypeProfile]:
    """The types that a person may have less of."""
    return [profile for profile in offered_types(rules, {}) if profile.category in categories and not profile.mandatory]


def less_offers(rules: AdmissionRules, categories: Sequence[str], channel: str, words: PageWords) -> list[LessOffer]:
    """What the page offers for a link of these categories on this channel."""
    return [
        LessOffer(profile.name, words.type(profile), tuple(_options(profile, channel, words)))
        for profile in less_types(rules, categories)
    ]


def _options(profile: TypeProfile, channel: str, words: PageWords) -> Iterator[tuple[str, str]]:
    rest = set(offered_channels(profile)) - {channel}
    yield "", words.unsubscribe("as_before")
    if channel in profile.channels and rest - {_IN_APP}:
        yield WITHOUT, words.unsubscribe("without", way=words.channel(channel))
    if _IN_APP in rest:
        yield APP, words.unsubscribe("app")
    yield OFF, words.unsubscribe("off")


def less_patch(
    form: SentForm, document: Mapping[str, Any], profiles: Sequence[TypeProfile], channel: str
) -> dict[str, Any]:
    """The merge patch of what becomes less than the document says."""
    preference = compile_preference(document)
    types: dict[str, Any] = {}
    for profile in profiles:
        wanted, now = form.one(f"type:{profile.name}"), chosen(preference, profile)
        if wanted == OFF:
            types[profile.name] = {"enabled": False}
        elif wanted in (APP, WITHOUT):
            kept = [each for each in now.channels if (each == _IN_APP if wanted == APP else each != channel)]
            types[profile.name] = {"channels": kept}
    patch: dict[str, Any] = {"types": types} if types else {}
    most = form.one("most")
    if most in map(str, MOSTS):
        patch["frequency_cap"] = {"max_per_day": min(int(most), preference.max_per_day)}
    return patch


def less_lines(form: SentForm, offers: Sequence[LessOffer], words: PageWords) -> list[str]:
    """What was chosen, in words; empty: nothing."""
    lines = [
        f"{offer.title}: {title}"
        for offer in offers
        for value, title in offer.options
        if value and value == form.one(f"type:{offer.name}")
    ]
    most = form.one("most")
    return [*lines, f"{words.unsubscribe('most')}: {most}"] if most in map(str, MOSTS) else lines
