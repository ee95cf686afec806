"""What pages say in each language (`en.toml` tells the form), and which language a person reads."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources

from state.model.channels import channel_name
from state.model.registry import TypeProfile
from state.model.zones import offset_at

LANGUAGES = ("en", "de", "fr", "es", "pt", "it", "tr", "ru", "ar", "hi", "id", "zh", "ja", "ko")
_FROM_THE_RIGHT = ("ar",)


class PageWords:
    """All that pages say in one language."""

    def __init__(self, language: str) -> None:
        """`language`: one of LANGUAGES."""
        text = (resources.files("connectors.gateway.pages") / f"{language}.toml").read_text(encoding="utf-8")
        self.language = language
        self._tables: Mapping[str, Mapping[str, str]] = tomllib.loads(text)

    @property
    def direction(self) -> str:
        """In which it is written, as HTML names it."""
        return "rtl" if self.language in _FROM_THE_RIGHT else "ltr"

    @property
    def texts(self) -> Mapping[str, str]:
        """What the page of preferences says, by key; what is wrong with a field begins with `error_`."""
        return {**self._tables["page"], **{f"error_{kind}": text for kind, text in self._tables["errors"].items()}}

    def page(self, key: str, **values: object) -> str:
        """A sentence of the page."""
        return self._tables["page"][key].format(**values)

    def unsubscribe(self, key: str, **values: object) -> str:
        """A sentence of the page behind a link to unsubscribe."""
        return self._tables["unsubscribe"][key].format(**values)

    def starting(self, key: str) -> str:
        """A sentence of the page that is there while a gateway starts."""
        return self._tables["starting"][key]

    def error(self, kind: str) -> str:
        """What is wrong with a field, and what to do."""
        return self._tables["errors"][kind]

    def channel(self, name: str) -> str:
        """A channel as people know it."""
        return self._tables["channels"].get(name) or channel_name(name, self.language)

    def category(self, name: str) -> str:
        """A category as people know it; one of the configuration goes by its name there."""
        return self._tables["categories"].get(name) or _spelled(name)

    def type(self, profile: TypeProfile) -> str:
        """A type as people know it: as the configuration names it, else as it is here."""
        names, known = profile.names, self._tables["types"]
        return names.get(self.language) or known.get(profile.name) or names.get("en") or _spelled(profile.name)


@cache
def words_of(language: str) -> PageWords:
    """The words of one of LANGUAGES."""
    return PageWords(language)


def words_wished(*wishes: str | None) -> PageWords:
    """In the first language of these that there is: tags, or lists of tags as browsers write them."""
    entries = (entry for wish in wishes for entry in (wish or "").split(","))
    named = (entry.partition(";")[0].strip().lower()[:2] for entry in entries)
    return words_of(next((language for language in named if language in LANGUAGES), "en"))


def said_moment(moment_ms: int, zone: str) -> str:
    """The moment, or the next whole second, on the zone's clocks."""
    second = -(-moment_ms // 1000)
    shown = datetime.fromtimestamp(second + offset_at(zone, second * 1000) // 1000, UTC)
    return f"{shown:%Y-%m-%d %H:%M:%S} ({zone})"


def _spelled(name: str) -> str:
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]
