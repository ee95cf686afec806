"""Who reaches what of a gateway: a port for those who operate it, and what is believed of a proxy."""

import asyncio
import http.client
import socket
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
import uvloop
from helpers.callers import user_call
from helpers.gateway import running
from helpers.logs import captured_logs

from connectors.gateway.many_users import MANY, ManyUsers
from connectors.gateway.options import GatewayOptions, ServeOptions, UserTokens
from connectors.gateway.serve import GatheringTransport, proxy_settings
from connectors.metrics import PREFERENCE_FLOODS
from flows.config.settings import load_settings
from infra.services import free_port
from state.model.errors import ConfigurationError


def asked(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"authorization": "Bearer key-ops"})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["ordinary", "p0"])
def test_metrics_and_documents_are_at_a_port_of_their_own_and_nothing_else_is(tmp_path: Path, kind: str) -> None:
    port = free_port()
    name = "monitor_port" if kind == "ordinary" else "p0_monitor_port"
    with running(tmp_path, kind=kind, serving={name: port}) as gateway:
        for path in ("/metrics", "/docs", "/openapi.json"):
            assert (asked(gateway.port, path), asked(port, path)) == (404, 200)
        for path in ("/healthz", "/readyz"):
            assert (asked(gateway.port, path), asked(port, path)) == (200, 200)
        for path in ("/v1/notifications/e", "/v1/ops/kill", "/console/sign-in", "/components/index.json"):
            assert asked(port, path) == 404
        assert asked(gateway.port, "/v1/notifications/e") == 403, "it is there, and not for ops"
        assert gateway.stop() == 0


def test_an_address_changes_so_much_in_a_second_where_it_is_known(tmp_path: Path) -> None:
    """Users behind a proxy that is known each have their own."""
    serving = {"proxies": ["127.0.0.1"], "address_calls_per_s": 3}

    def change(user: str, address: str) -> int:
        headers = {"x_forwarded_for": address}
        return user_call(gateway, "PATCH", "/v1/preferences", {"master": True}, user=user, **headers).status

    with running(tmp_path, serving=serving) as gateway:
        statuses = [change(f"user{number}", f"198.51.100.9, 203.0.113.{number % 2}") for number in range(40)]
        assert set(statuses) == {200, 429}
        assert change("ann", "203.0.113.77") == 200
    with running(tmp_path, serving={"address_calls_per_s": 3}) as gateway:
        assert {change(f"user{number}", "203.0.113.1") for number in range(20)} == {200}, "all seem to come from one"


def test_an_address_that_changes_the_preferences_of_many_users_is_flagged(tmp_path: Path) -> None:
    now = [3_600_000]
    many = ManyUsers(lambda: now[0], many=3)
    before = PREFERENCE_FLOODS._value.get()
    with captured_logs() as logs:
        for user in ("ann", "ann", "bob", "ann"):
            many.changes("203.0.113.1", user)
        many.changes("203.0.113.2", "cid")
        now[0] += 3_600_000
        many.changes("203.0.113.1", "cid")
        assert logs == [], "it was three users in two hours"
        for user in ("ann", "bob", "dan", "eve"):
            many.changes("203.0.113.1", user)
    assert [each["event"] for each in logs] == ["preferences_of_many_users"]
    assert "203.0.113" not in str(logs)
    assert PREFERENCE_FLOODS._value.get() == before + 1

    with running(tmp_path, serving={"proxies": ["127.0.0.1"]}) as gateway:
        for number in range(MANY):
            sent = user_call(
                gateway, "PATCH", "/v1/preferences", {"master": True}, user=f"u{number}", x_forwarded_for="203.0.113.7"
            )
            assert sent.status == 200
        assert b"carillon_preference_floods_total 1.0" in gateway.get("/metrics", key="key-ops").body


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        ((), "10.0.0.7", "203.0.113.1", "10.0.0.7"), (("10.0.0.0/24",), "10.0.0.7", "203.0.113.1", "203.0.113.1"),
        (("10.0.0.0/24",), "203.0.113.9", "198.51.100.1", "203.0.113.9"),
        (("10.0.0.7",), "10.0.0.7", "198.51.100.1, 203.0.113.1", "203.0.113.1"),
        (("10.0.0.0/24",), "10.0.0.7", "198.51.100.1, 203.0.113.1, 10.0.0.8", "203.0.113.1"),
    ],
)  # fmt: skip
def test_only_a_proxy_of_ours_says_where_somebody_comes_from(
    proxies: tuple[str, ...], peer: str, forwarded: str, client: str
) -> None:
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["client"][0])

    options = GatewayOptions(Path(), (), UserTokens(""), serving=ServeOptions(proxies=proxies))
    config = uvicorn.Config(app, **proxy_settings(options))
    config.load()
    scope: Any = {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", forwarded.encode())]}
    asyncio.run(config.loaded_app(scope, None, None))
    assert seen == [client]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MONITOR_PORT", "70000"), ("MONITOR_PORT", "8701"), ("P0_MONITOR_PORT", "8700"), ("PROXIES", "proxy.internal"),
        ("PROXIES", "10.0.0.1/8"), ("MONITOR_HOST", "1.2.3"), ("ADDRESS_CALLS_PER_S", "0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_key(key: str, value: str) -> None:
    given = {f"CARILLON_GATEWAY__{key}": value, "CARILLON_GATEWAY__PORT": "8700", "CARILLON_GATEWAY__P0_PORT": "8701"}
    with pytest.raises(ConfigurationError, match=f"gateway.{key.lower()}"):
        load_settings(environment=given)


def test_an_answer_goes_out_in_one_piece(tmp_path: Path) -> None:
    """Head and body apart were two wake-ups of whoever waits."""
    with running(tmp_path) as gateway, socket.create_connection(("127.0.0.1", gateway.port)) as client:
        for last in [b""] * 20 + [b"connection: close\r\n"]:
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n" + last + b"\r\n")
            head, _, body = client.recv(65536).partition(b"\r\n\r\n")
            assert body
            assert f"content-length: {len(body)}".encode() in head.lower()
        assert client.recv(1) == b""


def test_an_answer_to_who_has_just_gone_is_no_error_of_the_loop() -> None:
    """uvloop's transport refuses what is written once it is closed, and the loop logged that."""
    errors: list[dict[str, Any]] = []
    calls: list[str] = []

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.loop = asyncio.get_running_loop()
            self.transport = GatheringTransport(cast(asyncio.Transport, transport), self.loop)

        def eof_received(self) -> None:
            self.loop.call_soon(self.answer)

        def answer(self) -> None:
            calls.append("answer")
            self.transport.write(b"too late")

        def connection_lost(self, _exc: Exception | None) -> None:
            calls.append("lost")
            self.loop.call_later(0.01, gone.set)

    async def go() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
        await gone.wait()
        server.close()

    gone = asyncio.Event()
    uvloop.run(go())
    assert (calls, errors) == (["answer", "lost"], [])
