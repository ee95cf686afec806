"""The server for mails that come back, by clients over real sockets: whom it takes, when it says so, its bounds."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from helpers.waiting import wait_for

from connectors.providers.email.feedback_loop import FeedbackLoop, FeedbackOptions
from connectors.providers.email.mail_server import (
    CONNECTIONS_MAX,
    LINE_MAX_BYTES,
    SIZE_MAX_BYTES,
    Arrived,
    MailServer,
    MailServerOptions,
)
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from state.model.errors import ConfigurationError, LogUnavailableError

OURS, MAIL = "bounce+token@ours.example", b"From: a@b.example\r\n\r\nHi\r\n"


class Intake:
    """What is done with mails: nothing, until the test lets it."""

    def __init__(self) -> None:
        self.mails: list[Arrived] = []
        self.answers: list[bool | Exception] = []
        self.go, self.batches = threading.Event(), list[int]()
        self.go.set()

    def take(self, mails: Sequence[Arrived]) -> list[bool]:
        self.batches.append(len(mails))
        assert self.go.wait(60)
        self.mails.extend(mails)
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return [answer] * len(mails)


LOOP = FeedbackLoop(FeedbackOptions(), lambda: 0.0)


@asynccontextmanager
async def server_of(intake: Intake, **changed: Any) -> AsyncIterator[tuple[MailServer, int]]:
    server = MailServer(replace(MailServerOptions("127.0.0.1", 0), **changed), lambda to: to == OURS, intake.take, LOOP)
    port = await server.start()
    try:
        yield server, port
    finally:
        intake.go.set()
        await server.drain()


def client_of(port: int) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(hostname="127.0.0.1", port=port, timeout=60, start_tls=False)


async def code_of(call: Any) -> int:
    try:
        answer = await call
    except aiosmtplib.SMTPResponseException as error:
        return error.code
    return int(answer.code)


async def until(is_so: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_for, is_so)


def test_it_takes_mail_to_ours_from_anybody_and_nothing_else() -> None:
    async def run() -> list[int]:
        async with server_of(intake) as (_, port), client_of(port) as client:
            said = []
            for sender in ("", "fbl@there.example"):
                await client.mail(sender)
                said += [await code_of(client.rcpt(to)) for to in ("ann@there.example", f"x{OURS}", OURS, OURS)]
                said.append(await code_of(client.data(MAIL)))
            said.append(await code_of(client.mail("")))
            said.append(await code_of(client.rcpt("somebody@elsewhere.example")))
            return [*said, await code_of(client.data(MAIL))]

    intake = Intake()
    assert asyncio.run(run()) == [550, 550, 250, 452, 250] * 2 + [250, 550, 503]
    assert intake.mails == [Arrived("", OURS, MAIL), Arrived("fbl@there.example", OURS, MAIL)]


def endless_line(port: int, piece: bytes) -> bytes:
    """What is answered to a mail whose line does not end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client, client.makefile("rb") as answers:
        for said in (b"EHLO x", b"MAIL FROM:<>", f"RCPT TO:<{OURS}>".encode(), b"DATA"):
            while not answers.readline()[3:4].isspace():
                pass
            client.sendall(said + b"\r\n")
        answers.readline()
        try:
            for _ in range(4 * LINE_MAX_BYTES // len(piece)):
                client.sendall(piece)
            client.sendall(b"\r\n.\r\n")
            return answers.readline()
        except ConnectionError:
            return b"hung up"


@pytest.mark.parametrize("piece", [b"a" * 4096, b"a" * 4095 + b"\n", b"a" * 4095 + b"\r"])
def test_a_line_that_goes_on_and_on_ends_the_connection_and_is_not_kept(piece: bytes) -> None:
    async def run() -> bytes:
        async with server_of(Intake()) as (_, port):
            return await asyncio.to_thread(endless_line, port, piece)

    assert asyncio.run(run())[:3] in (b"421", b"hun", b"")


@pytest.mark.parametrize("answer", [False, LogUnavailableError("away"), ValueError("a bug")])
def test_what_is_not_done_is_451_and_done_when_it_comes_again(answer: bool | Exception) -> None:
    async def send(client: aiosmtplib.SMTP) -> int:
        await client.mail("")
        await client.rcpt(OURS)
        return await code_of(client.data(MAIL))

    async def run() -> list[int]:
        async with server_of(intake) as (_, port), client_of(port) as client:
            return [await send(client), await send(client)]

    intake = Intake()
    intake.answers = [answer]
    assert asyncio.run(run()) == [451, 250]


def test_a_mail_is_answered_when_it_is_done_and_what_waits_is_done_together() -> None:
    async def run() -> None:
        async with server_of(intake) as (_, port):
            clients = [client_of(port) for _ in range(4)]
            for client in clients:
                await client.connect()
            first = asyncio.create_task(clients[0].sendmail("", OURS, MAIL))
            await until(lambda: intake.batches == [1])
            rest = [asyncio.create_task(client.sendmail("", OURS, MAIL)) for client in clients[1:]]
            await asyncio.sleep(0)
            assert not first.done()
            intake.go.set()
            await asyncio.gather(first, *rest)
            for client in clients:
                await client.quit()

    intake = Intake()
    intake.go.clear()
    asyncio.run(run())
    assert (len(intake.mails), sum(intake.batches)) == (4, 4)


def test_a_drain_answers_what_is_here_and_takes_no_more() -> None:
    async def run() -> tuple[int, str, int]:
        async with server_of(intake) as (server, port), client_of(port) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.readline()
            sent = asyncio.create_task(client.sendmail("", OURS, MAIL))
            await until(lambda: intake.batches == [1])
            drained = asyncio.create_task(server.drain())
            await asyncio.sleep(0)
            intake.go.set()
            await drained
            _, answer = await sent
            idle = await reader.readline()
            writer.close()
            with pytest.raises(OSError, match="Connect call failed"):
                await asyncio.open_connection("127.0.0.1", port)
            return len(intake.mails), answer, int(idle[:3])

    intake = Intake()
    intake.go.clear()
    assert asyncio.run(run()) == (1, "2.0.0 done", 421)


def test_a_mail_that_is_too_long_is_refused_and_a_long_line_is_not() -> None:
    async def run() -> list[int]:
        async with server_of(intake) as (_, port), client_of(port) as client:
            said = []
            for lines in (1, 40):
                await client.mail("")
                await client.rcpt(OURS)
                said.append(await code_of(client.data(b"Subject: x\r\n\r\n" + b"\r\n".join([b"x" * 60_000] * lines))))
            said.append(await code_of(client.mail("", options=[f"SIZE={SIZE_MAX_BYTES + 1}"])))
            return said

    intake = Intake()
    assert asyncio.run(run()) == [250, 552, 552]
    assert len(intake.mails) == 1


def test_connections_and_their_time_are_bounded() -> None:
    async def greeted(port: int) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return (await reader.readline())[:3], reader, writer

    async def run() -> None:
        async with server_of(Intake()) as (_, port):
            many = [await greeted(port) for _ in range(CONNECTIONS_MAX)]
            assert {code for code, _, _ in many} == {b"220"}
            refused = await greeted(port)
            assert (refused[0], await refused[1].read()) == (b"421", b"")
            many.append(refused)
            for _, _, writer in many:
                writer.close()
        async with server_of(Intake(), session_max=timedelta(seconds=0.3)) as (_, port):
            _, reader, writer = await greeted(port)
            assert (await reader.read())[:3] == b"421"
            writer.close()
        async with server_of(Intake(), command_timeout=timedelta(seconds=0.3)) as (_, port):
            _, reader, writer = await greeted(port)
            assert await reader.read() == b""
            writer.close()

    asyncio.run(run())


def test_with_a_certificate_it_offers_starttls_and_never_a_password(tmp_path: Path) -> None:
    def session(port: int) -> tuple[bool, bool, int]:
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            client.ehlo()
            offered = client.has_extn("starttls")
            client.starttls(context=ssl._create_unverified_context())
            client.ehlo()
            client.mail("")
            client.rcpt(OURS)
            return offered, client.has_extn("auth"), client.data(MAIL)[0]

    async def run() -> tuple[bool, bool, int]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        make_certificates(SandboxFiles(tmp_path))
        context.load_cert_chain(SandboxFiles(tmp_path).server)
        async with server_of(Intake(), tls=context) as (_, port):
            return await asyncio.to_thread(session, port)

    assert asyncio.run(run()) == (True, False, 250)


def test_a_taken_port_is_said() -> None:
    async def run(port: int) -> None:
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}: .*in use"):
            await MailServer(MailServerOptions("127.0.0.1", port), lambda _: True, Intake().take, LOOP).start()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        asyncio.run(run(taken.getsockname()[1]))
