"""Published templates: texts that take the place of the built-in ones (RULES 3.C)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from state.model.channels import ADDED
from state.model.event import SafeInt
from state.model.schema import Schema

TemplateSource = str | list[str]
"""One template, or one per sentence."""
TypeTexts = Mapping[str, TemplateSource]
"""The texts of one type in one locale, by form: title, one, also, many, detail; of one channel alone `push.title`."""
TextPlace = tuple[str, str]
"""Type and locale."""
FORMS = ("title", "one", "also", "many", "detail")
"""What a text may say for all channels."""
CHANNEL_FORMS = {
    "push": FORMS[:4],
    "sms": FORMS[1:4],
    "email": ("subject", "html", *FORMS[1:]),
    "in_app": ("title", "one", "many"),
    "chat": FORMS[1:],
    "webhook": FORMS[:4],
    **dict.fromkeys(ADDED, FORMS),
}
"""What a text may say for one channel alone, as `push.title`."""
PARTS = "_parts"
"""In the place of a type: pieces that several texts share, each by its name."""
PART_PREFIX = "part."
"""Before the name of a part among the texts that are in force."""
_INCLUDE = re.compile(r"""\{%-?\s*include\s+["']([a-z][a-z0-9_]*)["']\s*-?%\}""")
_INCLUDES_DEEP = 3
SOURCE_MAX = 8_000
"""Characters of one template, its parts included."""
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


def texts_in_force(published: Mapping[TextPlace, TypeTexts], type_name: str, locale: str) -> TypeTexts | None:
    """What a reader of a locale gets, with the parts of that locale put in; None: the built-in texts hold.

    A text for everybody is in the language that its form `language` names, or in English.
    """
    found = _first(published, type_name, locale)
    if found is None:
        return None
    parts = _first(published, PARTS, locale) or {}
    texts = {form: _with_parts(source, parts) for form, source in found.items()}
    if (type_name, DEFAULT) in published and found is published[type_name, DEFAULT]:
        texts.setdefault("language", "en")
    return texts | {f"{PART_PREFIX}{name}": _with_parts(source, parts) for name, source in parts.items()}


def _first(published: Mapping[TextPlace, TypeTexts], type_name: str, locale: str) -> TypeTexts | None:
    chain = ((type_name, each) for each in locale_chain(locale))
    return next((published[place] for place in chain if place in published), None)


def _with_parts(source: TemplateSource, parts: TypeTexts) -> TemplateSource:
    """With every `{% include "name" %}` that there is a part for in its place."""
    if not isinstance(source, str):
        return [str(_with_parts(each, parts)) for each in source]
    for _ in range(_INCLUDES_DEEP):
        if "include" not in source or len(source) > SOURCE_MAX:  # parts of parts would grow without bound
            break
        source = _INCLUDE.sub(lambda match: _one_text(parts.get(match[1])) or match[0], source)
    return source


def _one_text(source: TemplateSource | None) -> str:
    return source if isinstance(source, str) else " ".join(source or ())


def of_channel(texts: TypeTexts, channel: str) -> TypeTexts:
    """With those of the channel alone in the place of the general ones."""
    prefix = f"{channel}."
    own = {form.removeprefix(prefix): source for form, source in texts.items() if form.startswith(prefix)}
    return {**texts, **own} if own else texts


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

    def faults(self, place: TextPlace, everything: Mapping[TextPlace, TypeTexts]) -> Sequence[str]:
        """Why the texts of a place cannot be published, each as `form: what; remedy`; empty: they can. `everything` is
        what would be in force then.
        """
        ...

    def built_in(self, type_name: str, locale: str) -> TypeTexts:
        """What holds where nothing is published."""
        ...

    def example(self, type_name: str, texts: TypeTexts) -> Mapping[str, Any]:
        """A payload that is made up."""
        ...

    def preview(self, type_name: str, locale: str, texts: TypeTexts, example: TextExample) -> Mapping[str, Any]:
        """What each channel would show.

        :raises TemplateError: they do not render with these values.
        """
        ...
