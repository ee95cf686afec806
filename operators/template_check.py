"""What is wrong with a template before it is published: the field, and what to do."""

import re
from collections.abc import Iterator, Mapping

import msgspec

from operators.render import BODY_MAX, DETAIL_MAX, TITLE_MAX, needed_values, sample
from operators.sandbox import names_used
from operators.text import clean, is_blank
from state.model.errors import TemplateError
from state.model.gsm import units
from state.model.template import DEFAULT, TemplateSource, TypeTexts

FORMS = ("title", "one", "also", "many", "detail")
_NAMES = {"actor", "others", "count", "p", "label", "name", "type", "who"}
_SOURCE_MAX = 8_000
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def template_faults(type_name: str, locale: str, texts: Mapping[str, TemplateSource], schema: str = "") -> list[str]:
    """Each fault as `field: what, and the remedy`; none: it can be published.

    `schema` is that of the type's payload, empty where it has none.
    """
    faults = [] if locale == DEFAULT or _LOCALE.fullmatch(locale) else [f"locale: write it like pt, pt-BR or {DEFAULT}"]
    faults += [f"{form}: is missing; write it" for form in ("title", "one") if not texts.get(form)]
    faults += [f"{form}: there is no such form; use {', '.join(FORMS)}" for form in texts if form not in FORMS]
    for form in texts:
        for source in _sentences(texts[form]):
            faults += (f"{form}: {fault}" for fault in _source_faults(source))
    return faults or [*_not_in_payload(texts, schema), *_missing(type_name, texts), *_too_long(type_name, texts)]


def _sentences(source: TemplateSource) -> list[str]:
    return [source] if isinstance(source, str) else source


def _source_faults(source: str) -> Iterator[str]:
    if len(source) > _SOURCE_MAX:
        yield f"has more than {_SOURCE_MAX} characters; shorten it"
        return
    if clean(source) != source:
        yield "has control characters or overrides of direction; take them out"
    try:
        unknown = names_used(source)[0] - _NAMES
    except TemplateError as error:
        yield f"{error}; correct it"
        return
    if unknown:
        yield f"unknown: {', '.join(sorted(unknown))}; use {', '.join(sorted(_NAMES))}, and p.NAME for the payload"


def _not_in_payload(texts: TypeTexts, schema: str) -> Iterator[str]:
    """Members that the schema does not name: a payload may have more, but a text that counts on them is a mistake."""
    asked = msgspec.json.decode(schema) if schema else None
    named = asked.get("properties", {}) if isinstance(asked, dict) else {}
    for form, source in texts.items() if named else ():
        used = {name for sentence in _sentences(source) for name in names_used(sentence)[1]}
        if unknown := used - set(named):
            shown = ", ".join(f"p.{name}" for name in sorted(unknown))
            yield f"{form}: the type's schema does not name {shown}; use one of its properties, or add it there"


def _missing(type_name: str, texts: TypeTexts) -> Iterator[str]:
    """What the built-in text cannot be said without, such as a code, every headline has to say."""
    needed = {name for sentence in needed_values(type_name) for name in sentence}
    for form in ("one", "also", "many"):
        said = {name for source in _sentences(texts.get(form, [])) for name in names_used(source)[1]}
        if form in texts and (left_out := needed - said):
            yield f"{form}: does not say {', '.join(f'p.{name}' for name in sorted(left_out))}; put it in"


def _too_long(type_name: str, texts: TypeTexts) -> Iterator[str]:
    try:
        title, headline, detail = sample(type_name, texts)
    except TemplateError as error:
        yield f"texts: {error}; correct them"
        return
    limits = {"title": (title, TITLE_MAX), "one, also, many": (headline, BODY_MAX), "detail": (detail, DETAIL_MAX)}
    for form, (text, limit) in limits.items():
        if units(text) > limit:
            yield f"{form}: {units(text)} units with the shortest values, at most {limit} are shown; shorten it"
        if clean(text) != text:
            yield f"{form}: gives control characters; take them out"
        if form != "detail" and is_blank(text):
            yield f"{form}: says nothing; write something"
