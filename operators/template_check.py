"""What is wrong with a template before it is published: the field, and what to do."""

import re
from collections.abc import Iterator, Mapping

import msgspec

from operators.locales import PLURALS, plural_names
from operators.private_numbers import has_private_number
from operators.render import BODY_MAX, DETAIL_MAX, SMS_MAX, SUBJECT_MAX, TITLE_MAX, needed_values, sample
from operators.sandbox import names_used, plurals_used
from operators.text import clean, is_blank
from state.model.channels import ADDED, added_channel
from state.model.errors import TemplateError
from state.model.gsm import units
from state.model.template import (
    CHANNEL_FORMS,
    DEFAULT,
    FORMS,
    PARTS,
    SOURCE_MAX,
    TemplateSource,
    TextPlace,
    TypeTexts,
    locale_chain,
    of_channel,
    texts_in_force,
)
from state.model.variants import VARIANTS, VARIANTS_MAX, of_variant, shares_of

_HEADLINES = FORMS[1:4]
_HEADLINE_MAX = {"": BODY_MAX, "push": BODY_MAX, "in_app": BODY_MAX, "sms": SMS_MAX}
"""Of the channels that cut a headline, and of what is said on all."""
_NAMES = {"actor", "others", "count", "p", "label", "name", "type", "who"}
_HTML_NAMES = _NAMES | {"title", "text", "detail"}
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SYNTAX = (
    (r"end of template, expected 'end of print|unexpected '}'", "a {{ is not closed; put }} behind the value"),
    (r"expected 'end of statement|Missing end of", "a {% or {# is not closed; put %} or #} behind it"),
    (r"looking for.*'endif'", "an {% if %} does not end; put {% endif %} where it does"),
    (
        r"No filter named '(\w+)'",
        "there is no filter NAME; use plural, time, default, or another of those in OPERATING, Texts of your own",
    ),
    (
        r"unknown tag '(\w+)'",
        "{% NAME %} is none here; use {% if %}, {% elif %}, {% else %}, {% endif %}, {% include %}",
    ),
    (r"unexpected char '[\"']", "a quotation mark is not closed; close it"),
    (
        r"[Ee]xpected (?:token|name|an expression)",
        "what is between {{ and }} is no value; write one such as actor or p.title, and filters behind |",
    ),
)
_PART = re.compile(r"[a-z][a-z0-9_]*")


def template_faults(
    place: TextPlace, everything: Mapping[TextPlace, TypeTexts], schema: str = "", *, urgent: bool = False
) -> list[str]:
    """Each fault of the texts of a place as `field: what; the remedy`; none: they can be published.

    `everything` is what would be in force then. `schema` is that of the type's payload, empty where it has none.
    `urgent`: the type is of class P0.
    """
    type_name, locale = place
    faults = (
        []
        if locale == DEFAULT or _LOCALE.fullmatch(locale)
        else [f"locale: is none; write it like pt, pt-BR or {DEFAULT}"]
    )
    given = everything[place]
    texts = {form: source for form, source in (texts_in_force(everything, *place) or {}).items() if form in given}
    faults += _share_faults(given)

    def found(variant: str | None) -> list[str]:
        said, whole = (_said_by(variant, each) for each in (given, texts))
        return _faults(type_name, said, whole, schema, urgent=urgent, locale=locale)

    faults += found(None)
    return faults or [f"{variant}:{fault}" for variant, _ in shares_of(given) for fault in found(variant)]


def _said_by(variant: str | None, texts: TypeTexts) -> TypeTexts:
    """Without what other variants say."""
    found = of_variant(texts, variant)
    return {form: source for form, source in found.items() if ":" not in form and form != VARIANTS}


def _share_faults(given: TypeTexts) -> Iterator[str]:
    shares = shares_of(given)
    names = [name for name, _ in shares]
    if VARIANTS in given and not shares:
        yield f"{VARIANTS}: are not written so; write names and whole percents, such as a 50, b 50"
    elif len(names) > VARIANTS_MAX or len(set(names)) < len(names):
        yield f"{VARIANTS}: are more than {VARIANTS_MAX}, or two have one name; name each once"
    elif shares and (whole := sum(percent for _, percent in shares)) != 100:
        yield f"{VARIANTS}: have {whole} percent together; make them 100"
    for form in given:
        if ":" in form and form.partition(":")[0] not in names:
            yield f"{form}: there is no variant {form.partition(':')[0]}; name it in {VARIANTS}"
        elif ":" in (own := form.partition(":")[2]) or own == VARIANTS:
            yield f"{form}: is no form that a variant has; write it like a:title"


def _faults(type_name: str, given: TypeTexts, texts: TypeTexts, schema: str, *, urgent: bool, locale: str) -> list[str]:
    """Those of one variant, or of what has none; `texts` have their parts in them."""
    language = str(given.get("language", "en" if locale == DEFAULT else locale))
    faults = [f"{form}: is missing; write it" for form in ("title", "one") if not given.get(form)]
    faults += [
        f"{form}: there is no such form; use {', '.join(FORMS)}, or one for a channel such as push.title"
        for form in given
        if not _is_form(form)
    ]
    texts = {form: source for form, source in texts.items() if form != "language"}
    for form, said in texts.items():
        if urgent and said != given[form]:
            faults.append(f"{form}: includes a part, which others may change; write it out for class P0")
        names = _HTML_NAMES if form == "email.html" else _NAMES
        for source in _sentences(said):
            faults += (f"{form}: {fault}" for fault in _source_faults(source, names, language))
    return faults or [*_not_in_payload(texts, schema), *_missing(type_name, texts), *_too_long(type_name, texts)]


