"""What is refused when a template is published, and that every built-in text would be taken."""

import pytest

from operators.template_check import part_faults
from operators.template_check import template_faults as checked_faults
from operators.templates import LANGUAGES, load_language
from state.model.template import TemplateSource


def template_faults(type_name: str, locale: str, texts: dict[str, TemplateSource], *more: str) -> list[str]:
    """Of texts that stand alone."""
    return checked_faults((type_name, locale), {(type_name, locale): texts}, *more)


GOOD: dict[str, TemplateSource] = {"title": "T", "one": "{{ actor }} liked it"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"title": ""}, "title: is missing"),
        ({"two": "x"}, "two: there is no such form"),
        ({"one": "{{ acter }}"}, "one: unknown: acter; use actor"),
        ({"one": "{{ actor"}, "one: a {{ is not closed; put }} behind the value"),
        ({"one": "{{ actor|shout }}"}, "one: there is no filter shout; use plural"),
        ({"one": "{% if count %}x"}, "one: an {% if %} does not end; put {% endif %} where it does"),
        ({"one": "{{ some one }}"}, "one: what is between {{ and }} is no value; write one such as actor"),
        ({"one": "{% plural %}"}, "one: {% plural %} is none here; use {% if %}"),
        ({"one": "{% macro a() %}{% endmacro %}x"}, "are forbidden; correct it"),
        ({"one": "a\u202eb"}, "one: has control characters"),
        ({"one": "{{ '\\u202e' }}a"}, "gives control characters"),
        ({"title": "x" * 66}, "title: 66 units"),
        ({"many": "{{ who }}" + "x" * 240}, "one, also, many: 2"),
        ({"detail": "x" * 4_001}, "detail: 4001 units"),
        ({"detail": "x" * 8_001}, "detail: has more than 8000"),
        ({"one": "{{ 1 / 0 }}"}, "texts: template does not render"),
        ({"one": "{{ '' }}"}, "says nothing"),
        ({"one": "Call about 4111 1111 1111 1111"}, "one: has a card or social security number; take it out"),
        ({"detail": "123-45-6789"}, "detail: has a card"),
    ],
)
def test_a_fault_names_field_and_remedy(changes: dict[str, TemplateSource], fault: str) -> None:
    assert template_faults("like", "pt-BR", GOOD) == []
    (found,) = template_faults("like", "pt-BR", GOOD | changes)
    assert fault in found


def test_a_code_has_to_be_said() -> None:
    assert template_faults("otp", "pt", {"title": "T", "one": "Hi"}) == ["one: does not say p.code; put it in"]
    assert template_faults("otp", "pt", {"title": "T", "one": "Hi {{ p.code }}"}) == []


def test_a_member_is_one_of_the_schema() -> None:
    schema = '{"type": "object", "properties": {"price": {"type": "string"}}}'
    texts: dict[str, TemplateSource] = {"title": "T", "one": "{{ p.price }}", "detail": ["{{ p.prize }}"]}
    (fault,) = template_faults("like", "pt", texts, schema)
    assert fault.startswith("detail: the type's schema does not name p.prize;")
    assert template_faults("like", "pt", texts, "{}") == template_faults("like", "pt", texts) == []


def test_a_locale_is_one() -> None:
    assert template_faults("like", "default", GOOD) == []
    (fault,) = template_faults("like", "../x", GOOD)
    assert fault.startswith("locale: ")


@pytest.mark.parametrize("language", LANGUAGES)
def test_built_in_texts_pass(language: str) -> None:
    for type_name, texts in load_language(language)["types"].items():
        assert template_faults(type_name, language, texts) == [], type_name


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"push.detail": "x"}, "push.detail: there is no such form"),
        ({"fax.one": "x"}, "fax.one: there is no such form"),
        ({"push.one": "x" * 241}, "push.one, also, many: 241 units"),
        ({"sms.one": "x" * 481}, "sms.one, also, many: 481 units"),
        ({"email.subject": "x" * 151}, "email.subject: 151 units"),
        ({"email.html": "{{ body }}"}, "email.html: unknown: body"),
        ({"many": "{{ others | plural(other='#') }}"}, "many: a plural lacks"),
        ({"one": "{% include 'gone' %}"}, "one: template: imports"),
    ],
)
def test_a_fault_of_one_channel_is_told(changes: dict[str, TemplateSource], fault: str) -> None:
    (found, *_) = template_faults("like", "en", GOOD | changes)
    assert found.startswith(fault)


