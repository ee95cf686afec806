"""Every language says all that there is to say, with the same values in it."""

from __future__ import annotations

import re
import tomllib
from importlib import resources

import pytest

from connectors.gateway.pages.words import LANGUAGES, words_of, words_wished
from state.model.registry import TypeProfile, load_registry

FILES = resources.files("connectors.gateway.pages")
TABLES = {name: tomllib.loads((FILES / f"{name}.toml").read_text(encoding="utf-8")) for name in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_the_same_keys_and_values(language: str) -> None:
    def shape(tables: dict[str, dict[str, str]]) -> dict[tuple[str, str], list[str]]:
        return {
            (table, key): sorted(re.findall(r"\{\w+\}", text))
            for table, texts in tables.items()
            for key, text in texts.items()
        }

    assert shape(TABLES[language]) == shape(TABLES["en"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_default_type_and_category_has_words(language: str) -> None:
    registry = load_registry()
    assert {name for name in registry.names() if not name.endswith("*")} <= TABLES[language]["types"].keys()
    assert registry.categories() <= TABLES[language]["categories"].keys()


def test_there_is_a_language_for_every_table_and_its_direction() -> None:
    tables = {file.name.removesuffix(".toml") for file in FILES.iterdir() if file.name.endswith(".toml")}
    assert tables - {"examples"} == {*LANGUAGES}
    assert [name for name in LANGUAGES if words_of(name).direction == "rtl"] == ["ar"]
    for name in ("carillon-inbox.js", "carillon-preferences.js"):  # while no gateway answers, the second has its own
        component = resources.files("connectors.gateway").joinpath("web", name).read_text("utf-8")
        assert {*re.findall(r"^  ([a-z]{2}): [{\"]", component, re.MULTILINE)} == {*LANGUAGES}, (
            "the bell speaks the same"
        )


def test_every_word_is_used() -> None:
    sources = [file.read_text(encoding="utf-8") for file in FILES.iterdir() if file.name.endswith((".html", ".py"))]
    sources += [
        file.read_text(encoding="utf-8")
        for file in resources.files("connectors.gateway").iterdir()
        if file.name.endswith("page.py")
    ]
    sources.append(resources.files("connectors.gateway").joinpath("web", "carillon-preferences.js").read_text("utf-8"))
    text = "\n".join(sources)
    assert [key for key in TABLES["en"]["page"] if f'"{key}"' not in text] == []


def test_the_configuration_names_a_type_in_each_language() -> None:
    profile = TypeProfile(name="order_shipped", names={"de": "Versand", "en": "Shipping"})
    assert [words_of(language).type(profile) for language in ("de", "en", "fr")] == ["Versand", "Shipping", "Shipping"]
    assert words_of("de").type(TypeProfile(name="like", names={"en": "Hearts"})) == "Gefällt mir"
    assert words_of("fr").type(TypeProfile(name="order_shipped")) == "Order shipped"
    assert words_of("fr").category("my_orders") == "My orders"


@pytest.mark.parametrize(
    ("wishes", "language"),
    [
        (("",), "en"),
        ((None, "fr-CH, de"), "fr"),
        (("sv", "nl;q=1, DE;q=0.5"), "de"),
        (("ar-EG",), "ar"),
        (("de", "fr"), "de"),
        ((), "en"),
    ],
)
def test_the_first_language_that_there_is_counts(wishes: tuple[str | None, ...], language: str) -> None:
    assert words_wished(*wishes).language == language
