"""The token with which FCM knows us, bought from the simulator without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from connectors.providers.push.fcm_token import AccessToken, AccessTokenError, parse_grant
from connectors.providers.push.service_account import load_service_account
from connectors.providers.request import Request
from connectors.providers.transport import Response, TransportError
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from connectors.sandbox.fcm import TOKEN_LIFE_S, FcmServer
from connectors.sandbox.journal import Journal

TIMEOUT = timedelta(seconds=5)
Holding = Callable[["Wire", AccessToken], Coroutine[Any, Any, None]]


class Wire:
    """A transport to the simulator whose requests the test can count, hold up and refuse."""

    def __init__(self, server: FcmServer) -> None:
        self.requests = 0
        self.now_s = 1_000_000.0
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Response | TransportError | None = None
        self._server = server

    async def request(self, request: Request, deadline: timedelta) -> Response:
        assert deadline == TIMEOUT
        self.requests += 1
        await self.open.wait()
        if isinstance(self.fault, TransportError):
            raise self.fault
        if self.fault is not None:
            return self.fault
        answer = self._server.judge({":method": "POST", ":path": request.path, **request.headers}, request.body)
        return Response(answer.status, dict(answer.headers), answer.content)

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Holding], None]:
    files = SandboxFiles(tmp_path)
    make_certificates(files)
    account = load_service_account(files.service_account.read_bytes(), key="k")

    async def with_token(test: Holding) -> None:
        wire = Wire(FcmServer(Journal(tmp_path, "fcm"), account, clock_s=lambda: wire.now_s))
        token = AccessToken(account, wire, "/token", timeout=TIMEOUT, clock_s=lambda: wire.now_s)
        await test(wire, token)

    return lambda test: asyncio.run(with_token(test))


def test_a_token_is_bought_once_for_all_and_renewed_before_it_ends(run: Callable[[Holding], None]) -> None:
    async def test(wire: Wire, token: AccessToken) -> None:
        assert len(set(await asyncio.gather(*(token.renewed() for _ in range(50))))) == 1
        assert wire.requests == 1
        first = token.held()
        wire.now_s += TOKEN_LIFE_S - 301
        assert token.held() == first
        assert wire.requests == 1
        wire.now_s += 2
        wire.open.clear()
        assert [token.held() for _ in range(50)] == [first] * 50, "the sends do not wait for the renewal"
        await asyncio.sleep(0)
        assert wire.requests == 2
        wire.open.set()
        second = await token.renewed(refused=first)
        assert second != first
        assert token.held() == second
        assert wire.requests == 2

    run(test)


def test_a_token_that_is_refused_is_renewed_once(run: Callable[[Holding], None]) -> None:
    async def test(wire: Wire, token: AccessToken) -> None:
        first = await token.renewed()
        (second,) = set(await asyncio.gather(*(token.renewed(refused=first) for _ in range(50))))
        assert second != first
        assert wire.requests == 2
        assert await token.renewed(refused=first) == second
        assert wire.requests == 2

    run(test)


def test_a_failure_is_everybodys_and_does_not_become_a_flood(run: Callable[[Holding], None]) -> None:
    async def test(wire: Wire, token: AccessToken) -> None:
        wire.fault = TransportError("no connection", ambiguous=False)
        failed = await asyncio.gather(*(token.renewed() for _ in range(50)), return_exceptions=True)
        assert {str(one) for one in failed} == {"access token: no connection"}
        for _ in range(10):
            with pytest.raises(AccessTokenError, match="no connection"):
                await token.renewed()
        assert wire.requests == 1
        wire.fault = None
        wire.now_s += 0.6
        assert await token.renewed()
        assert wire.requests == 2

    run(test)


def test_a_failed_renewal_lets_the_old_token_be_used_to_its_end(run: Callable[[Holding], None]) -> None:
    async def test(wire: Wire, token: AccessToken) -> None:
        first = await token.renewed()
        wire.fault = Response(503)
        wire.now_s += TOKEN_LIFE_S - 60
        assert await token.renewed() == first
        await asyncio.sleep(0)
        wire.now_s += 55
        assert token.held() is None
        with pytest.raises(AccessTokenError, match="status 503"):
            await token.renewed()

    run(test)


@pytest.mark.parametrize(
    ("response", "cause"),
    [
        (
            Response(400, {}, b'{"error": "invalid_grant", "error_description": "secret"}'),
            "access token: invalid_grant",
        ),
        (Response(403, {}, b'{"error": {"code": 403}}'), "access token: status 403"),
        (Response(502, {}, b"<html>"), "access token: status 502"),
        (Response(200, {}, b'{"access_token": "secret"}'), "access token: status 200"),
        (Response(400, {}, b'{"error": "se cret!"}'), "access token: status 400"),
    ],
)
def test_a_refusal_is_told_in_words_without_secrets(response: Response, cause: str) -> None:
    with pytest.raises(AccessTokenError) as caught:
        parse_grant(response)
    assert str(caught.value) == cause


def test_an_account_that_is_refused_is_told_once_with_what_to_do(run: Callable[[Holding], None]) -> None:
    async def test(wire: Wire, token: AccessToken) -> None:
        with capture_logs() as lines:
            for word, told in (("invalid_grant", 1.0), ("invalid_grant", 1.0), ("invalid_client", 1.0), ("", 0.0)):
                wire.fault = Response(400, {}, b'{"error": "%s"}' % word.encode()) if word else None
                wire.now_s += 1
                await asyncio.gather(token.renewed(), return_exceptions=True)
                await asyncio.sleep(0)
                assert REGISTRY.get_sample_value("carillon_credential_refused", {"provider": "fcm"}) == told
        assert [(line["event"], line["cause"]) for line in lines] == [
            ("credential_refused", "access token: invalid_grant"),
            ("credential_refused", "access token: invalid_client"),
        ]
        assert "this machine's clock is wrong" in lines[0]["remedy"]
        assert "providers.fcm.service_account" in lines[1]["remedy"]

    run(test)


@pytest.mark.parametrize(
    ("status", "body", "is_told"),
    [
        (401, b'{"error": "deleted_client"}', True), (403, b'{"error": {"code": 403, "status": "DENIED"}}', True),
        (400, b'{"error": "invalid_scope"}', False), (429, b"", False), (502, b"<html>", False),
    ],
)  # fmt: skip
def test_who_is_refused_in_other_words_is_told_too(status: int, body: bytes, *, is_told: bool) -> None:
    with pytest.raises(AccessTokenError) as caught:
        parse_grant(Response(status, {}, body))
    assert bool(caught.value.remedy) is is_told


def test_a_token_endpoint_that_is_busy_says_when_to_come_back() -> None:
    with pytest.raises(AccessTokenError) as caught:
        parse_grant(Response(503, {"retry-after": "7"}))
    assert caught.value.retry_after == timedelta(seconds=7)
