"""`python -m connectors.sandbox --dir DIR`: all sandbox providers in one process.

Prints `{"apns","twilio","smtp","ca","fcm","webpush","webhook","chat","ses","smpp","steering"}` (ports on 127.0.0.1, the
path of the certificate to trust) on one line once all of them serve, and exits 0 on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from functools import partial
from pathlib import Path
from ssl import SSLError

import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.x509 import load_pem_x509_certificate

from connectors.providers.email.sigv4 import Credential
from connectors.providers.push.apns_token import load_signing_key
from connectors.providers.push.service_account import load_service_account
from connectors.sandbox.apns import ApnsServer
from connectors.sandbox.browsers import Browsers
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from connectors.sandbox.fcm import FcmServer
from connectors.sandbox.http import ALPN, HttpConnection
from connectors.sandbox.http1 import Http1Connection
from connectors.sandbox.http2 import Http2Connection
from connectors.sandbox.journal import Journal
from connectors.sandbox.listener import Listener, tls_context
from connectors.sandbox.misbehaviour import Misbehaviours
from connectors.sandbox.options import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    SENDER_ADDRESS,
    SES_KEY_ID,
    SES_REGION,
    SES_SECRET,
    SMPP_PASSWORD,
    SMPP_SYSTEM_ID,
    TOPIC,
    WEBHOOK_SECRET,
)
from connectors.sandbox.ports import Ports, read_ports
from connectors.sandbox.ses import SesServer
from connectors.sandbox.smsc import Smsc, SmscConnection
from connectors.sandbox.smtp import Mailbox, SmtpConnection
from connectors.sandbox.steering import SteeringServer
from connectors.sandbox.twilio import TwilioServer
from connectors.sandbox.web import ChatServer, WebhookServer
from connectors.sandbox.webpush import WebPushServer
from state.disk.files import replace_file
from state.model.errors import ConfigurationError

CREDENTIALS = "credentials.json"
"""The development credentials, in the data directory (`flows.config.credentials`)."""


async def serve(directory: Path) -> None:
    """Start everything under `directory`/sandbox, say so, and serve until a signal comes.

    :raises ConfigurationError: a key or a certificate there is damaged.
    """
    files = SandboxFiles(directory / "sandbox")
    make_certificates(files)
    try:
        load_pem_x509_certificate(files.ca.read_bytes())  # which only clients use
        listeners = _providers(files)
    except (ValueError, SSLError, ConfigurationError) as error:
        raise ConfigurationError(
            f"{files.directory}: a key or certificate of the simulated providers is damaged ({error}); delete the "
            "directory, and it is made again"
        ) from error
    steering = SteeringServer(dict(listeners), directory / CREDENTIALS)
    listeners["steering"] = Listener(lambda: Http1Connection(steering), Misbehaviours())
    former = _former_ports(files.directory)
    places = {name: await listener.open(getattr(former, name)) for name, listener in listeners.items()}
    line = msgspec.json.encode(Ports(ca=str(files.ca.absolute()), **places))
    replace_file(files.ports, line)
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await ending.wait()
    for listener in listeners.values():
        listener.close()


def _former_ports(directory: Path) -> Ports:
    """Those of the last time, which are taken again where they are free."""
    try:
        return read_ports(directory)
    except (ConfigurationError, msgspec.MsgspecError):
        return Ports(0, 0, 0)


def _providers(files: SandboxFiles) -> dict[str, Listener]:
    """The simulated providers by name; none listens yet."""
    account = load_service_account(files.service_account.read_bytes(), key=str(files.service_account))
    amazon = Credential(SES_KEY_ID, SES_SECRET, SES_REGION, "ses")
    browsers, mailbox = (
        Browsers(files.browsers.read_bytes()),
        Mailbox(_journal(files, "smtp"), files.directory / "mail"),
    )
    smsc = Smsc(_journal(files, "smpp"), SMPP_SYSTEM_ID, SMPP_PASSWORD)
    twilio = TwilioServer(_journal(files, "twilio"), ACCOUNT_SID, AUTH_TOKEN)
    apns = ApnsServer(_journal(files, "apns"), _public_key(files.signing_key), TOPIC)
    fcm = FcmServer(_journal(files, "fcm"), account)
    https: dict[str, WebPushServer | WebhookServer | ChatServer | SesServer] = {
        "webpush": WebPushServer(_journal(files, "webpush"), _public_key(files.vapid_key), browsers),
        "webhook": WebhookServer(_journal(files, "webhook"), [WEBHOOK_SECRET]),
        "chat": ChatServer(_journal(files, "chat")),
        "ses": SesServer(_journal(files, "ses"), amazon, SENDER_ADDRESS, clock_s=time.time),
    }
    listeners = {
        "twilio": Listener(lambda: Http1Connection(twilio), twilio.misbehaviours),
        "smtp": Listener(lambda: SmtpConnection(mailbox), mailbox.misbehaviours),
    }
    context = tls_context(files.server, files.expired, smsc.misbehaviours)
    listeners["smpp"] = Listener(lambda: SmscConnection(smsc), smsc.misbehaviours, context)
    context = tls_context(files.server, files.expired, apns.misbehaviours, ALPN[:1])
    listeners["apns"] = Listener(lambda: Http2Connection(apns), apns.misbehaviours, context)
    context = tls_context(files.server, files.expired, fcm.misbehaviours, ALPN)
    listeners["fcm"] = Listener(lambda: HttpConnection(fcm), fcm.misbehaviours, context)
    for name, one in https.items():
        context = tls_context(files.server, files.expired, one.misbehaviours)
        listeners[name] = Listener(partial(Http1Connection, one), one.misbehaviours, context)
    return listeners


def _journal(files: SandboxFiles, provider: str) -> Journal:
    return Journal(files.directory, provider)


def _public_key(file: Path) -> EllipticCurvePublicKey:
    return load_signing_key(file.read_bytes(), key=str(file)).public_key()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m connectors.sandbox", description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="the data directory; files go to DIR/sandbox")
    uvloop.run(serve(parser.parse_args().dir))


if __name__ == "__main__":
    main()
