"""RFC 8291's example, padding, and that the browser of the sandbox, which shares no code with us, reads everything."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from helpers.subscriptions import RFC_KEY, RFC_SECRET, octets
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.providers.push.webpush_encryption import (
    BODY_MAX_BYTES,
    MESSAGE_MAX_BYTES,
    encrypted,
    padded,
    public_point,
    sealed,
)
from connectors.sandbox.browsers import Browsers, UndecryptableError
from state.model.subscriptions import PushAddress, read_subscription

OWN_KEY = int.from_bytes(octets("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
    "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
BROWSERS = Browsers(b"s" * 32)


def browser(name: str) -> PushAddress:
    found = read_subscription(BROWSERS.address(name, "https://push.example.com"), ["push.example.com"])
    assert isinstance(found, PushAddress)
    return found


def test_the_example_of_rfc_8291() -> None:
    own_key = ec.derive_private_key(OWN_KEY, ec.SECP256R1())
    plain, salt = b"When I grow up, I want to be a watermelon\x02", octets("DGv6ra1nlYgDCS1FRnbzlw")
    made = encrypted(plain, key=octets(RFC_KEY), secret=octets(RFC_SECRET), salt=salt, own_key=own_key)
    assert made == octets(BODY)
    assert len(made) == 144


@given(st.binary(max_size=MESSAGE_MAX_BYTES))
@settings(deadline=None, max_examples=60)
def test_the_browser_reads_what_was_sealed_for_it(message: bytes) -> None:
    one = browser("one")
    body = sealed(message, key=one.key, secret=one.secret)
    assert BROWSERS.decrypt("one", body) == message
    assert len(body) <= BODY_MAX_BYTES
    with pytest.raises(UndecryptableError):
        BROWSERS.decrypt("another", body)
    with pytest.raises(UndecryptableError):
        BROWSERS.decrypt("one", body[:-1] + bytes([body[-1] ^ 1]))


@pytest.mark.parametrize(
    ("length", "whole"), [(0, 256), (255, 256), (256, 512), (3839, 3840), (3840, 3994), (MESSAGE_MAX_BYTES, 3994)]
)
def test_a_length_says_little_of_the_text(length: int, whole: int) -> None:
    assert MESSAGE_MAX_BYTES == 3993
    plain = padded(b"x" * length)
    assert len(plain) == whole
    assert plain.rstrip(b"\0") == b"x" * length + b"\x02"


def test_what_is_too_long_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="too long"):
        padded(b"x" * (MESSAGE_MAX_BYTES + 1))


def test_each_message_has_a_key_and_a_salt_of_its_own() -> None:
    one = browser("one")
    bodies = {sealed(b"x", key=one.key, secret=one.secret) for _ in range(20)}
    assert len({body[:16] for body in bodies}) == len({body[21:86] for body in bodies}) == 20


def test_a_point_is_an_uncompressed_one() -> None:
    point = public_point(ec.generate_private_key(ec.SECP256R1()))
    assert (len(point), point[0]) == (65, 4)
