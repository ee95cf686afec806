"""What a notification says, per channel and language: pure, in a sandbox, bounded (RULES 3.C).

A type's words come from `operators/templates/<language>.toml`: title, and one of three headlines. Who is named is the
first actor of the emission; others are the distinct actors beyond, so nobody reads "and 0 others". Values of the
payload are data: they are never compiled, control characters and overrides of direction are removed, HTML is escaped. A
type without words gets plain generic ones. The language falls back: fr-CA, fr, en.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from jinja2 import Template, Undefined, nodes
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

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

TITLE_MAX, BODY_MAX, SMS_MAX, SUBJECT_MAX, DETAIL_MAX = 65, 240, 480, 150, 4_000
"""As `state.model.gsm.units` counts; what is longer is cut."""
OUTPUT_MAX = 20_000
"""Characters that one template may produce before it is refused."""
DIGEST_ITEMS_MAX = 50
_LOOPS_MAX = 2
_GENERIC = "other"
_VALUE_MAX = 2_000


class MissingValueError(TemplateError):
    """A text needs a value that the payload does not have."""

    def __init__(self, name: str) -> None:
        super().__init__(f"payload.{name} is missing")
        self.name = name


class _Missing(Undefined):
    """A value that is not there: false where a template asks for it, an error where one says it."""

    def __str__(self) -> str:
        raise MissingValueError(self._undefined_name or "")


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=False, trim_blocks=True, lstrip_blocks=True, undefined=_Missing
    )
    environment.globals.clear()
    return environment


_sandbox = _environment()
_FORBIDDEN_NODES = (
    nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Macro, nodes.CallBlock, nodes.Block,
)  # fmt: skip


@lru_cache(maxsize=4096)
def compile_template(source: str) -> Template:
    """A template of ours, checked: nothing that loads, calls or loops without bound.

    :raises TemplateError: it does not parse, or uses what is forbidden.
    """
    try:
        tree = _sandbox.parse(source)
    except JinjaError as error:
        raise TemplateError(f"template does not parse: {error}") from error
    if any(True for _ in tree.find_all(_FORBIDDEN_NODES)) or _loop_depth(tree) > _LOOPS_MAX:
        raise TemplateError("template: imports, macros, blocks and loops nested deeper than two are forbidden")
    return _sandbox.from_string(source)


def _loop_depth(node: nodes.Node) -> int:
    below = max((_loop_depth(child) for child in node.iter_child_nodes()), default=0)
    return below + 1 if isinstance(node, nodes.For) else below


def run_template(source: str, context: Mapping[str, Any]) -> str:
    """The text that `source` gives.

    :raises TemplateError: it fails, or produces more than OUTPUT_MAX characters.
    """
    if "{" not in source:
        return source
    pieces: list[str] = []
    size = 0
    try:
        for piece in compile_template(source).generate(context):
            pieces.append(piece)
            size += len(piece)
            if size > OUTPUT_MAX:
                raise TemplateError(f"template: more than {OUTPUT_MAX} characters")
    except (JinjaError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise TemplateError(f"template does not render: {type(error).__name__}") from error
    return "".join(pieces)


TemplateSource = str | list[str]
"""One template, or one per sentence."""


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words for one type."""

    general: Mapping[str, str]
    type: Mapping[str, TemplateSource]


