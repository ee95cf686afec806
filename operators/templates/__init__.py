"""The default templates, one file per language (`en.toml` tells the form), and how they are read."""

import tomllib
from functools import cache
from importlib import resources
from typing import Any

LANGUAGES = ("en", "de", "fr")


@cache
def load_language(language: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The tables `words` and `types` of one language."""
    text = (resources.files("operators.templates") / f"{language}.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    return {"words": {"": tables["words"]}, "types": tables["types"]}
