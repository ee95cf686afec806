"""Requests to strangers' addresses reach nothing of ours, and end whatever the other side does."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.waiting import wait_for

from connectors.providers.egress import AGE_MAX, IDLE_MAX, Egress, Resolve, Resolver
from connectors.providers.options import EgressOptions
from connectors.providers.request import Request
from connectors.providers.transport import ANSWER_MAX_BYTES, Response, TransportError
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from state.model.errors import ConfigurationError
from state.model.web_address import parse_url

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LAST = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
SECONDS_10 = timedelta(seconds=10)
Answer = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


@dataclass
class Receiver:
    """A server that counts connections and keeps the requests that came."""

    port: int
    connections: int
    requests: list[bytes]
    ended: int = 0
    """Connections that the other side closed."""


@asynccontextmanager
async def receiver(
    answer: bytes | Answer = OK, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    found, writers = Receiver(0, 0, []), set[asyncio.StreamWriter]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                found.requests.append(head + await reader.readexactly(length))
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(writer, found.requests[-1])
        except (asyncio.IncompleteReadError, ConnectionError):
            found.ended += 1
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


def answers(*rounds: Sequence[str]) -> Resolve:
    """A resolver that gives one answer after the other, again and again."""
    calls = iter(range(1_000_000))

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return rounds[next(calls) % len(rounds)]

    return resolve


def options(port: int, *networks: str, **changes: Any) -> EgressOptions:
    """As tests on loopback need them."""
    values: dict[str, Any] = {"ports": (port,), "plain_http": True, "private_networks": networks or ("127.0.0.1/32",)}
    return EgressOptions(**(values | changes))


async def post(
    egress: Egress, url: str, deadline: timedelta = SECONDS_10, headers: dict[str, str] | None = None
) -> Response:
    found = parse_url(url)
    assert found is not None
    return await egress.request(found, Request(found.target, headers or {}, b"body"), deadline)


async def outcome(egress: Egress, url: str, deadline: timedelta = SECONDS_10) -> tuple[str, bool] | int:
    """Cause and ambiguity of a failure, or the status."""
    try:
        return (await post(egress, url, deadline)).status
    except TransportError as error:
        return error.cause, error.ambiguous


NOT_ALLOWED = ("address not allowed", False)
NO_CONNECTION = ("no connection", False)
LOST = ("connection lost before the answer", True)
TOO_LATE = ("no answer within the deadline", True)


def test_a_name_that_moves_to_this_machine_after_the_check_reaches_nothing_of_it() -> None:
    """DNS rebinding: the first answer may be reached, the second may not, a thousand times."""

    async def run() -> None:
        async with receiver(LAST, host="127.0.0.2") as good, receiver(host="127.0.0.1", port=good.port) as canary:
            egress = Egress(options(good.port, "127.0.0.2/32"), resolve=answers(["127.0.0.2"], ["127.0.0.1"]))
            results = [await outcome(egress, f"http://hooks.example.com:{good.port}/x") for _ in range(1000)]
            await egress.close()
            assert results == [200, NOT_ALLOWED] * 500
            assert (good.connections, canary.connections) == (500, 0)

    asyncio.run(run())


def test_names_that_get_no_answer_hold_up_no_other_connection() -> None:
    """Those of our providers are resolved by the loop, which has few threads for it."""
    over = threading.Event()

    def unanswered(*_asked: object, **_how: object) -> Sequence[tuple[object, ...]]:
        assert over.wait(60)
        raise socket.gaierror

    async def run() -> None:
        egress, loop = Egress(EgressOptions(), resolve=Resolver(unanswered)), asyncio.get_running_loop()
        asked = [asyncio.create_task(outcome(egress, f"https://n{n}.silent.example/")) for n in range(100)]
        try:
            await asyncio.sleep(0)  # they begin
            async with asyncio.timeout(8):
                assert await loop.getaddrinfo("localhost", 443)
        finally:
            over.set()
        assert set(await asyncio.gather(*asked)) == {("no such host", False)}

    asyncio.run(run())


def test_one_address_that_is_not_allowed_condemns_the_others() -> None:
    async def run() -> None:
        async with receiver() as server:
            for found in (["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "fe80::1%1"]):
                egress = Egress(options(server.port), resolve=answers(found))
                assert await outcome(egress, f"http://hooks.example.com:{server.port}/") == NOT_ALLOWED
            assert server.connections == 0

    asyncio.run(run())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
def test_by_default_this_machine_is_not_reached_under_any_name(host: str) -> None:
    async def run() -> None:
        async with receiver() as server:
            egress = Egress(EgressOptions(ports=(server.port,), plain_http=True))
            assert await outcome(egress, f"http://{host}:{server.port}/") == NOT_ALLOWED
            assert server.connections == 0

    asyncio.run(run())


def test_scheme_port_and_networks_are_as_configured() -> None:
    async def run() -> None:
        async with receiver() as server:
            url = f"http://127.0.0.1:{server.port}/"
            for changes in ({"plain_http": False}, {"ports": (443,)}, {"refused_networks": ("127.0.0.0/8",)}):
                assert await outcome(Egress(options(server.port, **changes)), url) == NOT_ALLOWED
            assert await outcome(Egress(options(server.port)), url) == 200
            assert server.connections == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    "changes",
    [
        {"ports": ()}, {"ports": (0,)}, {"private_networks": ("10.0.0.1/8",)}, {"refused_networks": ("here",)},
        {"ca_file": Path("nowhere.pem")},
    ],
)  # fmt: skip
def test_an_option_that_is_none_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"egress.{next(iter(changes))}"):
        Egress(EgressOptions(**changes))


def test_the_request_arrives_as_it_is_and_no_proxy_of_the_environment_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with receiver() as server, receiver() as proxy:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            egress = Egress(options(server.port), resolve=answers(["127.0.0.1"]))
            response = await post(egress, f"http://hooks.example.com:{server.port}/a?b=c", headers={"x-own": "1"})
            assert (response.status, response.body) == (200, b"ok")
            assert proxy.connections == 0
            head, body = server.requests[0].split(b"\r\n\r\n")
            assert head.split(b"\r\n")[0] == b"POST /a?b=c HTTP/1.1"
            assert f"host: hooks.example.com:{server.port}".encode() in head.split(b"\r\n")
            assert b"x-own: 1" in head.split(b"\r\n")
            assert body == b"body"
            with pytest.raises(TransportError, match="cannot be built"):
                await post(egress, f"http://127.0.0.1:{server.port}/", headers={"x-own": "1\r\nx-other: 2"})
            await egress.close()

    asyncio.run(run())


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async def run() -> None:
        async with receiver() as canary:
            head = f"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{canary.port}/\r\ncontent-length: 0\r\n\r\n"
            async with receiver(head.encode()) as server:
                egress = Egress(options(server.port, ports=(server.port, canary.port)))
                assert await outcome(egress, f"http://127.0.0.1:{server.port}/") == 302
                assert canary.connections == 0
                await egress.close()

    asyncio.run(run())


def test_an_answer_is_bounded_and_not_decompressed() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)

    async def endless(writer: asyncio.StreamWriter, _request: bytes) -> None:
        writer.write(b"HTTP/1.1 503 Down\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            await writer.drain()

    async def run() -> None:
        async with receiver(head + bomb) as packed, receiver(endless) as flood:
            egress = Egress(options(packed.port, ports=(packed.port, flood.port)))
            assert (await post(egress, f"http://127.0.0.1:{packed.port}/")).body == bomb
            assert b"accept-encoding: identity" in packed.requests[0]
            response = await post(egress, f"http://127.0.0.1:{flood.port}/")
            assert (response.status, len(response.body)) == (503, ANSWER_MAX_BYTES)
            await egress.close()

    asyncio.run(run())


async def _nothing(_writer: asyncio.StreamWriter, _request: bytes) -> None:
    await asyncio.sleep(60)


async def _hang_up(writer: asyncio.StreamWriter, _request: bytes) -> None:
    writer.transport.abort()


async def _nonsense(writer: asyncio.StreamWriter, _request: bytes) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n")


async def _headers_for_ever(writer: asyncio.StreamWriter, _request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        writer.write(b"x-%d: %s\r\n" % (number, b"y" * 1000))
        await writer.drain()


async def _byte_by_byte(writer: asyncio.StreamWriter, _request: bytes) -> None:
    for byte in OK:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.2)


async def _body_cut(writer: asyncio.StreamWriter, _request: bytes) -> None:
    writer.write(b"HTTP/1.1 410 Gone\r\ncontent-length: 9\r\n\r\nno")
    await writer.drain()
    writer.close()


async def _body_too_late(writer: asyncio.StreamWriter, _request: bytes) -> None:
    writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\nno")
    await asyncio.sleep(60)


_SLOW = (_nothing, _byte_by_byte, _body_too_late)


async def _another_protocol(writer: asyncio.StreamWriter, _request: bytes) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")


async def _until_the_end(writer: asyncio.StreamWriter, _request: bytes) -> None:
    writer.write(b"HTTP/1.0 201 Created\r\n\r\nok")
    await writer.drain()
    writer.close()


async def _first_something_else(writer: asyncio.StreamWriter, _request: bytes) -> None:
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + OK)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_nothing, TOO_LATE), (_byte_by_byte, TOO_LATE), (_hang_up, LOST), (_nonsense, LOST), (_headers_for_ever, LOST),
        (_another_protocol, LOST), (_body_cut, 410), (_body_too_late, 201), (_until_the_end, 201),
        (_first_something_else, 200),
    ],
)  # fmt: skip
def test_whatever_the_other_side_does_the_request_ends(answer: Answer, expected: object) -> None:
    errors: list[dict[str, Any]] = []
    patience = timedelta(seconds=1 if answer in _SLOW else 60)

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, error: errors.append(error))
        async with receiver(answer) as server:
            egress = Egress(options(server.port))
            began = time.monotonic()
            assert await outcome(egress, f"http://127.0.0.1:{server.port}/", patience) == expected
            assert time.monotonic() - began < 40
            assert len(server.requests) == 1
            await egress.close()

    asyncio.run(run())
    assert not [error for error in errors if "_EgressConnection" in str(error)], "nothing of it is an error of ours"


def test_without_a_connection_nothing_was_sent() -> None:
    async def run() -> None:
        async with receiver() as server:
            port = server.port

        async def unknown(_host: str, _port: int) -> Sequence[str]:
            raise OSError(-2, "unknown")

        egress = Egress(options(port), resolve=unknown)
        assert await outcome(egress, f"http://127.0.0.1:{port}/") == NO_CONNECTION
        assert await outcome(egress, f"http://hooks.example.com:{port}/") == ("no such host", False)
        egress = Egress(options(port), resolve=answers([]))
        assert await outcome(egress, f"http://hooks.example.com:{port}/") == NO_CONNECTION

    asyncio.run(run())


def test_a_second_address_is_tried_where_the_first_does_not_answer() -> None:
    async def run() -> None:
        async with receiver(host="127.0.0.2") as server:
            egress = Egress(options(server.port, "127.0.0.0/8"), resolve=answers(["127.0.0.3", "127.0.0.2"]))
            assert await outcome(egress, f"http://hooks.example.com:{server.port}/") == 200
            await egress.close()

    asyncio.run(run())


def test_a_connection_is_used_again_for_a_while_and_never_by_another_host() -> None:
    async def run() -> None:
        async with receiver() as server:
            egress = Egress(options(server.port), resolve=answers(["127.0.0.1"]))
            first, second = (f"http://{name}.example.com:{server.port}/" for name in ("a", "b"))
            assert [await outcome(egress, url) for url in (first, first, second, first)] == [200] * 4
            assert server.connections == 2
            assert timedelta() < IDLE_MAX < AGE_MAX
            await asyncio.to_thread(wait_for, lambda: server.ended == 2)
            assert await outcome(egress, first) == 200
            assert server.connections == 3
            await egress.close()

    asyncio.run(run())


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async def run() -> None:
        async def once(writer: asyncio.StreamWriter, _request: bytes) -> None:
            writer.write(OK)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with receiver(once) as server:
            egress = Egress(options(server.port))
            for _ in range(5):
                assert await outcome(egress, f"http://127.0.0.1:{server.port}/") == 200
                await asyncio.to_thread(wait_for, lambda: not egress._all)
            assert server.connections == 5
            await egress.close()

    asyncio.run(run())


def test_requests_in_progress_end_as_ambiguous_when_it_closes() -> None:
    async def run() -> None:
        async with receiver(_nothing) as server:
            egress = Egress(options(server.port))
            sending = asyncio.create_task(outcome(egress, f"http://127.0.0.1:{server.port}/"))
            await asyncio.to_thread(wait_for, lambda: bool(server.requests))
            await egress.close()
            assert await sending == LOST

    asyncio.run(run())


def test_tls_is_verified_against_the_host_of_the_url(tmp_path: Path) -> None:
    files = SandboxFiles(tmp_path)
    make_certificates(files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server)

    async def run() -> None:
        async with receiver(tls=context) as server:
            trusting = options(server.port, plain_http=False, ca_file=files.ca)
            for url, wanted, expected in (
                (f"https://127.0.0.1:{server.port}/", trusting, 200),
                (f"https://localhost:{server.port}/", trusting, 200),
                (f"https://hooks.example.com:{server.port}/", trusting, NO_CONNECTION),
                (f"https://127.0.0.1:{server.port}/", options(server.port), NO_CONNECTION),
            ):
                egress = Egress(wanted, resolve=answers(["127.0.0.1"]))
                assert await outcome(egress, url) == expected
                await egress.close()
            assert len(server.requests) == 2

    asyncio.run(run())


def test_a_server_that_does_not_speak_tls_holds_nobody_up() -> None:
    async def run() -> None:
        async with receiver() as server:
            egress = Egress(options(server.port, connect_timeout=timedelta(seconds=1)))
            assert await outcome(egress, f"https://127.0.0.1:{server.port}/", SECONDS_10) == NO_CONNECTION

    asyncio.run(run())
