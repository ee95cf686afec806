"""How our side reaches a running sandbox: the options of each connector, from the files in its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from connectors.providers.email.options import SesOptions, SmtpOptions
from connectors.providers.options import (
    ApnsOptions,
    ChatOptions,
    EgressOptions,
    FcmOptions,
    TwilioOptions,
    WebhookOptions,
    WebPushOptions,
)
from connectors.providers.sms.smpp_options import SmppOptions
from connectors.sandbox.browsers import Browsers
from connectors.sandbox.certificates import SandboxFiles
from connectors.sandbox.ports import read_ports
from connectors.sandbox.smsc import ID_TAG
from state.model.web_address import PORTS

TEAM_ID = "SANDBOXTEA"
KEY_ID = "SANDBOXKEY"
TOPIC = "example.carillon"
ACCOUNT_SID = "AC" + "0" * 32
AUTH_TOKEN = "sandbox"  # noqa: S105  # opens nothing but the server beside it
WEBHOOK_SECRET = "sandbox-sandbox-sandbox-sandbox-"  # noqa: S105  # as above
SES_REGION = "eu-west-1"
SES_KEY_ID = "AKIDSANDBOX"
SES_SECRET = "sandbox"  # noqa: S105  # as above
SMPP_SYSTEM_ID = "sandbox"
SMPP_PASSWORD = "sandbox"  # noqa: S105  # as above
SENDER_NUMBER = "+15005550006"
SENDER_ADDRESS = "notifications@carillon.example"


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """The options of each connector."""

    apns: ApnsOptions
    """Push to Apple devices."""
    fcm: FcmOptions
    """Push to Android devices."""
    webpush: WebPushOptions
    """Push to browsers."""
    twilio: TwilioOptions
    """Text messages."""
    smtp: SmtpOptions
    """Mail."""
    ses: SesOptions
    """Mail, for who configures it: `smtp` is what stands in."""
    smpp: SmppOptions
    """Text messages, for who configures it: `twilio` is what stands in."""
    webhook: WebhookOptions
    """Webhooks."""
    chat: ChatOptions
    """Chats."""
    egress: EgressOptions
    """Web addresses: nothing but the receivers beside it can be reached."""


def sandbox_options(directory: Path) -> SandboxOptions:
    """Options for the sandbox whose files are in `directory` (DIR/sandbox).

    :raises ConfigurationError: it never ran there.
    """
    ports, files = read_ports(directory), SandboxFiles(directory)
    return SandboxOptions(
        ApnsOptions(
            origin=f"https://127.0.0.1:{ports.apns}", team_id=TEAM_ID, key_id=KEY_ID, topic=TOPIC,
            signing_key=files.signing_key, ca_file=files.ca,
        ),
        FcmOptions(
            origin=f"https://127.0.0.1:{ports.fcm}", token_url=f"https://127.0.0.1:{ports.fcm}/token",
            service_account=files.service_account, ca_file=files.ca,
        ),
        WebPushOptions(
            hosts=(f"127.0.0.1:{ports.webpush}",), subject=f"mailto:{SENDER_ADDRESS}", signing_key=files.vapid_key,
        ),
        TwilioOptions(
            origin=f"http://127.0.0.1:{ports.twilio}", account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN,
            sender=SENDER_NUMBER, status_callback="https://carillon.example/v1/callbacks/twilio",
        ),
        SmtpOptions(host="127.0.0.1", port=ports.smtp, security="none", sender=SENDER_ADDRESS),
        SesOptions(
            endpoint=f"https://127.0.0.1:{ports.ses}", region=SES_REGION, access_key_id=SES_KEY_ID,
            secret_access_key=SES_SECRET, sender=SENDER_ADDRESS, ca_file=files.ca,
        ),
        SmppOptions(
            host="127.0.0.1", port=ports.smpp, system_id=SMPP_SYSTEM_ID, password=SMPP_PASSWORD, sender=SENDER_NUMBER,
            id_tag=ID_TAG, ca_file=files.ca,
        ),
        WebhookOptions(secret=WEBHOOK_SECRET),
        ChatOptions(),
        EgressOptions(
            ports=tuple(filter(None, (ports.webhook, ports.chat, ports.webpush))) or PORTS,
            private_networks=("127.0.0.1/32",), ca_file=files.ca,
        ),
    )  # fmt: skip


def browser_address(directory: Path, name: str) -> str:
    """The subscription of the browser with this name, of the sandbox whose files are in `directory`.

    :raises ConfigurationError: it never ran there.
    """
    origin = f"https://127.0.0.1:{read_ports(directory).webpush}"
    return Browsers(SandboxFiles(directory).browsers.read_bytes()).address(name, origin)
