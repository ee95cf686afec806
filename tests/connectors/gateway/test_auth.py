"""Which credentials are recognised: what a gateway that serves them is asked stands in `test_guard`."""

from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from helpers.console import Browser
from helpers.gateway import running

from connectors.gateway.auth import Authenticator
from connectors.gateway.options import UserTokens
from connectors.gateway.problems import ProblemError

SECRET = "a secret of thirty-two bytes or more, for tests"


def test_a_session_without_an_end_is_for_those_who_configured_it() -> None:
    endless = "Bearer " + jwt.encode({"sub": "anne"}, SECRET)
    with pytest.raises(ProblemError) as raised:
        Authenticator((), UserTokens(SECRET), text_errors=lambda _path, _value: ()).recognise(endless)
    assert raised.value.status == 401
    allowing = UserTokens(SECRET, expiry_required=False)
    assert Authenticator((), allowing, text_errors=lambda _path, _value: ()).recognise(endless).name == "anne"


def test_tokens_of_the_key_before_are_taken_until_it_is_taken_out() -> None:
    """Of another kind too: who signs by a secret changes to a key pair."""
    pair = ec.generate_private_key(ec.SECP256R1())
    public = pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    claims = {"sub": "anne", "exp": 2**40}
    old, new = jwt.encode(claims, SECRET), jwt.encode(claims, pair, algorithm="ES256")
    others = [
        jwt.encode(claims, SECRET * 2), jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
        jwt.encode(claims | {"exp": 1}, SECRET), jwt.encode(claims | {"aud": "elsewhere"}, SECRET),
    ]  # fmt: skip

    def taken(users: UserTokens, token: str) -> bool:
        try:
            Authenticator((), users, text_errors=lambda _path, _value: ()).recognise(f"Bearer {token}")
        except ProblemError as problem:
            return problem.status != 401
        return True

    both = ("HS256", "ES256")
    for users, good in (
        (UserTokens(SECRET), [old]),
        (UserTokens(public, SECRET, both), [old, new]),
        (UserTokens(SECRET, public, both), [old, new]),
        (UserTokens(public, algorithms=both), [new]),
        (UserTokens("another secret of thirty-two bytes or so", SECRET), [old]),
    ):
        assert [token for token in (old, new, *others) if taken(users, token)] == good


def test_two_keys_of_a_sender_are_taken_and_with_one_its_sessions_end(tmp_path: Path) -> None:
    """FAULTS S71 and S06: a key is exchanged without a gap, and one that is taken out opens and keeps open nothing."""
    exchanged = [["ops", "ops", "ops-before"], ["ops", "ops", "ops-now"]]
    with running(tmp_path, without=["ops"], more_keys=exchanged) as gateway:
        browsers = [Browser(gateway), Browser(gateway)]
        for browser, key in zip(browsers, ("ops-before", "ops-now"), strict=True):
            assert gateway.get("/v1/ops/kill", key=key).status == 200
            browser.sign_in(key)
            assert browser.get("/console").status == 200
    with running(tmp_path, without=["ops"], more_keys=exchanged[1:]) as gateway:
        assert [gateway.get("/v1/ops/kill", key=key).status for key in ("ops-before", "ops-now")] == [401, 200]
        answers = [Browser(gateway, browser.cookie).get("/console").status for browser in browsers]
        assert answers == [303, 200]
