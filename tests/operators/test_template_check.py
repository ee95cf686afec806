"""What is refused when a template is published, and that every built-in text would be taken."""

import pytest

from operators.template_check import template_faults
from operators.templates import LANGUAGES, load_language
from state.model.template import TemplateSource

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
