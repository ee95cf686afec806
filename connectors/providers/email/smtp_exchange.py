"""Hands mails over on a connection that aiosmtplib has opened, secured and authenticated.

Where the server offers PIPELINING (RFC 2920), MAIL, RCPT and DATA go out in one write: one wait for the server before
the text and one behind it, in place of four; and if another mail is at hand, its commands go out with the text. No text
is written before the server asked for it, so until then it was certainly not taken. Where it offers DSN (RFC 3461), it
is told what a report must say: which mail it was and to whom we sent it, wherever it was passed on to, with the mail's
fields and without its text.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, NamedTuple, Self

from state.model.errors import CarillonError

ANSWER_MAX_BYTES = 32_768
"""With all its lines; what is longer ends the connection."""
_REST_S = 2
"""For what follows a refusal: who says no more of it has refused all the same."""
_NO_ADDRESS = re.compile(r"[\x00-\x20\x7f<>]")
_ENVELOPE_ID_MAX = 100
_EMPTY = b".\r\n"
_Step = Literal["mail", "rcpt", "data"]
_STEPS: tuple[_Step, ...] = ("mail", "rcpt", "data")


class SmtpAnswer(NamedTuple):
    """The answer that decided: at which command, with which code and text."""

    step: _Step
    code: int
    text: str


class BrokenExchangeError(CarillonError):
    """The connection ended, or the server said what nobody can understand."""


class SmtpEnvelope(NamedTuple):
    """Who sends to whom, and what a report of it calls the mail: plain characters without `<` and `>`."""

    sender: str
    recipient: str
    name: str

    def check(self) -> Self:
        """Itself.

        :raises ValueError: an address would be more than one.
        """
        if _NO_ADDRESS.search("".join(self)):
            raise ValueError("not a plain address")
        return self

    def commands(self, *, dsn: bool) -> list[bytes]:
        """What comes before the text of a mail."""
        mail, rcpt = f"MAIL FROM:<{self.sender}>", f"RCPT TO:<{self.recipient}>"
        if dsn:
            mail += f" RET=HDRS ENVID={_xtext(self.name[:_ENVELOPE_ID_MAX])}"
            rcpt += f" NOTIFY=FAILURE,DELAY ORCPT=rfc822;{_xtext(self.recipient)}"
        return [f"{mail}\r\n".encode("ascii"), f"{rcpt}\r\n".encode("ascii"), b"DATA\r\n"]


def _xtext(text: str) -> str:
    return text.replace("+", "+2B").replace("=", "+3D")


def mail_data(message: bytes) -> bytes:
    """A mail as it follows DATA: dots that begin lines are doubled, and one alone ends it (RFC 5321, 4.5.2).

    :raises ValueError: it has other line ends than CRLF, behind which some servers would look for its end.
    """
    lines = message.count(b"\r\n")
    if not (message.count(b"\n") == message.count(b"\r") == lines) or not message.endswith(b"\r\n"):
        raise ValueError("lines of a mail end in CRLF")
    return (b"." if message.startswith(b".") else b"") + message.replace(b"\r\n.", b"\r\n..") + b".\r\n"


class SmtpExchange(asyncio.Protocol):
    """One mail at a time; `step` and `ambiguous` say how far the last one came."""

    def __init__(self, transport: asyncio.Transport, *, pipelining: bool, dsn: bool) -> None:
        """Read from now on what comes there; the server has answered everything so far."""
        self._transport, self._pipelining, self._dsn = transport, pipelining, dsn
        self._buffer, self._lines = b"", list[bytes]()
        self._answers = deque[tuple[int, bytes]]()
        self._awaited = 0
        """Answers that are still to come."""
        self._heard: asyncio.Future[None] | None = None
        self.step: _Step = "mail"
        self.ambiguous = False
        """The server may have taken the mail: its text was written."""
        self.begun = False
        """The commands of a next mail were written: none but that may go."""
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether it may be used once more."""
        return not self._transport.is_closing()

    def close(self) -> None:
        """End it."""
        self._transport.close()

    async def hand_over(
        self, envelope: SmtpEnvelope, text: bytes, following: Callable[[], SmtpEnvelope | None]
    ) -> SmtpAnswer:
        """One mail, with a text by `mail_data`. `following` is asked once, right before a text, and says to whom the
        next mail here goes; then that is `begun`.

        :raises BrokenExchangeError: no answer decides; the connection is of no use any more.
        """
        self.step, self.ambiguous = "mail", False
        commands, begun, self.begun = envelope.commands(dsn=self._dsn), self.begun, False
        if self._pipelining and not begun:
            self._write(b"".join(commands), len(commands))
        for number, step in enumerate(_STEPS):
            self.step = step
            if not self._pipelining:
                self._write(commands[number], 1)
            code, said = await self._answer()
            if code == 354 if step == "data" else code // 100 == 2:
                continue
            refusal = _refusal(step, code, said)
            with suppress(BrokenExchangeError, TimeoutError):  # who refuses may close at once
                async with asyncio.timeout(_REST_S):
                    await self._skip()
            return refusal
        self.ambiguous = self.is_open  # else nothing is written: it said good bye right behind its yes
        after = following() if self._pipelining and self.is_open else None
        if after is None:
            self._write(text, 1)
        else:
            ahead = after.commands(dsn=self._dsn)
            self.begun = True
            self._write(b"".join((text, *ahead)), 1 + len(ahead))
        code, said = await self._answer()
        return SmtpAnswer("data", code, _text(said)) if code == 250 else _refusal("data", code, said)

    async def reset(self) -> bool:
        """Have the server forget a mail that it refused; false: the connection is of no use any more."""
        with suppress(BrokenExchangeError):
            self._write(b"RSET\r\n", 1)
            return (await self._answer())[0] == 250
        return False

    async def _skip(self) -> None:
        """Hear what follows a refused command. A server that asks for the text all the same gets an empty one: a mail
        to nobody, which RFC 2920 (3.1) has it refuse.
        """
        code = 0
        while self._awaited:
            code, _ = await self._answer()
        if code == 354:
            self._write(_EMPTY, 1)
            await self._answer()

    def _write(self, data: bytes, answers: int) -> None:
        if not self.is_open or self._awaited:
            raise BrokenExchangeError("closed")
        self._awaited = answers
        self._transport.write(data)

    async def _answer(self) -> tuple[int, bytes]:
        while not self._answers:
            if not self.is_open:
                raise BrokenExchangeError("closed before the answer")
            self._heard = asyncio.get_running_loop().create_future()
            await self._heard
        self._awaited -= 1
        return self._answers.popleft()

    # called by the event loop

    def data_received(self, data: bytes) -> None:
        """Lines come, perhaps in pieces."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._lines.append(line[4:].strip())
            if line[3:4] != b"-":
                code = int(line[:3]) if line[:3].isdigit() else 0
                self._answers.append((code, b"\n".join(self._lines)))
                self._lines.clear()
        too_long = len(self._buffer) + len(self._lines) + sum(map(len, self._lines)) > ANSWER_MAX_BYTES
        if too_long or len(self._answers) > self._awaited:  # unasked: a server that closes says so before
            self._transport.close()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._wake()

    def _wake(self) -> None:
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(None)


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")


def _refusal(step: _Step, code: int, said: bytes) -> SmtpAnswer:
    """The answer, if it is a refusal.

    :raises BrokenExchangeError: it is not what this command is answered with: who knows what the server heard.
    """
    if code < 400:
        raise BrokenExchangeError("an answer to something else")
    return SmtpAnswer(step, code, _text(said))
