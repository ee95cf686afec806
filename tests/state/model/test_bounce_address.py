"""Addresses for bounces that only a key of ours can make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.model.addresses import mailbox
from state.model.bounce_address import LOCAL_MAX, BounceAddresses, endpoint_name

KEY, BEFORE, OTHER = b"k" * 32, b"b" * 80, b"o" * 32
BASE = "bounce@mail.example"
ADDRESSES = BounceAddresses(BASE, [KEY])
TEXT = st.text(max_size=300)


@given(TEXT, TEXT, st.integers(0, 2**47))
def test_an_address_names_the_registration_however_servers_fold_it(
    user: str, endpoint: str, registered_at: int
) -> None:
    address = ADDRESSES.of(user, endpoint, registered_at)
    for text in (address, f"To: <{address.upper()}>, x@y.example"):
        (found,) = ADDRESSES.read(text)
        assert (found.key, found.name, found.registered_at) == (KEY, endpoint_name(KEY, user, endpoint), registered_at)


def test_it_fits_into_the_envelope() -> None:
    local = "b" * LOCAL_MAX
    address = BounceAddresses(f"{local}@mail.example", [KEY]).of("u" * 256, "e" * 256, 2**47)
    assert len(address.partition("@")[0]) <= 64
    assert mailbox(address) == address


@pytest.mark.parametrize("place", range(38))
def test_no_letter_of_it_can_be_changed(place: int) -> None:
    address = ADDRESSES.of("ann", "m", 1_700_000_000_000)
    at = len("bounce+") + place
    for letter in "abcdefghijklmnopqrstuvwxyz234567".replace(address[at], ""):
        assert list(ADDRESSES.read(address[:at] + letter + address[at + 1 :])) == []


def test_keys_can_be_changed_and_others_make_none() -> None:
    old = BounceAddresses(BASE, [BEFORE]).of("ann", "m", 5)
    both = BounceAddresses(BASE, [KEY, BEFORE])
    (found,) = both.read(old)
    assert found.key == BEFORE
    assert both.of("ann", "m", 5) == ADDRESSES.of("ann", "m", 5)
    assert list(ADDRESSES.read(BounceAddresses(BASE, [OTHER]).of("ann", "m", 5))) == []
    assert list(ADDRESSES.read(f"x{old} bounce+@mail.example {BASE}")) == []


def test_users_and_endpoints_are_not_mixed_up() -> None:
    assert endpoint_name(KEY, "a\0b", "c") != endpoint_name(KEY, "a", "b\0c")
