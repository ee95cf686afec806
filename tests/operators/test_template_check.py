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
        ({"one": "{{ actor"}, "one: template does not parse"),
        ({"one": "{% macro a() %}{% endmacro %}x"}, "are forbidden; correct it"),
        ({"one": "a\u202eb"}, "one: has control characters"),
        ({"one": "{{ '\\u202e' }}a"}, "gives control characters"),
        ({"title": "x" * 66}, "title: 66 units"),
        ({"many": "{{ who }}" + "x" * 240}, "one, also, many: 2"),
        ({"detail": "x" * 4_001}, "detail: 4001 units"),
        ({"detail": "x" * 8_001}, "detail: has more than 8000"),
        ({"one": "{{ 1 / 0 }}"}, "texts: template does not render"),
        ({"one": "{{ '' }}"}, "says nothing"),
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
