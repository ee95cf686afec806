"""The default templates, one file per language (`en.toml` tells the form), and how they are read."""

import tomllib
from functools import cache, lru_cache
from importlib import resources
from typing import Any

LANGUAGES = ("en", "de", "fr")
"""The first serves where no other one fits."""


def language_of(locale: str | None) -> str:
    """The language whose words are used: fr-CA and fr_CA give fr, an unknown one en."""
    primary = (locale or "").replace("_", "-").partition("-")[0].lower()
    return primary if primary in LANGUAGES else LANGUAGES[0]


@lru_cache(maxsize=1_000)
def other_language(locale: str | None) -> str | None:
    """The same, but None for the first one: as rows of inboxes keep it."""
    language = language_of(locale)
    return None if language == LANGUAGES[0] else language


@cache
def load_language(language: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The tables `words` and `types` of one language."""
    text = (resources.files("operators.templates") / f"{language}.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    return {"words": {"": tables["words"]}, "types": tables["types"]}
