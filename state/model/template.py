"""Published templates: texts that take the place of the built-in ones (RULES 3.C)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from state.model.event import SafeInt
from state.model.schema import Schema

TemplateSource = str | list[str]
"""One template, or one per sentence."""
TypeTexts = Mapping[str, TemplateSource]
"""The texts of one type in one locale, by form: title, one, also, many, detail."""
DEFAULT = "default"
"""The locale that serves everybody whose own locale has no text."""


class TemplateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force for a type and a locale from this record on."""

    type: str
    locale: str
    version: SafeInt
    """Counts up from 1, also when the texts are taken back."""
    by: str
    reason: str | None = None
    texts: dict[str, TemplateSource] | None = None
    """None: taken back, the built-in texts hold."""

    @property
    def place(self) -> tuple[str, str]:
        """Type and locale."""
        return self.type, self.locale


TEMPLATE = Schema("template", TemplateRecord)


def locale_chain(locale: str) -> Iterator[str]:
    """Where texts are looked for: pt-BR, pt, default."""
    parts = locale.replace("_", "-").split("-")
    for end in range(len(parts), 0, -1):
        yield "-".join(parts[:end])
    yield DEFAULT


class TextExample(NamedTuple):
    """Values with which texts are shown before anybody gets them."""

    payload: Mapping[str, Any] | None = None
    """None: each value that the texts name says its name."""
    actors: Sequence[str] = ("Ada",)
    actor_count: int = 1
    name: str | None = None
    """The reader's."""


class TextRules(Protocol):
    """The pure rules of texts, which the gateway must not import; `operators.preview.WrittenTexts` keeps them."""

    def faults(self, type_name: str, locale: str, texts: TypeTexts) -> Sequence[str]:
        """Why they cannot be published, each as `form: what; remedy`; empty: they can."""
        ...

    def built_in(self, type_name: str, locale: str) -> TypeTexts:
        """What holds where nothing is published."""
        ...

    def preview(self, type_name: str, locale: str, texts: TypeTexts, example: TextExample) -> Mapping[str, Any]:
        """What each channel would show.

        :raises TemplateError: they do not render with these values.
        """
        ...
