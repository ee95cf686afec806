"""What each channel would show of texts before anybody gets them (RULES 3.C)."""

from __future__ import annotations

import pytest

from operators.preview import NO_PRICES, WrittenTexts
from state.model.channels import CHANNELS
from state.model.registry import load_registry
from state.model.template import TextExample

SCHEMA = (
    '{"type":"object","properties":{"size":{"type":"integer"},"colour":{"enum":["red"]},"day":{"examples":["Monday"]}}}'
)
REGISTRY = load_registry({"order": {"channels": ["push", "sms"], "schema": SCHEMA}})
TEXTS = WrittenTexts(REGISTRY.profile, NO_PRICES)
ORDER = {"title": "Order", "one": "{{ p.size }} {{ p.colour }} on {{ p.day }} for {{ p.whom }}"}


def test_every_channel_shows_the_values_of_an_example() -> None:
    shown = TEXTS.preview("order", "en", ORDER, TextExample({"size": 3, "colour": "blue", "day": "May", "whom": "Bo"}))
    assert set(shown) == set(CHANNELS)
    assert shown["push"]["body"] == "3 blue on May for Bo"
    assert shown["sms"]["parts"] == 1


def test_without_an_example_values_are_those_of_the_schema_or_say_their_names() -> None:
    assert TEXTS.preview("order", "en", ORDER, TextExample())["push"]["body"] == "1 red on Monday for whom"


def test_texts_of_a_type_that_nobody_registered_are_refused() -> None:
    assert TEXTS.faults(("order", "en"), {("order", "en"): {**ORDER, "one": "{{ p.size }}"}}) == []
    (fault,) = TEXTS.faults(("unheard", "en"), {("unheard", "en"): ORDER})
    assert "no type is named unheard" in fault


@pytest.mark.parametrize("locale", ["en", "de-AT", "xx"])
def test_the_built_in_texts_are_of_the_language_or_english(locale: str) -> None:
    assert {"title", "one"} <= set(TEXTS.built_in("like", locale))