def test_html_says_the_code_or_the_text() -> None:
    code: dict[str, TemplateSource] = {"title": "T", "one": "{{ p.code }}"}
    assert template_faults("otp", "en", code | {"email.html": "<b>Hi</b>"}) == [
        "email.html: does not say p.code; put it in"
    ]
    assert template_faults("otp", "en", code | {"email.html": "<b>{{ text }}</b>"}) == []


def test_parts_are_checked_with_the_texts_that_have_them() -> None:
    texts: dict[str, TemplateSource] = {"title": "T", "one": '{% include "who_did" %} did'}
    parts: dict[str, TemplateSource] = {"who_did": "{{ actor }}", "layout": "<div>{{ body }}</div>"}
    everything = {("like", "pt-BR"): texts, ("_parts", "pt"): parts}
    assert checked_faults(("like", "pt-BR"), everything) == []
    assert part_faults("pt", everything) == []
    (fault,) = checked_faults(("like", "pt-BR"), everything, urgent=True)
    assert fault.startswith("one: includes a part")
    (fault,) = part_faults("pt", {("_parts", "pt"): {"layout": "x"}})
    assert fault.startswith("layout: does not say {{ body }}")


HALVES: dict[str, TemplateSource] = GOOD | {"_variants": "a 50, b 50", "b:one": "{{ actor }}!"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"_variants": "a 50, b 40"}, "_variants: have 90 percent together"),
        ({"_variants": "a 50 b 50"}, "_variants: are not written so"),
        ({"_variants": ["a 100"]}, "_variants: are not written so"),
        ({"_variants": "b 50, b 50"}, "_variants: are more than 10, or two have one name"),
        ({"_variants": ", ".join(f"{n} 1" for n in "acdefghijk") + ", b 90"}, "_variants: are more than 10"),
        ({"c:title": "C"}, "c:title: there is no variant c; name it in _variants"),
        ({"b:_variants": "a 100"}, "b:_variants: is no form that a variant has"),
        ({"a:b:title": "A"}, "a:b:title: is no form that a variant has"),
        ({"b:two": "x"}, "b:two: there is no such form"),
        ({"b:title": ""}, "b:title: is missing"),
        ({"b:one": "{{ acter }}"}, "b:one: unknown: acter"),
        ({"b:push.title": "x" * 66}, "b:push.title: 66 units"),
        ({"a:sms.one": "x" * 481}, "a:sms.one, also, many: 481 units"),
        ({"b:many": "{{ others | plural(other='#') }}"}, "b:many: a plural lacks"),
    ],
)
def test_each_variant_is_checked_as_a_text_of_its_own(changes: dict[str, TemplateSource], fault: str) -> None:
    assert template_faults("like", "en", HALVES) == []
    found = template_faults("like", "en", HALVES | changes)
    assert found[0].startswith(fault)


def test_every_variant_with_a_fault_is_told() -> None:
    wrong = HALVES | {"a:title": "x" * 66, "b:title": "x" * 67}
    assert [fault.partition(":")[0] for fault in template_faults("like", "en", wrong)] == ["a", "b"]


def test_every_variant_says_the_code_and_takes_no_part_in_it() -> None:
    code: dict[str, TemplateSource] = {"title": "T", "one": "{{ p.code }}", "_variants": "a 50, b 50"}
    assert template_faults("otp", "en", code | {"b:one": "Hi"}) == ["b:one: does not say p.code; put it in"]
    given: dict[tuple[str, str], dict[str, TemplateSource]]
    given = {("otp", "en"): code | {"b:one": "{{ p.code }} {% include 'by' %}"}, ("_parts", "en"): {"by": "by us"}}
    assert checked_faults(("otp", "en"), given) == []
    (fault,) = checked_faults(("otp", "en"), given, urgent=True)
    assert fault.startswith("b:one: includes a part")
