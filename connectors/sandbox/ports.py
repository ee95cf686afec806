"""Where the simulated providers listen: `ports.json`, kept so that a restart serves at the same places."""

from __future__ import annotations

from pathlib import Path

import msgspec

from state.model.errors import ConfigurationError

FILE_NAME = "ports.json"
"""In the sandbox's directory."""


class Ports(msgspec.Struct, frozen=True):
    """Where the servers listen on 127.0.0.1; `ca` is the certificate to trust."""

    apns: int
    twilio: int
    smtp: int
    ca: str = ""
    fcm: int = 0
    webpush: int = 0
    webhook: int = 0
    chat: int = 0
    ses: int = 0
    smpp: int = 0
    steering: int = 0
    """Where misbehaviours are asked for (`connectors.sandbox.steering`)."""


def read_ports(directory: Path) -> Ports:
    """The places of the sandbox whose files are in `directory`.

    :raises ConfigurationError: it never ran there.
    """
    try:
        return msgspec.json.decode((directory / FILE_NAME).read_bytes(), type=Ports)
    except FileNotFoundError:
        raise ConfigurationError(
            "providers: none is configured, and no sandbox runs; start one or configure them"
        ) from None
