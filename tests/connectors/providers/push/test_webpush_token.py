"""The tokens with which push services know us: one for each, signed anew now and then."""

from __future__ import annotations

import re

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from helpers.subscriptions import octets

from connectors.providers.push.webpush_token import LIFE_S, RENEW_S, VapidTokens, application_key

KEY = ec.generate_private_key(ec.SECP256R1())
NOW_S = 1_800_000_000.5
ORIGIN = "https://push.example.com"


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S
        self.tokens = VapidTokens(KEY, "mailto:ops@example.com", clock_s=lambda: self.now_s)

    def token(self, origin: str = ORIGIN) -> str:
        found = re.fullmatch(r"vapid t=([^,]+), k=(.+)", self.tokens.authorization(origin))
        assert found is not None
        assert found[2] == application_key(KEY)
        return found[1]


def test_a_token_says_for_whom_until_when_and_who_asks() -> None:
    token = Clock().token()
    claims = jwt.decode(token, KEY.public_key(), algorithms=["ES256"], audience=ORIGIN)
    assert claims == {"aud": ORIGIN, "exp": int(NOW_S) + LIFE_S, "sub": "mailto:ops@example.com"}
    assert LIFE_S <= 24 * 3600
    assert len(octets(token.split(".")[2])) == 64, "r and s as they are, not DER"


def test_every_service_has_a_token_of_its_own() -> None:
    clock = Clock()
    one, other = clock.token(), clock.token("https://web.push.apple.com")
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(other, KEY.public_key(), algorithms=["ES256"], audience=ORIGIN)
    assert (clock.token(), clock.token("https://web.push.apple.com")) == (one, other)


def test_a_token_is_kept_for_six_hours_and_never_sent_in_its_last_six() -> None:
    clock = Clock()
    first = clock.token()
    clock.now_s += RENEW_S - 1
    assert clock.token() == first
    clock.now_s += 1
    assert clock.token() != first
    assert LIFE_S - RENEW_S == 6 * 3600


def test_a_clock_that_is_set_back_makes_a_new_token() -> None:
    """The one from the future would live for more than 24 hours as the service sees it."""
    clock = Clock()
    first = clock.token()
    clock.now_s -= 86_400
    assert clock.token() != first


def test_services_without_end_do_not_fill_the_memory() -> None:
    clock = Clock()
    for number in range(1_010):
        clock.token(f"https://s{number}.example.com")
    assert len(clock.tokens._held) <= 1_000