@lru_cache(maxsize=4096)
def words_for(type_name: str, language: str) -> Words:
    """Those of the type, of its longest prefix with a star, or the generic ones."""
    tables = load_language(language)
    types = tables["types"]
    found = types.get(type_name)
    if found is None:
        prefixes = [name for name in types if name.endswith("*") and type_name.startswith(name[:-1])]
        found = types[max(prefixes, key=len)] if prefixes else types[_GENERIC]
    return Words(tables["words"][""], found)


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
) -> dict[str, Any]:
    values = values_of(payload)
    actor = values.get("actor_name") or clean(next(iter(actors), "")) or words.general["someone"]
    others = max(0, actor_count - 1)
    context: dict[str, Any] = {
        "actor": actor, "others": others, "count": count, "p": values, "label": values.get("object_label"),
        "name": clean(name or ""), "type": clean(type_name),
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


def _render(emission: ToDeliver) -> _Rendered:
    words = words_for(emission.type, language_of(emission.locale))
    context = _context(
        words,
        type_name=emission.type,
        actors=emission.actors,
        actor_count=emission.actor_count or len(emission.actors),
        count=emission.count,
        payload=emission.payload,
        name=emission.name,
    )
    headline = _headline(words, context, first=emission.first, whole=emission.priority == "P0")
    return _Rendered(_said(words.type["title"], context), headline, context, words)


def render(emission: ToDeliver, channel: str, *, unsubscribe_url: str | None = None) -> Content:
    """The content for one channel.

    :raises TemplateError: the type's template does not render with this payload, or there is no such channel.
    """
    rendered = _render(emission)
    if channel == "push":
        return PushContent(clip(rendered.title, TITLE_MAX), clip(rendered.headline, BODY_MAX), _push_data(emission))
    if channel == "sms":
        return SmsContent(clip(rendered.headline, SMS_MAX))
    if channel == "email":
        return _email(emission, rendered, unsubscribe_url)
    if channel == "webhook":
        return WebhookContent(emission.type, emission.decided_at, _document(emission, rendered))
    if channel == "chat":
        lines = (rendered.headline, _detail(rendered))
        return ChatContent(shorten("\n".join(line for line in lines if not is_blank(line)), DETAIL_MAX))
    raise TemplateError(f"no template serves the channel {channel}")


def render_row(row: InboxRow) -> InAppContent:
    """What a row of an inbox says: generic words where its payload lacks what those of its type need."""
    payload = None if row.payload is None else msgspec.json.decode(row.payload)
    for type_name in (row.type, _GENERIC):
        words = words_for(type_name, language_of(row.language))
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
        "title": rendered.title, "text": rendered.headline, "payload": emission.payload,
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


def _email(emission: ToDeliver, rendered: _Rendered, unsubscribe_url: str | None) -> EmailContent:
    lines = _digest_lines(emission.digest_items, rendered, emission.locale) if emission.digest_items else []
    general = rendered.words.general
    detail = shorten(_detail(rendered), DETAIL_MAX)
    paragraphs = [run_template(general["greeting"], rendered.context), rendered.headline, detail]
    shown = [paragraph for paragraph in paragraphs if paragraph.strip()]
    subject = rendered.title if lines or _is_titled(emission, rendered) else rendered.headline
    return EmailContent(
        subject=clip(subject, SUBJECT_MAX),
        text=_text(shown, lines, general, unsubscribe_url),
        html=_html(shown, lines, general, unsubscribe_url, language_of(emission.locale)),
        unsubscribe_url=unsubscribe_url,
    )


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


def _text(paragraphs: list[str], lines: list[str], general: Mapping[str, str], unsubscribe_url: str | None) -> str:
    blocks = [*paragraphs]
    if lines:
        blocks.append("\n".join(f"- {line}" for line in lines))
    blocks.append("-- \n" + general["footer"])
    if unsubscribe_url is not None:
        blocks.append(f"{general['unsubscribe']}: {unsubscribe_url}")
    return "\n\n".join(blocks) + "\n"


def _html(
    paragraphs: list[str], lines: list[str], general: Mapping[str, str], unsubscribe_url: str | None, language: str
) -> str:
    body = Markup("").join(Markup("<p>{}</p>\n").format(_breaks(paragraph)) for paragraph in paragraphs)
    if lines:
        body += Markup("<ul>\n{}</ul>\n").format(
            Markup("").join(Markup("<li>{}</li>\n").format(line) for line in lines)
        )
    footer = Markup("<p><small>{}</small></p>\n").format(general["footer"])
    if unsubscribe_url is not None:
        footer += Markup('<p><a href="{}">{}</a></p>\n').format(unsubscribe_url, general["unsubscribe"])
    return str(
        Markup('<!DOCTYPE html>\n<html lang="{}">\n<head><meta charset="utf-8"></head>\n<body>\n{}{}</body>\n</html>\n')
        .format(language, body, footer)
    )  # fmt: skip


def _breaks(text: str) -> Markup:
    return Markup("<br>\n").join(escape(line) for line in text.split("\n"))
