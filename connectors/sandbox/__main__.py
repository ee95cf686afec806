"""`python -m connectors.sandbox --dir DIR`: all sandbox providers in one process.

Prints `{"apns","twilio","smtp","ca","fcm","webpush","webhook","chat","ses"}` (ports on 127.0.0.1 and the path of the
certificate to trust) on one line once all of them serve, and exits 0 on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop

from connectors.providers.email.sigv4 import Credential
from connectors.providers.push.apns_token import load_signing_key
from connectors.providers.push.service_account import load_service_account
from connectors.sandbox.apns import ApnsServer
from connectors.sandbox.browsers import Browsers
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from connectors.sandbox.fcm import FcmServer
from connectors.sandbox.http1 import start_http1
from connectors.sandbox.http2 import start_http2
from connectors.sandbox.journal import Journal
from connectors.sandbox.options import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    SENDER_ADDRESS,
    SES_KEY_ID,
    SES_REGION,
    SES_SECRET,
    TOPIC,
    WEBHOOK_SECRET,
    Ports,
    read_ports,
)
from connectors.sandbox.ses import SesServer
from connectors.sandbox.smtp import Mailbox, start_smtp
from connectors.sandbox.twilio import TwilioServer
from connectors.sandbox.web import ChatServer, WebhookServer
from connectors.sandbox.webpush import WebPushServer
from state.disk.files import replace_file
from state.model.errors import ConfigurationError

_Start = Callable[[int], Awaitable[asyncio.Server]]


async def serve(directory: Path) -> None:
    """Start everything under `directory`/sandbox, say so, and serve until a signal comes."""
    files = SandboxFiles(directory / "sandbox")
    make_certificates(files)
    servers: list[asyncio.Server] = []
    ports = await _start(files, _former_ports(files.directory), servers)
    line = msgspec.json.encode(ports)
    replace_file(files.ports, line)
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await ending.wait()
    for server in servers:
        server.close()


def _former_ports(directory: Path) -> Ports:
    try:
        return read_ports(directory)
    except (ConfigurationError, msgspec.MsgspecError):
        return Ports(0, 0, 0)


async def _start(files: SandboxFiles, former: Ports, servers: list[asyncio.Server]) -> Ports:
    """Start the servers, at the ports of the last time where these are free."""
    key = load_signing_key(files.signing_key.read_bytes(), key=str(files.signing_key)).public_key()
    account = load_service_account(files.service_account.read_bytes(), key=str(files.service_account))
    apns = ApnsServer(Journal(files.directory, "apns"), key, TOPIC)
    context, web_context = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    for each in (context, web_context):
        each.load_cert_chain(files.server)
    fcm = FcmServer(Journal(files.directory, "fcm"), account)
    webhook = WebhookServer(Journal(files.directory, "webhook"), [WEBHOOK_SECRET])
    chat = ChatServer(Journal(files.directory, "chat"))
    twilio = TwilioServer(Journal(files.directory, "twilio"), ACCOUNT_SID, AUTH_TOKEN)
    vapid = load_signing_key(files.vapid_key.read_bytes(), key=str(files.vapid_key)).public_key()
    webpush = WebPushServer(Journal(files.directory, "webpush"), vapid, Browsers(files.browsers.read_bytes()))
    amazon = Credential(SES_KEY_ID, SES_SECRET, SES_REGION, "ses")
    ses = SesServer(Journal(files.directory, "ses"), amazon, SENDER_ADDRESS, clock_s=time.time)
    mailbox = Mailbox(Journal(files.directory, "smtp"), files.directory / "mail")
    return Ports(
        await _listen(lambda port: start_http2(apns, port, context), former.apns, servers),
        await _listen(lambda port: start_http1(twilio, port), former.twilio, servers),
        await _listen(lambda port: start_smtp(port, mailbox), former.smtp, servers),
        str(files.ca.absolute()),
        await _listen(lambda port: start_http2(fcm, port, context), former.fcm, servers),
        await _listen(lambda port: start_http1(webpush, port, web_context), former.webpush, servers),
        await _listen(lambda port: start_http1(webhook, port, web_context), former.webhook, servers),
        await _listen(lambda port: start_http1(chat, port, web_context), former.chat, servers),
        await _listen(lambda port: start_http1(ses, port, web_context), former.ses, servers),
    )


async def _listen(start: _Start, former: int, servers: list[asyncio.Server]) -> int:
    try:
        server = await start(former)
    except OSError:
        server = await start(0)
    servers.append(server)
    port: int = server.sockets[0].getsockname()[1]
    return port


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m connectors.sandbox", description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="the data directory; files go to DIR/sandbox")
    uvloop.run(serve(parser.parse_args().dir))


if __name__ == "__main__":
    main()
