"""Mail servers that answer as they please: what was not taken is never called sent, nothing goes out in the clear."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.deliveries import PUSH

from connectors.providers.channel import Failed, Rejected, Result, Sent
from connectors.providers.email.options import SmtpOptions
from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.email.smtp_exchange import SmtpEnvelope, mail_data
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from state.model.content import EmailContent

MAIL = replace(PUSH, channel="email", address="ann@example.com", content=EmailContent("s", "text", "<p>h</p>", None))
SILENCE, HANGS = "-", "--"
SHORT, LONG = timedelta(seconds=1), timedelta(seconds=60)
USUAL = {"EHLO": "250 hi", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 taken", "RSET": "250 ok"}


class MailServer:
    """Answers each command by its first word, the mail itself by ".". No answer, `""`, ends the connection."""

    def __init__(self, answers: Mapping[str, Any], upgrade: ssl.SSLContext | None = None) -> None:
        self.upgrade = upgrade
        self.answers: dict[str, Any] = {**USUAL, **answers}
        self.read, self.mails = list[str](), list[bytes]()
        self.serving: list[asyncio.Task[Any]] = []
        self.has_text = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(self.answers.get("greeting", "220 here")).encode() + b"\r\n")
        own = asyncio.current_task()
        assert own is not None
        self.serving.append(own)
        try:
            while line := await reader.readline():
                self.read.append(line.decode().strip())
                answer = str(self.answers.get(line.split()[0].decode().upper(), "500 what"))
                if answer.startswith("354"):
                    writer.write(answer.encode() + b"\r\n")
                    mail = b""
                    while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
                        mail += line
                    self.mails.append(mail)
                    self.has_text.set()
                    answer = self._after_text() if mail else "554 5.5.1 no valid recipients"
                if answer == HANGS:
                    await reader.read()
                if answer in ("", HANGS):
                    break
                if answer == SILENCE:
                    continue
                writer.write(answer.encode() + b"\r\n")
                if self.upgrade is not None and line.upper().startswith(b"STARTTLS"):
                    await writer.start_tls(self.upgrade)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _after_text(self) -> str:
        """One answer for all mails, or the next of a list."""
        answer = self.answers["."]
        return answer if isinstance(answer, str) else str(answer[len(self.mails) - 1])


@asynccontextmanager
async def talking(
    answers: Mapping[str, Any],
    tls: ssl.SSLContext | None = None,
    upgrade: ssl.SSLContext | None = None,
    **options: Any,
) -> AsyncIterator[tuple[MailServer, SmtpChannel]]:
    peer = MailServer(answers, upgrade)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    all_options = {"host": "localhost", "sender": "we@ours.example", "security": "none", **options}
    channel = SmtpChannel(SmtpOptions(port=port, **all_options), clock_s=time.time)
    await channel.connect()
    try:
        yield peer, channel
    finally:
        await channel.close()
        server.close()
        await asyncio.gather(*peer.serving)


PIPELINING = {"EHLO": "250-hi\r\n250 PIPELINING"}


@pytest.fixture(params=[{}, PIPELINING], ids=["one command at a time", "pipelining"], name="greets")
def _greets(request: pytest.FixtureRequest) -> dict[str, str]:
    found: dict[str, str] = request.param
    return found


def sent_to(answers: Mapping[str, str], **options: Any) -> tuple[MailServer, Result]:
    async def run() -> tuple[MailServer, Result]:
        async with talking(answers, **options) as (peer, channel):
            return peer, await channel.send(MAIL)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "answers", [{}, {"RCPT": "252 cannot say, will try"}, {"MAIL": "251 ok"}, {"RCPT": "251 ok", ".": "250-a\r\n250 b"}]
)
def test_whoever_says_yes_in_any_words_gets_the_mail(answers: dict[str, str], greets: dict[str, str]) -> None:
    peer, result = sent_to({**greets, **answers})
    assert isinstance(result, Sent)
    assert len(peer.mails) == 1


@pytest.mark.parametrize(
    ("answers", "ambiguous"),
    [
        ({"DATA": "250 ok"}, False),
        ({"RCPT": "354 go on"}, False),
        ({".": "251 perhaps"}, True),
        ({".": ""}, True),
        ({"DATA": ""}, False),
        ({"RCPT": ""}, False),
        ({"RCPT": "250-" + "x" * 40_000}, False),
        ({".": "250-" + "x" * 40_000}, True),
        ({"RCPT": "250-\r\n" * 200_000 + "250 ok"}, False),
        ({"DATA": "354 go on\r\n421 4.3.2 closing"}, False),
        ({"MAIL": "mumble"}, False),
        ({"greeting": "554 go away"}, False),
        ({"greeting": "421 too busy"}, False),
        ({"RCPT": "450 4.2.0 greylisted"}, False),
        ({"MAIL": "421 4.3.2 closing"}, False),
        ({".": "421 4.3.2 closing"}, False),
        ({".": "451 4.3.0 no disk"}, False),
    ],
)
def test_what_was_not_taken_for_certain_is_never_sent(
    answers: dict[str, str], ambiguous: bool, greets: dict[str, str]
) -> None:
    _, result = sent_to({**greets, **answers})
    assert isinstance(result, Failed), result
    assert result.ambiguous == ambiguous


@pytest.mark.parametrize(
    ("answers", "is_gone"),
    [
        ({"RCPT": "550 5.1.1 no such user"}, True),
        ({"RCPT": "550 5.1.1 no such user: we@ours.example"}, False),
        ({".": "552 5.2.2 full"}, False),
    ],
)
def test_a_mailbox_is_gone_of_which_a_server_says_that_it_is_not_there(
    answers: dict[str, str], is_gone: bool, greets: dict[str, str]
) -> None:
    _, result = sent_to({**greets, **answers})
    assert isinstance(result, Rejected)
    assert (result.token_gone is not None) == is_gone


def test_who_says_no_and_then_nothing_more_has_refused() -> None:
    async def run() -> None:
        refused = {**PIPELINING, "RCPT": "550 5.1.1 no such user", "DATA": SILENCE}
        async with talking(refused) as (peer, channel):
            result = await channel.send(MAIL)
            assert isinstance(result, Rejected)
            assert result.token_gone is not None
            peer.answers |= USUAL
            assert isinstance(await channel.send(MAIL), Sent)

    asyncio.run(run())


@pytest.mark.parametrize("data", ["354 go on", "503 5.5.1 no recipient"])
@pytest.mark.parametrize("refused", [{"MAIL": "550 5.7.1 not you"}, {"RCPT": "550 5.1.1 no such user"}])
def test_a_server_that_asks_for_the_text_of_a_refused_mail_gets_none(refused: dict[str, str], data: str) -> None:
    async def run() -> MailServer:
        async with talking({**PIPELINING, **refused, "DATA": data}) as (peer, channel):
            assert isinstance(await channel.send(MAIL), Rejected)
            peer.answers |= USUAL
            assert isinstance(await channel.send(MAIL), Sent)
            return peer

    peer = asyncio.run(run())
    assert [mail for mail in peer.mails if mail] == peer.mails[-1:]
    assert [line.split()[0] for line in peer.read] == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA"]


def test_a_server_that_says_good_bye_between_two_mails_is_connected_to_again(greets: dict[str, str]) -> None:
    async def run() -> None:
        async with talking({**greets, ".": "250 taken\r\n421 4.4.2 idle for too long"}) as (peer, channel):
            for _ in range(2):
                assert isinstance(await channel.send(MAIL), Sent)
                await asyncio.sleep(0)
            assert sum(line.startswith("EHLO") for line in peer.read) == 2

    asyncio.run(run())


@pytest.mark.parametrize("mail", [b"a: b\n\r\nc\r\n", b"a: b\r\n\r\nc\rd\r\n", b"a: b\r\n\r\nc", b""])
def test_a_text_with_other_line_ends_is_refused(mail: bytes) -> None:
    with pytest.raises(ValueError, match="CRLF"):
        mail_data(mail)


@pytest.mark.parametrize(
    ("offers", "asked"),
    [
        ("", ["MAIL FROM:<we@ours.example>", "RCPT TO:<a+b=c@example.com>"]),
        (
            "250-hi\r\n250 DSN",
            [
                "MAIL FROM:<we@ours.example> RET=HDRS ENVID=1+3D2@ours.example",
                "RCPT TO:<a+b=c@example.com> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb+3Dc@example.com",
            ],
        ),
    ],
)
def test_a_server_that_reports_is_told_which_mail_it_is_and_to_whom_we_sent_it(offers: str, asked: list[str]) -> None:
    async def run() -> list[str]:
        async with talking({"EHLO": offers or "250 hi"}) as (peer, channel):
            mail = replace(MAIL, address="a+b=c@example.com", provider_id="<1=2@ours.example>")
            assert isinstance(await channel.send(mail), Sent)
            return [line for line in peer.read if line[:4] in ("MAIL", "RCPT")]

    assert asyncio.run(run()) == asked


@pytest.mark.parametrize("address", ["a@b>\r\nRCPT TO:<c@d", "a@b> SIZE=1", "a b@c", "<a@b"])
def test_an_address_is_no_second_command(address: str) -> None:
    for envelope in ((address, "a@b", ""), ("a@b", address, ""), ("a@b", "a@b", address)):
        with pytest.raises(ValueError, match="address"):
            SmtpEnvelope(*envelope).check()


def test_every_try_bears_the_same_message_id_and_a_kept_connection_is_clean(greets: dict[str, str]) -> None:
    async def run() -> list[bytes]:
        async with talking({**greets, ".": "451 4.3.0 later"}) as (peer, channel):
            await channel.send(MAIL)
            peer.answers["."] = "250 taken"
            assert isinstance(await channel.send(MAIL), Sent)
            assert [line for line in peer.read if line.startswith(("EHLO", "RSET"))][1:] == ["RSET"]
            return peer.mails

    first, second = asyncio.run(run())
    (name,) = [line for line in first.split(b"\r\n") if line.startswith(b"Message-ID")]
    assert name in second.split(b"\r\n")


@pytest.mark.parametrize(
    "text", ["a\n.\nQUIT\n", "a\r\n.\r\nMAIL FROM:<x@y>\r\n", "a\r.\rRSET\r", ".\n..\n", "\n.\r\n"]
)
def test_no_text_ends_the_mail_or_becomes_a_command(text: str, greets: dict[str, str]) -> None:
    async def run() -> MailServer:
        async with talking(greets) as (peer, channel):
            mail = replace(MAIL, content=EmailContent("s", text, f"<p>{text}</p>", None))
            assert isinstance(await channel.send(mail), Sent)
            assert isinstance(await channel.send(MAIL), Sent)
            return peer

    peer = asyncio.run(run())
    assert [line.split()[0] for line in peer.read[1:]] == ["MAIL", "RCPT", "DATA"] * 2
    assert len(peer.mails) == 2


def test_where_starttls_is_stripped_nothing_is_said() -> None:
    options = {"security": "starttls", "username": "user", "password": "canary"}
    peer, result = sent_to({"EHLO": "250-hi\r\n250 AUTH PLAIN LOGIN"}, **options)
    assert result == Failed("no connection")
    assert {line.split()[0] for line in peer.read} <= {"EHLO", "HELO", "QUIT"}


def test_what_was_said_in_the_clear_is_not_taken_for_an_answer_behind_starttls(tmp_path: Path) -> None:
    """RFC 3207: whoever sits between may have put it there, and every answer would count for the next command."""
    files = SandboxFiles(tmp_path)
    make_certificates(files)
    answers = {
        "EHLO": "250-hi\r\n250 STARTTLS",
        "STARTTLS": "220 go on\r\n250-evil\r\n250 PIPELINING",
        "RCPT": "550 5.1.1",
    }
    peer, result = sent_to(answers, upgrade=_served_by(files.server), security="starttls", ca_file=files.ca)
    assert [line.split()[0] for line in peer.read] == ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "RSET"]
    assert isinstance(result, Rejected)


def _served_by(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("certificate", ["server", "expired"])
def test_a_password_that_is_refused_blames_no_address_and_goes_to_no_stranger(tmp_path: Path, certificate: str) -> None:
    files = SandboxFiles(tmp_path)
    make_certificates(files)
    tls = _served_by(getattr(files, certificate))
    answers = {"EHLO": "250-hi\r\n250 AUTH PLAIN", "AUTH": "535 5.7.8 no"}
    options = {"security": "tls", "ca_file": files.ca, "username": "user", "password": "canary"}
    peer, result = sent_to(answers, tls=tls, **options)
    if certificate == "server":
        assert result == Failed("connect 535 5.7.8", of_credential=True)
        assert any(line.startswith("AUTH") for line in peer.read), "it was not asked"
    else:
        assert result == Failed("no connection")
        assert peer.read == []


# mails that follow each other on a connection


def sent_together(
    count: int, answers: Mapping[str, Any], connections: int = 1, within: timedelta = LONG
) -> tuple[MailServer, list[Result]]:
    mails = [replace(MAIL, key=f"k{number}", address=f"a{number}@example.com") for number in range(count)]

    async def run() -> tuple[MailServer, list[Result]]:
        async with talking({**PIPELINING, **answers}, concurrency_max=connections, timeout=within) as (peer, channel):
            return peer, await asyncio.gather(*(channel.send(mail) for mail in mails))

    return asyncio.run(run())


def test_the_next_mails_commands_go_out_with_a_text() -> None:
    peer, results = sent_together(3, {})
    assert [type(result) for result in results] == [Sent] * 3
    assert [line.split()[0] for line in peer.read] == ["EHLO", *["MAIL", "RCPT", "DATA"] * 3]
    assert len(peer.serving) == 1
    assert [mail.count(b"\r\nTo: a%d@" % number) for number, mail in enumerate(peer.mails)] == [1, 1, 1]


def test_a_mail_behind_one_that_is_refused_is_sent_without_a_reset() -> None:
    peer, results = sent_together(2, {".": ["552 5.3.4 too large", "250 taken"]})
    assert [type(result) for result in results] == [Rejected, Sent]
    assert len(peer.serving) == 1
    assert not any(line.startswith("RSET") for line in peer.read)


@pytest.mark.parametrize(
    ("first", "result"),
    [("250 taken\r\n421 4.3.2 enough for now", Sent), ("421 4.3.2 closing", Failed), ("", Failed)],
    ids=["good bye behind its yes", "good bye", "lost"],
)
def test_a_mail_whose_connection_ends_with_the_one_before_goes_over_another(first: str, result: type) -> None:
    peer, results = sent_together(2, {".": [first, "250 taken"]})
    assert [type(each) for each in results] == [result, Sent]
    assert len(peer.serving) == 2
    assert len(peer.mails) == 2


def test_a_mail_behind_one_that_hangs_goes_over_the_next_connection_that_is_free() -> None:
    peer, results = sent_together(3, {".": [HANGS, "250 taken", "250 taken"]}, connections=2, within=2 * SHORT)
    assert sorted(type(each).__name__ for each in results) == ["Failed", "Sent", "Sent"]
    assert len(peer.mails) == 3


def test_a_mail_that_waited_for_a_connection_is_looked_at_again() -> None:
    asked: list[str] = []

    def may_go(key: str) -> bool:
        asked.append(key)
        return key == "k2"

    async def run() -> tuple[MailServer, list[Result]]:
        answers = {**PIPELINING, ".": [HANGS, "250 taken"]}
        async with talking(answers, concurrency_max=1, timeout=2 * SHORT) as (peer, channel):
            mails = [replace(MAIL, key=key, may_go=partial(may_go, key)) for key in ("k0", "k1", "k2")]
            return peer, await asyncio.gather(*(channel.send(mail) for mail in mails))

    peer, (first, second, third) = asyncio.run(run())
    assert isinstance(first, Failed)
    assert second == Failed("changed while it waited for a connection", of_address=True)
    assert (type(third), asked, len(peer.mails)) == (Sent, ["k1", "k2"], 2)


def test_who_is_cancelled_in_line_keeps_nobody_waiting() -> None:
    async def run() -> tuple[MailServer, list[Result | BaseException]]:
        async with talking(PIPELINING, concurrency_max=1, timeout=LONG) as (peer, channel):
            tasks = [asyncio.create_task(channel.send(replace(MAIL, key=f"k{number}"))) for number in range(4)]
            await peer.has_text.wait()
            tasks[1].cancel()
            tasks[2].cancel()
            return peer, await asyncio.gather(*tasks, return_exceptions=True)

    peer, results = asyncio.run(run())
    assert [type(each) for each in results] == [Sent, asyncio.CancelledError, asyncio.CancelledError, Sent]
    assert len(peer.mails) == 2


def test_who_follows_one_that_is_cancelled_hears_none_of_its_answers() -> None:
    """The first was refused, but nobody listened any more."""

    async def run() -> tuple[MailServer, list[Result | BaseException]]:
        answers = {**PIPELINING, ".": ["552 5.3.4 too large", "250 taken"]}
        async with talking(answers, concurrency_max=1, timeout=LONG) as (peer, channel):
            tasks = [asyncio.create_task(channel.send(replace(MAIL, key=f"k{number}"))) for number in range(2)]
            await peer.has_text.wait()
            tasks[0].cancel()
            return peer, await asyncio.gather(*tasks, return_exceptions=True)

    _, results = asyncio.run(run())
    assert [type(result) for result in results] == [asyncio.CancelledError, Sent]
