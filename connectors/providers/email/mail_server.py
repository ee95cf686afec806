"""A mail server for mails that come back: it takes those to addresses that are ours, feedback, and nothing else.

aiosmtpd speaks the protocol. A mail is answered with 250 when what it says is done, so its sender keeps it as long as
that takes; where it cannot be done now the answer is 451, and he comes again. Nothing is stored here, sent on or
answered, so it is no relay for anybody. All mails that wait are handed on together, by one thread.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, cast

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from connectors.providers.email.feedback_loop import FeedbackLoop
from state.model.errors import ConfigurationError

SIZE_MAX_BYTES = 2 << 20
"""Of a mail. Ours are smaller, so one that returns a whole mail of ours fits."""
LINE_MAX_BYTES = 1 << 20
"""A line that goes on for longer ends its connection: aiosmtpd keeps what it has of a line until the end comes."""
CONNECTIONS_MAX = 50
"""At a time: with mails of the largest size they take 150 MB."""
_LATER = "451 4.3.0 not done yet, try again later"
_STOPPING = "421 4.3.2 shutting down, try again later"
_logger = structlog.get_logger(__name__)


class Arrived(NamedTuple):
    """A mail and its envelope."""

    sender: str
    """Empty: nobody is to be told, as of a bounce."""
    recipient: str
    raw: bytes


TakeMails = Callable[[Sequence[Arrived]], Sequence[bool]]
"""Does what mails say, durably, and says of each whether that is done; an error is no. May block."""


@dataclass(frozen=True, slots=True)
class MailServerOptions:
    """Where it listens, and how long it has patience."""

    host: str
    """Its name or address; it greets as that."""
    port: int
    """0: any that is free."""
    tls: ssl.SSLContext | None = None
    """Of its certificate; then it offers STARTTLS."""
    command_timeout: timedelta = timedelta(minutes=5)
    """From a command to the next; the command DATA lasts until its mail is answered."""
    session_max: timedelta = timedelta(minutes=15)
    """Of a connection, from its beginning."""


class MailServer:
    """For one event loop."""

    def __init__(
        self, options: MailServerOptions, is_ours: Callable[[str], bool], take: TakeMails, feedback: FeedbackLoop
    ) -> None:
        """`is_ours` tells to which recipients mail is taken, besides feedback."""
        self._options, self._is_ours, self._take, self._feedback = options, is_ours, take, feedback
        self._waiting: asyncio.Queue[tuple[Arrived, asyncio.Future[bool]]] = asyncio.Queue()
        self._open: set[_Connection] = set()
        self._draining = False
        self._server: asyncio.Server | None = None
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen, and give the port.

        :raises ConfigurationError: the address is taken, or not of this machine.
        """
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd quotes there what strangers send
        host, port = self._options.host, self._options.port
        try:
            self._server = await asyncio.get_running_loop().create_server(self._connection, host, port)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self._worker = asyncio.create_task(self._work())
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def drain(self) -> None:
        """Take no more, answer the mails that are here, and close."""
        self._draining = True
        if self._server is not None:
            self._server.close()
        await self._waiting.join()
        await asyncio.sleep(0)  # who waited for an answer writes it now
        for connection in list(self._open):
            connection.dismiss()
        if self._worker is not None:
            self._worker.cancel()

    def _connection(self) -> asyncio.Protocol:
        if self._draining or len(self._open) >= CONNECTIONS_MAX:
            return _Busy()
        return _Connection(self, self._options, self._open)

    async def _work(self) -> None:
        while True:
            mails = [await self._waiting.get()]
            while not self._waiting.empty():
                mails.append(self._waiting.get_nowait())
            try:
                done = await asyncio.to_thread(self._take, [arrived for arrived, _ in mails])
            except Exception as error:
                _logger.exception("mail_not_taken", kind=type(error).__name__, mails=len(mails))
                done = [False] * len(mails)
            for (_, answer), is_done in zip(mails, done, strict=True):
                if not answer.done():  # its sender hung up
                    answer.set_result(is_done)
                self._waiting.task_done()

    # the names for which aiosmtpd looks

    async def handle_EHLO(  # noqa: N802 - as above
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, answers: list[str]
    ) -> list[str]:
        """Nobody has a password here, but aiosmtpd offers to take one."""
        session.host_name = hostname
        return [answer for answer in answers if not answer[4:].startswith("AUTH")]

    async def handle_RCPT(  # noqa: N802 - as above
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse whoever is not ours; a bounce is about one mail, and so to one address."""
        is_feedback = self._feedback.is_it(address)
        if is_feedback and not self._feedback.has_room:
            return "452 4.3.1 too much feedback within an hour, try again later"
        if not (is_feedback or self._is_ours(address)):
            return "550 5.1.1 only mail to addresses that were signed here is taken"
        if envelope.rcpt_tos:
            return "452 4.5.3 one recipient at a time"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Answer when it is done."""
        if self._draining:
            return _STOPPING
        if self._feedback.is_it(envelope.rcpt_tos[0]):
            self._feedback.took()
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(
            (Arrived((envelope.mail_from or "").strip("<>"), envelope.rcpt_tos[0], content), answer)
        )
        return "250 2.0.0 done" if await answer else _LATER

    async def handle_exception(self, error: Exception) -> str:
        """What goes wrong in a session is nobody's business outside."""
        _logger.warning("mail_session_failed", kind=type(error).__name__)
        return _LATER


class _Connection(SMTP):
    """One connection of a client, for a bounded time."""

    line_length_limit = 1 << 16
    """Servers keep less and less to the 1 000 of RFC 5321, and a bounce that is refused is lost."""

    def __init__(self, server: MailServer, options: MailServerOptions, known: set[_Connection]) -> None:
        self._known, self._loop = known, asyncio.get_running_loop()
        self._line_bytes, self._last_byte = 0, b""
        self._ends = self._loop.call_later(options.session_max.total_seconds(), self.dismiss)
        known.add(self)
        super().__init__(
            server, hostname=options.host, ident="carillon", data_size_limit=SIZE_MAX_BYTES, enable_SMTPUTF8=True,
            tls_context=options.tls, timeout=options.command_timeout.total_seconds(),
            auth_exclude_mechanism=("LOGIN", "PLAIN"), loop=self._loop,
        )  # fmt: skip

    def data_received(self, data: bytes) -> None:
        seen = self._last_byte + data
        end = seen.rfind(b"\r\n")
        self._line_bytes = self._line_bytes + len(data) if end < 0 else len(seen) - end - 2
        self._last_byte = data[-1:]
        if self._line_bytes > LINE_MAX_BYTES:
            self.dismiss()
        else:
            super().data_received(data)

    def dismiss(self) -> None:
        """Say that it ends, and end it."""
        transport = cast("asyncio.Transport | None", self.transport)
        if transport is not None and not transport.is_closing():
            transport.write(f"{_STOPPING}\r\n".encode())
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._known.discard(self)
        self._ends.cancel()
        super().connection_lost(error)


class _Busy(asyncio.Protocol):
    """For whom there is no room."""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"421 4.3.2 too many connections, try again later\r\n")
        transport.close()
