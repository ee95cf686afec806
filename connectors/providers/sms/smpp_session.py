"""One bound connection to an SMSC: many messages at once, each answered or given up in time.

A session ends with its connection, when the SMSC unbinds, when it writes what is no PDU, and when it says nothing to
enquire_link. Whatever was written and not answered by then raises SessionEnded: it may have been taken. An SMSC that
unbinds has moments to answer what it had taken, so that it is not sent again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from connectors.providers.sms.smpp_options import SmppOptions
from connectors.providers.sms.smpp_pdu import (
    ANSWER,
    BIND_TRANSCEIVER,
    BIND_TRANSMITTER,
    DELIVER_SM,
    ENQUIRE_LINK,
    GENERIC_NACK,
    LATER,
    OK,
    UNBIND,
    Bind,
    Pdu,
    PduReader,
    c_text,
)
from state.model.errors import CarillonError, MalformedRecordError

OnMessage = Callable[[bytes], Awaitable[int]]
"""Takes the body of a deliver_sm and gives the command_status to answer."""
TAKING_MAX = 1_000
"""Messages of the SMSC that are taken at once; it is to say what is more later."""
_READ_BYTES = 65_536
_UNBIND_S = 2.0
_UNKNOWN_COMMAND = 0x03
_SEQUENCES = 0x7FFFFFFF


class SessionEnded(CarillonError):  # noqa: N818 - what became of it; the answer is what is missing
    """The connection ended before the answer; `written`: the SMSC may have read the PDU."""

    def __init__(self, *, written: bool) -> None:
        super().__init__("connection lost" if written else "no connection")
        self.written = written


class BindRefused(CarillonError):  # noqa: N818 - as above
    """The SMSC knows no such account, or has no place for it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"bind {status:#x}")
        self.status = status


async def open_session(options: SmppOptions, tls: ssl.SSLContext | None, on_message: OnMessage) -> SmscSession:
    """Connect and bind, within the options' connect_timeout: as a transceiver where receipts are asked for, which the
    SMSC may hand to anybody who is bound so; otherwise as a transmitter, to whom it hands nothing.

    :raises BindRefused, SessionEnded, OSError, TimeoutError: there is no session.
    """
    kind = BIND_TRANSCEIVER if options.receipts else BIND_TRANSMITTER
    async with asyncio.timeout(options.connect_timeout.total_seconds()):
        reader, writer = await asyncio.open_connection(options.host, options.port, ssl=tls)
        session = SmscSession(reader, writer, on_message)
        try:
            bind = Bind(options.system_id, options.password, options.system_type)
            answer = await session.request(kind, bind.encode(), options.connect_timeout)
            if answer.status != OK:
                raise BindRefused(answer.status)
        except BaseException:
            session.abort()
            raise
    session.watch(options.enquire_every, options.timeout)
    return session


class SmscSession:
    """See the module; for one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_message: OnMessage) -> None:
        self._reader, self._writer, self._on_message = reader, writer, on_message
        self._answers: dict[int, asyncio.Future[Pdu]] = {}
        self._sequence = 0
        self._heard_s = asyncio.get_running_loop().time()
        self._taking = 0
        self.ended = asyncio.Event()
        """Nothing can be asked any more."""
        self._tasks = {asyncio.create_task(self._read())}

    async def request(self, command: int, body: bytes, within: timedelta) -> Pdu:
        """Write and wait for the answer.

        :raises SessionEnded: there is none, and none will come.
        :raises TimeoutError: there is none yet; a later one is dropped.
        """
        if self.ended.is_set() or self._writer.is_closing():
            raise SessionEnded(written=False)
        self._sequence = self._sequence % _SEQUENCES + 1
        sequence = self._sequence
        answer = self._answers[sequence] = asyncio.get_running_loop().create_future()
        self._writer.write(Pdu(command, OK, sequence, body).encode())
        try:
            async with asyncio.timeout(within.total_seconds()):
                found: Pdu = await answer
                return found
        finally:
            self._answers.pop(sequence, None)

    def watch(self, every: timedelta, within: timedelta) -> None:
        """From now on ask an SMSC that is silent whether it is there."""
        self._tasks.add(asyncio.create_task(self._enquire(every, within)))

    async def close(self) -> None:
        """Unbind, wait for the word to that for moments, and end."""
        with suppress(SessionEnded, TimeoutError):  # gone already, or too slow to say good-bye
            await self.request(UNBIND, b"", timedelta(seconds=_UNBIND_S))
        self.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def abort(self) -> None:
        """End at once."""
        self._end()
        for task in list(self._tasks):
            task.cancel()

    def _end(self, *, politely: bool = False) -> None:
        self.ended.set()
        if politely:
            self._writer.close()
        else:
            self._writer.transport.abort()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(SessionEnded(written=True))

    async def _read(self) -> None:
        pdus = PduReader()
        try:
            while data := await self._reader.read(_READ_BYTES):
                self._heard_s = asyncio.get_running_loop().time()
                for pdu in pdus.feed(data):
                    await self._handle(pdu)
        except (OSError, MalformedRecordError):
            pass  # the session ends either way
        finally:
            self._end(politely=True)

    async def _handle(self, pdu: Pdu) -> None:
        if pdu.command & ANSWER:
            answer = self._answers.get(pdu.sequence)
            if answer is not None and not answer.done():
                answer.set_result(pdu)
        elif pdu.command == DELIVER_SM:
            if self._taking >= TAKING_MAX:
                self._answer(pdu, LATER, c_text(""))
                await self._writer.drain()  # who does not read our answers is not read
                return
            self._taking += 1
            task = asyncio.create_task(self._take(pdu))  # answers to our own requests do not wait for it
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif pdu.command == ENQUIRE_LINK:
            self._answer(pdu)
        elif pdu.command == UNBIND:
            self._answer(pdu)
            self.ended.set()
            self._tasks.add(asyncio.create_task(self._wait_for_answers()))
        else:
            self._writer.write(Pdu(GENERIC_NACK, _UNKNOWN_COMMAND, pdu.sequence).encode())

    async def _wait_for_answers(self) -> None:
        if waiting := list(self._answers.values()):
            await asyncio.wait(waiting, timeout=_UNBIND_S)
        self._end(politely=True)

    async def _take(self, pdu: Pdu) -> None:
        try:
            self._answer(pdu, await self._on_message(pdu.body), c_text(""))
        finally:
            self._taking -= 1

    def _answer(self, pdu: Pdu, status: int = OK, body: bytes = b"") -> None:
        if not self._writer.is_closing():
            self._writer.write(Pdu(pdu.command | ANSWER, status, pdu.sequence, body).encode())

    async def _enquire(self, every: timedelta, within: timedelta) -> None:
        while not self.ended.is_set():
            silent_s = asyncio.get_running_loop().time() - self._heard_s
            if silent_s < every.total_seconds():
                await asyncio.sleep(every.total_seconds() - silent_s)
                continue
            try:
                await self.request(ENQUIRE_LINK, b"", within)
            except (SessionEnded, TimeoutError):
                self._end()
