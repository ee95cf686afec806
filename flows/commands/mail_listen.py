"""`carillon mail intake --listen`: mails that came back, as a mail server hands them over."""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from connectors.providers.email.feedback_loop import FeedbackLoop
from connectors.providers.email.mail_server import Arrived, MailServer, MailServerOptions
from connectors.providers.email.mailboxes import StoredMail
from flows.commands.mail_intake import MailIntake
from state.model.errors import ConfigurationError

_FROM = "smtp"
"""Where a file has its name."""


def mail_server_options(address: str, certificate: Path | None, key: Path | None) -> MailServerOptions:
    """What the arguments of the command mean.

    :raises ConfigurationError: the address is none, or the certificate cannot be used.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigurationError(f"--listen {address}: give a host and a port, as in 127.0.0.1:2525")
    return MailServerOptions(host.strip("[]"), int(port), None if certificate is None else _tls(certificate, key))


def _tls(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"--certificate {certificate}: {error.strerror or error}") from error
    return context


async def listen(intake: MailIntake, options: MailServerOptions) -> None:
    """Take mails until SIGTERM or Ctrl-C; then answer those that are here.

    :raises ConfigurationError: nobody can listen there.
    """
    numbers, feedback = count(1), FeedbackLoop(intake.settings.mail, time.monotonic)

    def take(mails: Sequence[Arrived]) -> list[bool]:
        found = {next(numbers): mail for mail in mails}
        unsigned = {number for number, mail in found.items() if feedback.is_it(mail.recipient)}
        return intake.take((StoredMail(_FROM, n, _with_envelope(mail)) for n, mail in found.items()), unsigned)

    server = MailServer(options, intake.addresses.is_one, take, feedback)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    port = await server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    where = f"{options.host}:{port}"
    intake.output.show({"listening": where}, f"Listening on {where}. Stop with Ctrl-C.")
    await stop.wait()
    await server.drain()


def _with_envelope(mail: Arrived) -> bytes:
    """As a server writes a mail into a mailbox: to whom it came is the first address in it."""
    return f"Delivered-To: {mail.recipient}\r\nReturn-Path: <{mail.sender}>\r\n".encode("utf-8", "replace") + mail.raw
