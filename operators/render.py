"""What a notification says, per channel and language: pure, in a sandbox, bounded (RULES 3.C).

A type's words come from `operators/templates/<language>.toml`: title, and one of three headlines. Who is named is the
first actor of the emission; others are the distinct actors beyond, so nobody reads "and 0 others". Values of the
payload are data: they are never compiled, control characters and overrides of direction are removed, HTML is escaped. A
type without words gets plain generic ones. The language falls back: fr-CA, fr, en.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from markupsafe import Markup

from operators.mail_html import list_html, mail_html, mail_text, paragraphs_html, plain_of, sanitised
from operators.plain import plain_content
from operators.private_numbers import EXEMPT, has_private_number, may_have_private_number, starred
from operators.sandbox import MissingValueError, run_template
from operators.templates import LANGUAGES, language_of, load_language
from operators.text import clean, clip, is_blank, shorten
from state.inbox.values import InboxRow
from state.model.content import (
    ChatContent,
    Content,
    EmailContent,
    InAppContent,
    PushContent,
    SmsContent,
    WebhookContent,
    link_of,
)
from state.model.delivery import DigestItem, ToDeliver
from state.model.errors import TemplateError
from state.model.gsm import units
from state.model.preference import QuietRange
from state.model.template import PART_PREFIX, TemplateSource, TypeTexts, of_channel
from state.model.variants import of_variant, variant_of

TITLE_MAX, BODY_MAX, SMS_MAX, SUBJECT_MAX, DETAIL_MAX = 65, 240, 480, 150, 4_000
"""As `state.model.gsm.units` counts; what is longer is cut."""
DIGEST_ITEMS_MAX = 50
_GENERIC = "other"
_SHOWN_FORMS = {"title", "one", "also", "many"}
_VALUE_MAX = 2_000
_shown = lru_cache(maxsize=16)(lambda text, limit: clip(starred(text), limit))  # for a lock screen


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words for one type."""

    general: Mapping[str, str]
    type: Mapping[str, TemplateSource]
    language: str
    """For plurals, numbers and times."""


@lru_cache(maxsize=4096)
def words_for(type_name: str, language: str) -> Words:
    """Those of the type, of its longest prefix with a star, or the generic ones."""
    tables = load_language(language)
    types = tables["types"]
    found = types.get(type_name)
    if found is None:
        prefixes = [name for name in types if name.endswith("*") and type_name.startswith(name[:-1])]
        found = types[max(prefixes, key=len)] if prefixes else types[_GENERIC]
    return Words(tables["words"][""], found, language)


def _published(built_in: Words, texts: TypeTexts, channel: str, locale: str | None, *, urgent: bool = False) -> Words:
    """Parts named like general words take their place, but never in what is `urgent`."""
    own = {name: texts.get(f"{PART_PREFIX}{name}", source) for name, source in built_in.general.items()}
    general = built_in.general if urgent else {name: _one_source(source) for name, source in own.items()}
    return Words(general, of_channel(texts, channel), _one_source(texts.get("language") or locale or built_in.language))


def _one_source(source: TemplateSource) -> str:
    return source if isinstance(source, str) else " ".join(source)


def values_of(payload: Mapping[str, Any] | None) -> dict[str, str]:
    """What templates see of a payload: texts and numbers of its first level, cleaned and cut, if one sees them."""
    return {
        key: text
        for key, value in (payload or {}).items()
        if isinstance(value, str | int | float)
        and not isinstance(value, bool)
        and not is_blank(text := shorten(clean(str(value)), _VALUE_MAX))
    }


def _context(
    words: Words,
    *,
    type_name: str,
    actors: Iterable[str],
    actor_count: int,
    count: int,
    payload: Mapping[str, Any] | None,
    name: str | None,
    zone: str | None = None,
) -> dict[str, Any]:
    values = values_of(payload)
    actor = values.get("actor_name") or clean(next(iter(actors), "")) or words.general["someone"]
    others = max(0, actor_count - 1)
    context: dict[str, Any] = {
        "actor": actor, "others": others, "count": count, "p": values, "label": values.get("object_label"),
        "name": clean(name or ""), "type": clean(type_name), "language": words.language, "zone": zone,
    }  # fmt: skip
    context["who"] = run_template(words.general["others"], context) if others else actor
    return context


