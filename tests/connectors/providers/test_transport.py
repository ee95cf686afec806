"""What the HTTP client says of requests that got no answer, against a server that ends connections frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded
from h2.settings import SettingCodes, Settings
from helpers.waiting import wait_for
from hyperframe.frame import GoAwayFrame

from connectors.providers.request import Request
from connectors.providers.transport import Response, TransportError, WreqTransport

DEADLINE = timedelta(seconds=20)


class Silent(asyncio.Protocol):
    """A connection with so many streams at a time, which answers nothing."""

    def __init__(self, connections: list[Silent], streams_max: int) -> None:
        self._streams_max = streams_max
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self.read: list[int] = []
        self.opened: list[int] = []
        self._transport: asyncio.Transport | None = None
        connections.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._h2.local_settings = Settings(
            client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: self._streams_max}
        )
        self._h2.initiate_connection()
        self._transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        events = self._h2.receive_data(data)
        self.opened += [event.stream_id for event in events if isinstance(event, RequestReceived)]
        self.read += [event.stream_id for event in events if isinstance(event, StreamEnded)]
        self._transport.write(self._h2.data_to_send())

    def go_away(self, last: int | None = None, code: int = ErrorCodes.NO_ERROR) -> None:
        """What was opened, or up to `last`, is read; nothing else is."""
        assert self._transport is not None
        last = max(self.opened) if last is None else last
        self._transport.write(GoAwayFrame(0, last_stream_id=last, error_code=code).serialize())

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


@asynccontextmanager
async def _server(streams_max: int = 1) -> AsyncIterator[tuple[list[Silent], WreqTransport]]:
    connections: list[Silent] = []
    server = await asyncio.get_running_loop().create_server(lambda: Silent(connections, streams_max), "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = WreqTransport(origin, http2=True, connect_timeout=timedelta(seconds=5))
    try:
        yield connections, transport
    finally:
        await transport.close()
        for connection in connections:
            connection.close()
        server.close()


async def _one_read_one_waiting(
    connections: list[Silent], transport: WreqTransport, body: bytes, pause_s: float
) -> list[asyncio.Task[Response]]:
    """The second has no stream yet, where the client has seen how many there may be."""
    first = asyncio.create_task(transport.request(Request("/first", {}, b"{}"), DEADLINE))
    await asyncio.to_thread(wait_for, lambda: bool(connections and connections[0].read))
    second = asyncio.create_task(transport.request(Request("/second", {}, body), DEADLINE))
    await asyncio.sleep(pause_s)
    return [first, second]


async def _errors(tasks: list[asyncio.Task[Response]]) -> list[tuple[str, bool]]:
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [(each.cause, each.ambiguous) for each in found if isinstance(each, TransportError)]


async def _told_at_the_end(body: bytes) -> list[tuple[str, bool]]:
    """Of one that was read, and of one that waited for a stream, when their connection ends."""
    for pause_s in (0.1, 0.3, 1.0, 3.0):
        async with _server() as (connections, transport):
            tasks = await _one_read_one_waiting(connections, transport, body, pause_s)
            connections[0].go_away()
            await asyncio.sleep(pause_s)
            connections[0].close()
            if len(connections) == 1:
                assert connections[0].opened == connections[0].read == [1]
                return await _errors(tasks)
            await transport.close()  # the second began so late that it took another connection
            await _errors(tasks)
    raise AssertionError("it never waited")


LOST, UNREAD = ("connection lost before the answer", True), ("not read by the server", False)


def test_a_message_that_still_waited_for_a_stream_when_its_connection_went_was_not_read() -> None:
    """Messages of P1 and P2 that may have been taken are not sent again, so what was not must be known."""
    assert asyncio.run(_told_at_the_end(b"{}")) == [LOST, UNREAD]


async def _told_of_an_error(code: int) -> list[tuple[str, bool]]:
    """Of two that were read and two that were not, when the server ends their connection for an error."""
    async with _server(streams_max=10) as (connections, transport):
        tasks = []
        for number in range(4):
            tasks.append(asyncio.create_task(transport.request(Request(f"/{number}", {}, b"{}"), DEADLINE)))
            await asyncio.to_thread(wait_for, lambda: bool(connections and len(connections[0].read) == len(tasks)))
        connections[0].go_away(last=3, code=code)
        connections[0].close()
        return await _errors(tasks)


@pytest.mark.parametrize("code", [ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.INTERNAL_ERROR, 0x77])
def test_what_lies_behind_the_last_stream_of_a_goaway_with_an_error_was_not_read(code: int) -> None:
    assert asyncio.run(_told_of_an_error(code)) == [LOST, LOST, UNREAD, UNREAD]


def test_a_request_without_a_body_may_have_been_read_with_its_head() -> None:
    assert asyncio.run(_told_at_the_end(b"")) == [LOST, LOST]


def test_what_a_closed_client_drops_may_have_been_read() -> None:
    async def run() -> None:
        async with _server() as (connections, transport):
            tasks = await _one_read_one_waiting(connections, transport, b"{}", 0.1)
            await transport.close()
            assert [ambiguous for _, ambiguous in await _errors(tasks)] == [True, True]

    asyncio.run(run())
