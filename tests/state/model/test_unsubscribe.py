"""Links that only a key of ours can make, and that nobody can change."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.model.unsubscribe import LinkKeys, Unsubscription

KEY, BEFORE, OTHER = b"k" * 32, b"b" * 40, b"o" * 32
KEYS = LinkKeys([KEY])
TEXT = st.text(st.characters(), max_size=60)
LINKS = st.builds(Unsubscription, TEXT, TEXT, st.lists(TEXT, min_size=1, max_size=3).map(tuple), st.integers(0, 2**50))
ANN = Unsubscription("ann", "email", ("marketing",), 1_700_000_000_000)


@given(LINKS)
def test_a_link_comes_back_as_it_was_signed(link: Unsubscription) -> None:
    assert KEYS.read(KEYS.sign(link)) == link


@given(LINKS, LINKS)
def test_no_two_links_have_one_token(one: Unsubscription, other: Unsubscription) -> None:
    assert (KEYS.sign(one) == KEYS.sign(other)) == (one == other)


@pytest.mark.parametrize("seed", range(20))
def test_a_token_in_which_one_bit_differs_is_refused(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(50):
        user = "".join(rng.choices("abcü0-", k=rng.randrange(1, 20)))
        token = KEYS.sign(
            Unsubscription(user, "email", ("social", "marketing")[: rng.randrange(1, 3)], rng.randrange(2**45))
        )
        place, bit = rng.randrange(len(token)), rng.randrange(7)
        changed = token[:place] + chr(ord(token[place]) ^ 1 << bit) + token[place + 1 :]
        assert KEYS.read(changed) is None
        raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        assert KEYS.read(base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()) is None


def test_the_last_character_has_bits_that_say_nothing_and_count_all_the_same() -> None:
    token = next(token for n in range(9) if len(token := KEYS.sign(ANN._replace(user="a" * n))) % 4)
    same = [token[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
    assert [one for one in same if KEYS.read(one)] == [token]


@pytest.mark.parametrize("token", ["", "A", "=", "ü", "a b", "A" * 60, "A" * 61, "A" * 4000])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert KEYS.read(token) is None
    assert KEYS.read(KEYS.sign(ANN) + token) == (None if token else ANN)


def test_links_of_the_key_before_stay_good_and_those_of_another_are_not() -> None:
    old, new = LinkKeys([BEFORE]), LinkKeys([KEY, BEFORE])
    assert new.read(old.sign(ANN)) == ANN
    assert new.sign(ANN) == KEYS.sign(ANN)
    assert old.read(new.sign(ANN)) is None
    assert new.read(LinkKeys([OTHER]).sign(ANN)) is None


def test_without_keys_nothing_is_signed_and_no_token_is_good() -> None:
    assert LinkKeys(()).read(KEYS.sign(ANN)) is None
    with pytest.raises(ValueError, match="no key"):
        LinkKeys(()).sign(ANN)
