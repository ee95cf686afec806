"""Which credentials are recognised: what a gateway that serves them is asked stands in `test_guard`."""

from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from helpers.console import Browser
from helpers.gateway import running
from helpers.waiting import WITHIN_S, wait_for

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


def test_a_revoked_key_opens_nothing_on_any_gateway_and_its_sessions_are_over(tmp_path: Path) -> None:
    """Within five seconds, without a restart and without Redis, also at the gateway for P0."""
    (tmp_path / "p0").mkdir()
    revoked = {"scope": "key", "reason": "stolen"}
    with running(tmp_path) as one, running(tmp_path / "p0", log=str(tmp_path), kind="p0") as p0:
        browser = Browser(one)
        browser.sign_in("key-support")
        assert browser.get("/console").status == 200
        keys = ((one, "key-support", "/v1/explain"), (one, "key-shop", "/v1/notifications/x"),
                (p0, "key-shop", "/v1/notifications/x"))  # fmt: skip
        assert 401 not in [gateway.get(path, key=key).status for gateway, key, path in keys]
        for name in ("support", "shop"):
            assert one.call("POST", "/v1/ops/kill", {**revoked, "value": name}, key="key-ops").status == 200
        revoked_s = wait_for(
            lambda: {gateway.get(path, key=key).status for gateway, key, path in keys} == {401},
            what="no gateway takes the keys",
        )  # fmt: skip
        assert browser.get("/console").status == 303, "signed out"
        assert "not known" in browser.sign_in("key-support").words
        assert one.get("/v1/ops/kill", key="key-ops").status == 200, "others go on"
        assert (
            one.call("POST", "/v1/ops/kill", {**revoked, "value": "support", "on": False}, key="key-ops").status == 200
        )
        lifted_s = wait_for(lambda: one.get("/v1/explain", key="key-support").status != 401, what="it is lifted")
        assert min(revoked_s, lifted_s) < WITHIN_S
    with running(tmp_path) as again:
        assert again.get("/v1/notifications/x").status == 401, "also after a restart"


def test_two_keys_of_a_sender_are_taken_and_with_one_its_sessions_end(tmp_path: Path) -> None:
    """A key is exchanged without a gap, and one that is taken out opens and keeps open nothing."""
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
