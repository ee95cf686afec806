"""Notes in topic `audit` that a gateway starts with another configuration than the last time: which keys, from what to
what. Secrets are named by a hash that only this gateway can make.

What it last started with is in `configuration.json` of its directory, one JSON object from keys to values as text.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from connectors.audit_chain import AuditChain
from connectors.gateway.cursor import kept_secret
from connectors.log.interface import Log
from flows.config.options import masked
from flows.config.settings import Settings
from state.disk.files import PRIVATE, replace_file
from state.model.audit import AuditRecord
from state.model.secret import Secret

FILE = "configuration.json"
_KEY_FILE = "configuration.key"


def note_configuration(settings: Settings, log: Log, directory: Path, *, process: str, now_ms: int) -> None:
    """Compare with the last start; the first one only remembers. A crash in between notes it again.

    :raises LogError: it cannot be noted, so nothing may start with it.
    """
    file, secret = directory / FILE, kept_secret(directory / _KEY_FILE)
    present = dict(_leaves(settings, masked(settings), "", secret))
    before = _kept(file)
    if before == present:
        return
    if before is not None:
        changed = {name for name, _ in before.items() ^ present.items()}
        act = AuditRecord(
            at=now_ms, by="carillon", role="system", act="configuration",
            about={"process": process, "host": socket.gethostname()}, before=_of(before, changed),
            after=_of(present, changed),
        )  # fmt: skip
        log.append([AuditChain(log).record(act)])
    replace_file(file, msgspec.json.encode(present), mode=PRIVATE)


def _kept(file: Path) -> dict[str, str] | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _of(values: Mapping[str, str], changed: set[str]) -> dict[str, str]:
    return {name: values.get(name, "absent") for name in sorted(changed)}


def _leaves(value: object, shown: object, path: str, secret: bytes) -> Iterator[tuple[str, str]]:
    """Keys and values as they are shown to people; a secret with what tells it from another one."""
    value = value.reveal() if isinstance(value, Secret) else value
    if isinstance(shown, dict):
        for name, inner in shown.items():
            found = value.get(name) if isinstance(value, Mapping) else getattr(value, name)
            yield from _leaves(found, inner, f"{path}.{name}".lstrip("."), secret)
        return
    text = msgspec.json.encode(shown).decode()
    if "***" in text:
        plain = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=_plain).decode()
        text = f"*** {hmac.new(secret, plain.encode(), sha256).hexdigest()[:12]}"
    yield path, text


def _plain(value: object) -> str:
    return value.reveal() if isinstance(value, Secret) else str(value)
