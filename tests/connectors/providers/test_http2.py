"""HTTP/2 to a server that does what the simulated ones do not: it refuses streams, takes one at a time, is silent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import cast

import ngh2
import pytest

from connectors.providers.http2 import Http2Transport
from connectors.providers.request import Request
from connectors.providers.transport import Response, TransportError
from connectors.sandbox.certificates import SandboxFiles, make_certificates

WAIT = timedelta(seconds=20)
SHORT = timedelta(seconds=0.5)
Act = Callable[["Server", int, bytes], None]


class Server(asyncio.Protocol):
    """One connection; `act` is called with the stream of each request that came in whole, and its path."""

    def __init__(self, act: Act, streams_max: int, seen: Seen) -> None:
        self._act, self._streams_max, self._seen = act, streams_max, seen
        self.http = ngh2.Connection(ngh2.Role.SERVER)
        self._paths: dict[int, bytes] = {}
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._seen.connections += 1
        self.http.initiate_connection({ngh2.Setting.MAX_CONCURRENT_STREAMS: self._streams_max})
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self._seen.is_deaf:
            return
        self._seen.reads += 1
        self.http.receive_data(data)
        for event in self.http.events():
            if isinstance(event, ngh2.RequestReceived):
                self._paths[event.stream_id] = dict(event.headers)[b":path"]
            elif isinstance(event, ngh2.DataReceived) and event.end_stream:
                path = self._paths.pop(event.stream_id)
                self._seen.paths.append(path)
                self._act(self, event.stream_id, path)
        self.flush()

    def answer(self, stream: int) -> None:
        self.http.send_response(stream, [(b":status", b"200")], end_stream=True)

    def flush(self) -> None:
        assert self.transport is not None
        self.transport.write(self.http.data_to_send())


class Seen:
    """By all connections of a server."""

    def __init__(self) -> None:
        self.connections = self.reads = 0
        self.paths: list[bytes] = []
        self.is_deaf = False


def answers(server: Server, stream: int, _path: bytes) -> None:
    server.answer(stream)


def hangs(_server: Server, _stream: int, _path: bytes) -> None:
    return


@asynccontextmanager
async def serving(
    tmp_path: Path, act: Act, *, streams_max: int = 100, ping_every: timedelta = WAIT, patience: timedelta = WAIT
) -> AsyncIterator[tuple[Http2Transport, Seen]]:
    files, seen = SandboxFiles(tmp_path), Seen()
    make_certificates(files)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.server)
    context.set_alpn_protocols(["h2"])
    listening = await asyncio.get_running_loop().create_server(
        lambda: Server(act, streams_max, seen), "127.0.0.1", 0, ssl=context
    )
    port = listening.sockets[0].getsockname()[1]
    transport = Http2Transport(
        f"https://127.0.0.1:{port}", connect_timeout=patience, ca_file=files.ca, ping_every=ping_every
    )
    try:
        yield transport, seen
    finally:
        await transport.close()
        listening.close()
        await asyncio.sleep(0.05)  # for the connections to be gone


async def outcome(transport: Http2Transport, path: str, deadline: timedelta = WAIT) -> Response | tuple[str, bool]:
    try:
        return await transport.request(Request(path, {"x-one": "1"}, b"{}"), deadline)
    except TransportError as error:
        return error.cause, error.ambiguous


def test_what_is_sent_in_one_turn_is_one_write(tmp_path: Path) -> None:
    async def run() -> tuple[int, list[object]]:
        async with serving(tmp_path, answers) as (transport, seen):
            await outcome(transport, "/first")
            before = seen.reads
            found = await asyncio.gather(*(outcome(transport, f"/{number}") for number in range(50)))
            return seen.reads - before, [each for each in found if not isinstance(each, Response)]

    reads, failed = asyncio.run(run())
    assert not failed
    assert reads <= 3, "50 requests fit into one record of TLS or two; the answers' acknowledgement is one more"


def test_a_stream_that_is_refused_is_sent_again(tmp_path: Path) -> None:
    seen_before = set[bytes]()

    def refuses_once(server: Server, stream: int, path: bytes) -> None:
        if path in seen_before:
            server.answer(stream)
        else:
            seen_before.add(path)
            server.http.reset_stream(stream, ngh2.ErrorCode.REFUSED_STREAM)

    async def run() -> list[object]:
        async with serving(tmp_path, refuses_once) as (transport, _):
            return list(await asyncio.gather(*(outcome(transport, f"/{number}") for number in range(5))))

    assert all(isinstance(each, Response) and each.status == 200 for each in asyncio.run(run()))


def test_a_stream_that_is_always_refused_was_not_read(tmp_path: Path) -> None:
    def refuses(server: Server, stream: int, _path: bytes) -> None:
        server.http.reset_stream(stream, ngh2.ErrorCode.REFUSED_STREAM)

    async def run() -> tuple[object, int]:
        async with serving(tmp_path, refuses) as (transport, seen):
            return await outcome(transport, "/a"), len(seen.paths)

    assert asyncio.run(run()) == (("not read by the server", False), 3)


def test_what_never_left_is_not_ambiguous(tmp_path: Path) -> None:
    """The server takes one stream at a time, and hangs."""

    async def run() -> tuple[list[object], list[bytes]]:
        async with serving(tmp_path, hangs, streams_max=1) as (transport, seen):
            first = asyncio.create_task(outcome(transport, "/first", SHORT))
            await asyncio.sleep(0.2)
            found = await asyncio.gather(first, *(outcome(transport, f"/{number}", SHORT) for number in range(2)))
            return list(found), seen.paths

    late = "no answer within the deadline"
    found, paths = asyncio.run(run())
    assert found[0] == (late, True)
    ambiguous = [each for each in found if each == (late, True)]
    assert len(ambiguous) == len(paths), "ambiguous is what was seen, and nothing else"


def test_a_deadline_is_each_requests_own(tmp_path: Path) -> None:
    async def run() -> tuple[list[object], float]:
        async with serving(tmp_path, hangs) as (transport, _):
            began = asyncio.get_running_loop().time()
            longer = asyncio.create_task(outcome(transport, "/long", timedelta(seconds=1)))
            await asyncio.sleep(0.2)
            found = [await outcome(transport, "/short", SHORT)]
            took = asyncio.get_running_loop().time() - began
            return [*found, await longer], took

    found, took = asyncio.run(run())
    assert found == [("no answer within the deadline", True)] * 2
    assert 0.5 < took < 1


def test_a_connection_that_died_unseen_is_found_by_its_silence(tmp_path: Path) -> None:
    async def run() -> tuple[object, object, int]:
        soon = timedelta(seconds=0.3)
        async with serving(tmp_path, answers, ping_every=soon, patience=soon * 5) as (transport, seen):
            first = await outcome(transport, "/first")
            await asyncio.sleep(1)
            assert seen.connections == 1, "pings are answered"
            seen.is_deaf = True
            lost = await outcome(transport, "/lost")
            seen.is_deaf = False
            assert isinstance(first, Response)
            return lost, await outcome(transport, "/next"), seen.connections

    lost, following, connections = asyncio.run(run())
    assert lost == ("connection lost before the answer", True)
    assert isinstance(following, Response)
    assert connections == 2


def test_what_is_cancelled_leaves_the_connection_to_the_others(tmp_path: Path) -> None:
    def hangs_once(server: Server, stream: int, path: bytes) -> None:
        if path != b"/hangs":
            server.answer(stream)

    async def run() -> tuple[object, int]:
        async with serving(tmp_path, hangs_once) as (transport, seen):
            hanging = asyncio.create_task(outcome(transport, "/hangs"))
            await asyncio.sleep(0.2)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            return await outcome(transport, "/other"), seen.connections

    found, connections = asyncio.run(run())
    assert isinstance(found, Response)
    assert connections == 1


def test_a_value_with_a_line_end_or_a_letter_beyond_ascii_is_not_sent(tmp_path: Path) -> None:
    async def run() -> list[tuple[str, bool]]:
        async with serving(tmp_path, answers) as (transport, seen):
            found: list[tuple[str, bool]] = []
            for value in ("a\nb: c", "ü"):
                with pytest.raises(TransportError) as told:
                    await transport.request(Request("/", {"x-one": value}, b"{}"), WAIT)
                found.append((told.value.cause, told.value.ambiguous))
            assert not seen.paths
            return found

    assert asyncio.run(run()) == [("request cannot be built", False)] * 2
