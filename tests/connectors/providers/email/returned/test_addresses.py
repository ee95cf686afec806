"""Addresses within texts, as languages set them apart."""

from __future__ import annotations

import pytest

from connectors.providers.email.returned.addresses import addresses_in

ANN = "ann@there.example"


@pytest.mark.parametrize(
    "text",
    [
        f"\u6536\u4ef6\u4eba\uff1a{ANN}",
        f"\u5b9b\u5148\uff08{ANN}\uff09",
        f"\u300c{ANN}\u300d\u3067\u3059",
        f"\uff1c{ANN}\uff1e\u3002",
        f"\u201c{ANN}\u201d",
        f"{ANN}\uff0c\u9000\u4fe1",
        f"'{ANN}':",
        f"{ANN}: User unknown",
        f"<@relay.example,@other.example:{ANN}>",
    ],
)
def test_what_sets_an_address_apart_is_none_of_it(text: str) -> None:
    assert addresses_in(text) == [ANN]


def test_letters_of_any_script_are() -> None:
    assert addresses_in("To: \u5b89\u5a1c@\u4f8b\u5b50.example.") == ["\u5b89\u5a1c@\u4f8b\u5b50.example"]
