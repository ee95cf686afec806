"""The page of types: each key is explained, and what was typed stays where it is refused."""

import pytest
from helpers.console import signed_in
from helpers.gateway import Gateway

from connectors.console.types import MEANS
from state.model.registry import TypeProfile

PAGE = "/console/types"


def test_every_key_of_a_type_is_explained(told: Gateway) -> None:
    assert set(MEANS) == set(TypeProfile.__struct_fields__) - {"name", "registered"}
    words = signed_in(told, "ops").get(f"{PAGE}?name=comment").words
    assert "digest yes whether its mail waits for the daily one" in words
    assert "owners none senders that may send it" in words


def test_what_a_type_says_is_a_link_for_those_who_may_look(told: Gateway) -> None:
    link = "/console/templates?type=comment&amp;locale=default"
    assert link in signed_in(told, "marketing").get(f"{PAGE}?name=comment").text
    assert link not in signed_in(told, "ops").get(f"{PAGE}?name=comment").text


@pytest.mark.parametrize(
    ("table", "says"), [("{", "must be a JSON object"), ('{"klass": "P9"}', "klass"), ('{"colour": 1}', "colour")]
)
@pytest.mark.parametrize("act", ["publish", "try"])
def test_a_table_that_is_refused_stays_as_it_was_typed(told: Gateway, act: str, table: str, says: str) -> None:
    form = {"name": "comment", "act": act, "version": "0", "table": table, "reason": "louder"}
    seen = signed_in(told, "ops").submit(f"{PAGE}?name=comment", PAGE, form)
    assert seen.status == 400
    assert says in seen.words
    assert "Nothing was published" in seen.words
    assert table in seen.words, "what was typed"
    assert 'value="louder"' in seen.text