def _headline(words: Words, context: Mapping[str, Any], *, first: bool, whole: bool = False) -> str:
    """RULES 3.C: one, one later, or several actors.

    :raises MissingValueError: every sentence lacks a value; or, if it must be said as a `whole`, one does.
    """
    form = "many" if context["others"] else "one" if first else "also"
    return _said(words.type.get(form) or words.type["one"], context, whole=whole)


def _said(source: TemplateSource, context: Mapping[str, Any], *, whole: bool = False) -> str:
    """The sentences that lack no value.

    :raises MissingValueError: see `_headline`.
    """
    said, missing = [], None
    for sentence in [source] if isinstance(source, str) else source:
        try:
            said.append(run_template(sentence, context))
        except MissingValueError as error:
            missing = missing or error
    if missing is not None and (whole or not said):
        raise missing
    return " ".join(said)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """What all channels are made of."""

    title: str
    headline: str
    context: Mapping[str, Any]
    words: Words


def _render(emission: ToDeliver, texts: TypeTexts | None, channel: str) -> _Rendered:
    language, urgent = language_of(emission.locale), emission.priority == "P0"
    zone = emission.quiet.zone if isinstance(emission.quiet, QuietRange) else None
    said = emission.type, emission.actors, emission.actor_count, emission.count, emission.name, zone, emission.first
    if texts is None and not urgent:
        with suppress(ValueError, OverflowError):  # a payload that not everybody reads as JSON
            return _built_in(language, msgspec.json.encode(emission.payload), *said)
    built_in = words_for(emission.type, language)
    words = built_in if texts is None else _published(built_in, texts, channel, emission.locale, urgent=urgent)
    rendered = _by_words(words, emission.payload, *said, urgent=urgent)
    if texts is not None and urgent and units(rendered.headline) > BODY_MAX:
        raise TemplateError("a text of class P0 would be cut")
    return rendered


@lru_cache(maxsize=16)  # a fan-out says the same to many, one after the other; no more is kept of what people say
def _built_in(language: str, payload: bytes, type_name: str, *said: Any) -> _Rendered:
    return _by_words(words_for(type_name, language), msgspec.json.decode(payload), type_name, *said, urgent=False)


def _by_words(words: Words, payload: Mapping[str, Any] | None, type_name: str, *said: Any, urgent: bool) -> _Rendered:
    actors, actor_count, count, name, zone, first = said
    context = _context(
        words, type_name=type_name, actors=actors, actor_count=actor_count or len(actors), count=count, payload=payload,
        name=name, zone=zone,
    )  # fmt: skip
    headline = _headline(words, context, first=first, whole=urgent)
    return _Rendered(_said(words.type["title"], context), headline, context, words)


def render(
    emission: ToDeliver, channel: str, *, unsubscribe_url: str | None = None, texts: TypeTexts | None = None
) -> Content:
    """The content for one channel; `texts` are published ones, which take the place of the built-in ones.

    :raises TemplateError: the type's template does not render with this payload, or there is no such channel.
    """
    rendered = _render(emission, texts, channel)
    shown = clip if emission.type in EXEMPT else _shown
    if channel == "push":
        return PushContent(shown(rendered.title, TITLE_MAX), shown(rendered.headline, BODY_MAX), _push_data(emission))
    if channel == "in_app":
        return InAppContent(clip(rendered.title, TITLE_MAX), clip(rendered.headline, BODY_MAX))
    if channel == "sms":
        return SmsContent(shown(rendered.headline, SMS_MAX))
    if channel == "email":
        return _email(emission, rendered, unsubscribe_url)
    if channel == "webhook":
        return WebhookContent(emission.type, emission.decided_at, _document(emission, rendered))
    if channel == "chat":
        lines = (rendered.headline, _detail(rendered))
        return ChatContent(shorten("\n".join(line for line in lines if not is_blank(line)), DETAIL_MAX))
    return plain_content(channel, shown, rendered.title, rendered.headline, _detail(rendered), emission.payload)


