"""Who gets which variant of a text (RULES 3.C)."""

from __future__ import annotations

from collections import Counter

import pytest

from state.model.template import TypeTexts
from state.model.variants import of_variant, shares_of, variant_of

USERS = [f"user{number}" for number in range(20_000)]


def texts(shares: str) -> TypeTexts:
    return {"title": "T", "one": "1", "_variants": shares, "b:one": "2", "b:push.one": "3"}


@pytest.mark.parametrize(
    ("shares", "ann", "eve"), [("a 50, b 50", "a", "b"), ("a 30, b 70", "b", "b"), ("a 36,b 53,c 11", "b", "c")]
)
def test_the_example_of_the_rules(shares: str, ann: str, eve: str) -> None:
    assert (variant_of(texts(shares), "newsletter", "ann"), variant_of(texts(shares), "newsletter", "eve")) == (
        ann,
        eve,
    )


@pytest.mark.parametrize("shares", ["a 50, b 50", "a 1, b 9, c 90", "new 100, old 0"])
def test_shares_are_met_and_each_type_has_other_people(shares: str) -> None:
    wanted = shares_of(texts(shares))
    found = Counter(variant_of(texts(shares), "like", user) for user in USERS)
    for name, percent in wanted:
        assert abs(found[name] - percent * 200) < 250, "four times what chance makes of a half"
    both = sum(variant_of(texts("a 50, b 50"), kind, user) == "a" for user in USERS for kind in ("like", "share"))
    same = sum(
        variant_of(texts("a 50, b 50"), "like", user) == variant_of(texts("a 50, b 50"), "share", user) == "a"
        for user in USERS
    )
    assert abs(same - both / 4) < 250


def test_whoever_has_the_first_variant_keeps_it_while_its_share_grows() -> None:
    for user in USERS[:2_000]:
        if variant_of(texts("a 20, b 80"), "like", user) == "a":
            assert variant_of(texts("a 60, b 40"), "like", user) == "a"


@pytest.mark.parametrize("said", ["", "a", "a 50 b 50", "a 50, , b 50", "a-1 100", "a 5.5", "a 1000", "a" * 17 + " 1"])
def test_what_is_written_in_another_way_has_no_variants(said: str) -> None:
    assert shares_of(texts(said)) == ()
    assert variant_of(texts(said), "like", "ann") is None


def test_a_variant_says_its_own_and_else_what_all_say() -> None:
    plain = texts("a 50, b 50")
    assert of_variant(plain, "a") == of_variant(plain, None) == plain
    of_b = of_variant(plain, "b")
    assert (of_b["title"], of_b["one"], of_b["push.one"]) == ("T", "2", "3")
