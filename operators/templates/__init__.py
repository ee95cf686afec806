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
def row_language(locale: str | None) -> str | None:
    """The language tag that rows of inboxes keep of a reader: his locale, since texts may be published for any; None
    for the first language, which whoever has none reads.
    """
    tag = (locale or LANGUAGES[0]).replace("_", "-")
    return None if tag == LANGUAGES[0] else tag


@cache
def load_language(language: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The tables `words` and `types` of one language."""
    text = (resources.files("operators.templates") / f"{language}.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    return {"words": {"": tables["words"]}, "types": tables["types"]}