def render_row(
    row: InboxRow, user: str, published: Callable[[str, str | None], TypeTexts | None] = lambda _type, _locale: None
) -> InAppContent:
    """What a row of a user's inbox says: generic words where its payload lacks what those of its type need.

    `published` gives the published texts of a type in a locale.
    """
    payload = None if row.payload is None else msgspec.json.decode(row.payload)
    language = language_of(row.language)
    of_type = words_for(row.type, language)
    overlay = []
    if (texts := published(row.type, row.language)) is not None:
        said = of_variant(texts, variant_of(texts, row.type, user))
        overlay = [_published(of_type, said, "in_app", row.language)]
    for words in (*overlay, of_type, words_for(_GENERIC, language)):
        context = _context(
            words, type_name=row.type, actors=row.actors, actor_count=row.actor_count, count=row.count,
            payload=payload, name=None,
        )  # fmt: skip
        try:
            title, body = _said(words.type["title"], context), _headline(words, context, first=True)
        except TemplateError:  # a page must not fail for one row
            continue
        return InAppContent(clip(title, TITLE_MAX), clip(body, BODY_MAX))
    raise TemplateError("the generic words do not render")


def _push_data(emission: ToDeliver) -> tuple[tuple[str, str], ...]:
    url = link_of(emission.payload)
    data = (("event_id", emission.first_event_id), ("type", clip(clean(emission.type), 128)))
    return data if url is None else (*data, ("url", url))


def _document(emission: ToDeliver, rendered: _Rendered) -> dict[str, Any]:
    """What a webhook gets of a notification, but for whom (TOPICS.md)."""
    return {
        "emission_id": emission.emission_id, "event_id": emission.first_event_id, "priority": emission.priority,
        "object": emission.object, "count": emission.count, "actors": emission.actors,
        "actor_count": emission.actor_count or len(emission.actors),
        "title": clip(rendered.title, BODY_MAX), "text": shorten(rendered.headline, DETAIL_MAX),
        "payload": emission.payload,
    }  # fmt: skip


def missing_values(type_name: str, payload: Mapping[str, Any] | None, klass: str) -> list[str]:
    """Members that the payload lacks and without which nothing may be sent.

    Of class P0 every one that a sentence of the text needs; of others none, if any sentence is left.
    """
    needs = needed_values(type_name)
    if () in needs and (klass != "P0" or not any(needs)):
        return []
    values = values_of(payload)
    if klass != "P0" and any(all(name in values for name in sentence) for sentence in needs):
        return []
    return list(dict.fromkeys(name for sentence in needs for name in sentence if name not in values))


def sample(type_name: str, texts: TypeTexts) -> tuple[str, str, str]:
    """Title or subject, headline and detail with the shortest values that a payload can have: no send says less.

    :raises TemplateError: one of them does not render.
    """
    words = Words(words_for(type_name, LANGUAGES[0]).general, texts, LANGUAGES[0])
    values: dict[str, str] = {}
    while True:
        context = _context(words, type_name="", actors=("1",), actor_count=2, count=2, payload=values, name=None)
        try:
            headlines = [_said(texts[form], context, whole=True) for form in ("one", "also", "many") if form in texts]
            detail = _said(texts.get("detail", ""), context, whole=True)
            title = _said(texts.get("subject", texts["title"]), context, whole=True)
            _own_html(texts, context | {"text": "1", "detail": detail, "title": title})
            return title, max(headlines, key=units), detail
        except MissingValueError as error:
            if error.name in values:
                raise
            values[error.name] = "1"


@lru_cache(maxsize=4096)
def needed_values(type_name: str) -> tuple[tuple[str, ...], ...]:
    """For each sentence of a type's headline, what it cannot be said without."""
    words = words_for(type_name, LANGUAGES[0])
    source = words.type["one"]
    return tuple(_needed_by(sentence, words) for sentence in ([source] if isinstance(source, str) else source))


def _needed_by(sentence: str, words: Words) -> tuple[str, ...]:
    values: dict[str, str] = {}
    while True:
        context = _context(words, type_name="", actors=(), actor_count=0, count=1, payload=values, name=None)
        try:
            run_template(sentence, context)
        except MissingValueError as error:
            values[error.name] = "x"
        else:
            return tuple(values)