def part_faults(locale: str, everything: Mapping[TextPlace, TypeTexts]) -> list[str]:
    """The same of the parts of a locale. What they do to the texts that have them, is asked of those texts."""
    parts, faults = everything[PARTS, locale], list[str]()
    names, language = _HTML_NAMES | {"body", "more"}, "en" if locale == DEFAULT else locale
    if locale != DEFAULT and not _LOCALE.fullmatch(locale):
        faults.append(f"locale: is none; write it like pt, pt-BR or {DEFAULT}")
    for name, source in parts.items():
        if not _PART.fullmatch(name):
            faults.append(f"{name}: is no name of a part; use small letters, digits and _")
        whole = texts_in_force({(PARTS, locale): parts, ("", locale): {"": source}}, "", locale) or {}
        for sentence in _sentences(whole[""]):
            found = list(_source_faults(sentence, names, language))
            faults += (f"{name}: {fault}" for fault in found)
            if name == "layout" and not found and "body" not in names_used(sentence)[0]:
                faults.append("layout: does not say {{ body }}; put it where the mail's text goes")
    return faults


def takes_parts_of(place: TextPlace, locale: str) -> bool:
    """Whether parts of a locale may stand in the texts of a place."""
    return place[0] != PARTS and locale in locale_chain(place[1])


def _is_form(form: str) -> bool:
    channel, _, own = form.rpartition(".")
    return own in CHANNEL_FORMS.get(channel, ()) if channel else own in (*FORMS, "language")


def _sentences(source: TemplateSource) -> list[str]:
    return [source] if isinstance(source, str) else source


def _source_faults(source: str, names: set[str], language: str) -> Iterator[str]:
    if len(source) > SOURCE_MAX:
        yield f"has more than {SOURCE_MAX} characters; shorten it"
        return
    if clean(source) != source:
        yield "has control characters or overrides of direction; take them out"
    if has_private_number(source):
        yield "has a card or social security number; take it out"
    try:
        unknown = names_used(source)[0] - names
    except TemplateError as error:
        yield _plainly(str(error))
        return
    if unknown:
        yield f"unknown: {', '.join(sorted(unknown))}; use {', '.join(sorted(names))}, and p.NAME for the payload"
    for forms in plurals_used(source):
        if lacking := plural_names(language) - forms:
            yield f"a plural lacks {', '.join(sorted(lacking))}; write what {language} says then"
        if odd := forms - set(PLURALS):
            yield f"a plural has {', '.join(sorted(odd))}; use {', '.join(PLURALS)}"


def _plainly(error: str) -> str:
    """What Jinja says, for those who never heard of it."""
    for pattern, said in _SYNTAX:
        if found := re.search(pattern, error):
            return said.replace("NAME", found[found.lastindex]) if found.lastindex else said
    return f"{error}; correct it"


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
    """What the built-in text cannot be said without, such as a code, every headline has to say, and HTML too."""
    needed = {name for sentence in needed_values(type_name) for name in sentence}
    for form, source in texts.items():
        if form.rpartition(".")[2] not in (*_HEADLINES, "html"):
            continue
        used = [names_used(sentence) for sentence in _sentences(source)]
        if form == "email.html" and any("text" in names for names, _ in used):
            continue
        if left_out := needed - {name for _, members in used for name in members}:
            yield f"{form}: does not say {', '.join(f'p.{name}' for name in sorted(left_out))}; put it in"


def _too_long(type_name: str, texts: TypeTexts) -> Iterator[str]:
    """What all channels say, and what one says of its own."""
    yield from _too_long_in("", type_name, texts)
    for channel in CHANNEL_FORMS:
        if any(form.startswith(f"{channel}.") for form in texts):
            yield from _too_long_in(channel, type_name, of_channel(texts, channel))


def _too_long_in(channel: str, type_name: str, texts: TypeTexts) -> Iterator[str]:
    place = f"{channel}." if channel else ""
    try:
        title, headline, detail = sample(type_name, texts)
    except TemplateError as error:
        yield f"{place or 'texts'}: {error}; correct them"
        return
    headline_max = added_channel(channel).text_max if channel in ADDED else _HEADLINE_MAX.get(channel, DETAIL_MAX)
    titled, title_max = ("subject", SUBJECT_MAX) if channel == "email" else ("title", TITLE_MAX)
    limits = {
        titled: (title, title_max),
        "one, also, many": (headline, headline_max),
        "detail": (detail, DETAIL_MAX),
    }
    for form, (text, limit) in limits.items():
        if units(text) > limit:
            shown = f"{units(text)} units with the shortest values, at most {limit} are shown; shorten it"
            yield f"{place}{form}: {shown}"
        if clean(text) != text:
            yield f"{place}{form}: gives control characters; take them out"
        if form != "detail" and is_blank(text):
            yield f"{place}{form}: says nothing; write something"
