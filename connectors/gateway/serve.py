"""Serves the gateway until SIGTERM: new connections are refused, what is in flight is finished, then exit status 0."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, cast

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from connectors.gateway.app import App
from connectors.gateway.options import GatewayOptions

_HEAD_BYTES_MAX = 64 * 1024
_LOOK_S = 0.02
_GATHERED_BYTES_MAX = 64 * 1024
_OTHER_FILES = 1024
_logger = structlog.get_logger(__name__)


class GatheringTransport:
    """Writes at the end of a turn of the loop what came in it: an answer's head and body go out together."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._bytes = 0
        self.is_closing, self.pause_reading = transport.is_closing, transport.pause_reading
        self.resume_reading = transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes > _GATHERED_BYTES_MAX:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts and not self.is_closing():  # else who waited has gone, and uvloop's transport may be closed
            self._transport.write(b"".join(self._parts))
        self._parts, self._bytes = [], 0


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 protocol with bounds on what a client may leave unfinished: it closes connections that say
    nothing, whose head is too large (431) or too slow, or whose body does not end though it was answered.
    """

    deadline_s: float
    in_head = True
    in_message = body_came = False
    frame_bytes = 0
    """Of a head, or of what is sent in place of a body's next part."""
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's own type
        super().connection_made(cast("asyncio.Transport", GatheringTransport(transport, self.loop)))
        self.timer = self.loop.call_later(self.deadline_s, self.transport.close)

    def on_message_begin(self) -> None:
        self.in_head = self.in_message = True
        self.frame_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.in_head = False
        self._stop_timer()  # the next head of a pipeline has its own time, also if this one never ends a packet
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.body_came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.in_message = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        self.body_came = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self.frame_bytes = self.frame_bytes + len(data) if self.in_message and not self.body_came else 0
        if self.frame_bytes > _HEAD_BYTES_MAX:
            self._refuse_frame()
            return
        answered = self.cycle is not None and self.cycle.response_complete  # type: ignore[redundant-expr]  # of uvicorn
        if self.in_head or (self.in_message and answered):
            self.timer = self.timer or self.loop.call_later(self.deadline_s, self.transport.close)
        else:
            self._stop_timer()
        if answered and not self.in_message and self.timeout_keep_alive_task is None:  # what came begins nothing
            handler = self.timeout_keep_alive_handler
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, handler)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _refuse_frame(self) -> None:
        if self.in_head:
            self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
        self.transport.close()


def bounded_protocol(options: GatewayOptions) -> type[asyncio.Protocol]:
    """The protocol with the deadline of the options."""

    class WithDeadline(BoundedProtocol):
        deadline_s = options.head_deadline.total_seconds()

    return WithDeadline


class _Server(uvicorn.Server):
    """Uvicorn's server, but one whose process ends with status 0 after SIGTERM, not by the signal."""

    def __init__(
        self, config: uvicorn.Config, app: App, on_ready: Callable[[int], None] | None, may_serve: Callable[[], bool]
    ) -> None:
        super().__init__(config)
        self._app, self._on_ready, self._may_serve = app, on_ready, may_serve

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.end_streams()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        while not self._may_serve():
            if self.should_exit:
                return
            await asyncio.sleep(_LOOK_S)
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])


def proxy_settings(options: GatewayOptions) -> dict[str, Any]:
    """Of uvicorn: whose word on where somebody comes from is taken."""
    proxies = options.serving.proxies
    return {"proxy_headers": bool(proxies), "forwarded_allow_ips": list(proxies)}


def _two_sockets(options: GatewayOptions, config: uvicorn.Config) -> list[socket.socket]:
    """For everybody, and for those who operate the system."""
    host = options.serving.monitor_host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return [config.bind_socket(), socket.create_server((host, options.monitor_port()), family=family)]


def _make_room_for_files(connections_max: int) -> None:
    """Each connection is an open file, of which a process often may have 1 024 until it asks for more."""
    wanted = connections_max + _OTHER_FILES
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now == resource.RLIM_INFINITY or now >= wanted:
        return
    given = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (given, most))
    if given < wanted:
        _logger.warning("too_few_open_files", wanted=wanted, given=given, effect="fewer than gateway.connections_max")


def serve(
    options: GatewayOptions,
    app: App,
    *,
    on_ready: Callable[[int], None] | None = None,
    may_serve: Callable[[], bool] = lambda: True,
) -> None:
    """Serve in the calling thread, which must be the main one, until SIGTERM or SIGINT.

    Until `may_serve` it does not listen. `on_ready` gets the port once it listens. The application is started and
    closed here; the log is the caller's.
    """
    _make_room_for_files(options.serving.connections_max)
    settings: dict[str, Any] = {
        "host": options.serving.host,
        "port": options.port,
        "loop": "uvloop",
        "http": bounded_protocol(options),
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        **proxy_settings(options),
        "backlog": 2048,
        "limit_concurrency": options.serving.connections_max,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": int(options.serving.drain_deadline.total_seconds()),
    }
    config = uvicorn.Config(app, **settings)
    _Server(config, app, on_ready, may_serve).run(_two_sockets(options, config) if options.monitor_port() else None)
    _logger.info("gateway_stopped", lane=options.kind)