def cut_values(type_name: str, payload: Mapping[str, Any] | None) -> list[str]:
    """Members that a text of class P0 would not show in whole, in any language: what it needs on the smallest channel,
    the rest in a text message.
    """
    values, needed = values_of(payload), {name for sentence in needed_values(type_name) for name in sentence}
    cut = []
    for language in LANGUAGES:
        words = words_for(type_name, language)
        context = _context(words, type_name=type_name, actors=(), actor_count=0, count=1, payload=payload, name=None)
        headline = _headline(words, context, first=True, whole=True)
        for name, value in values.items():
            shown = clip(headline, BODY_MAX if name in needed else SMS_MAX)
            if value in headline and " ".join(value.split()) not in shown:
                cut.append(name)
    return list(dict.fromkeys(cut))


def told_numbers(type_name: str, payload: Mapping[str, Any] | None) -> list[str]:
    """Members with a number that a lock screen must not show and that the type's built-in text says."""
    if type_name in EXEMPT or not may_have_private_number((payload or {}).values()):
        return []
    if not (values := {name: text for name, text in values_of(payload).items() if has_private_number(text)}):
        return []
    words, said = words_for(type_name, LANGUAGES[0]), list[str]()
    context = _context(words, type_name=type_name, actors=(), actor_count=2, count=2, payload=payload, name=None)
    for form in words.type.keys() & _SHOWN_FORMS:
        with suppress(MissingValueError):
            said.append(_said(words.type[form], context))
    return [name for name, value in values.items() if any(value in text for text in said)]


def _email(emission: ToDeliver, rendered: _Rendered, unsubscribe_url: str | None) -> EmailContent:
    lines = _digest_lines(emission.digest_items, rendered, emission.locale) if emission.digest_items else []
    general = rendered.words.general
    detail = shorten(_detail(rendered), DETAIL_MAX)
    paragraphs = [run_template(general["greeting"], rendered.context), rendered.headline, detail]
    shown = [paragraph for paragraph in paragraphs if paragraph.strip()]
    said = {"text": rendered.headline, "detail": detail, "title": rendered.title}
    body = _own_html(rendered.words.type, {**rendered.context, **said})
    if body is not None:
        shown = [plain_of(body)]
    body = (paragraphs_html(shown) if body is None else body) + list_html(lines)
    layout = rendered.words.type.get(f"{PART_PREFIX}layout")
    if layout is not None and emission.priority != "P0":
        body = sanitised(run_template(_one_source(layout), {**rendered.context, "body": body}, html=True))
    return EmailContent(
        subject=clip(_subject(emission, rendered, titled=bool(lines)), SUBJECT_MAX),
        text=mail_text(shown, lines, general, unsubscribe_url),
        html=mail_html(body, general, unsubscribe_url, rendered.words.language),
        unsubscribe_url=unsubscribe_url,
    )


def _own_html(texts: TypeTexts, context: Mapping[str, Any]) -> Markup | None:
    """What a writer's HTML gives; None: he wrote none."""
    source = texts.get("html")
    return None if source is None else sanitised(run_template(_one_source(source), context, html=True))


def _subject(emission: ToDeliver, rendered: _Rendered, *, titled: bool) -> str:
    if "subject" in rendered.words.type:
        return _said(rendered.words.type["subject"], rendered.context)
    return rendered.title if titled or _is_titled(emission, rendered) else rendered.headline


def _detail(rendered: _Rendered) -> str:
    """What a mail or a chat says besides, if the payload has it."""
    try:
        return _said(rendered.words.type.get("detail", ""), rendered.context)
    except MissingValueError:
        return ""


def _is_titled(emission: ToDeliver, rendered: _Rendered) -> bool:
    """Whether the title says more than the headline in a list of mails; of a code it must not say the code."""
    return emission.priority == "P0" or "title" in rendered.context["p"]


def _digest_lines(items: Iterable[DigestItem], digest: _Rendered, locale: str | None) -> list[str]:
    """One line per item, oldest first, at most DIGEST_ITEMS_MAX, then how many more there are."""
    every = list(items)
    lines = [_digest_line(item, locale) for item in every[:DIGEST_ITEMS_MAX]]
    if more := len(every) - len(lines):
        lines.append(run_template(digest.words.general["more_items"], {"more": more}))
    return lines


def _digest_line(item: DigestItem, locale: str | None) -> str:
    words = words_for(item.type, language_of(locale))
    actors = [item.actor] if item.actor else []
    context = _context(
        words, type_name=item.type, actors=actors, actor_count=len(actors), count=1, payload=item.payload, name=None
    )
    return clip(_headline(words, context, first=True), BODY_MAX)
