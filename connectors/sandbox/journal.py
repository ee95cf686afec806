"""What a provider saw, one JSON object per line, written before it answers.

`{"ts","provider","to","id","status","body_sha256"}`: `ts` in milliseconds, `id` the apns-id, the `carillon_id` of
data, the `key` of a status callback, an optional field of SMPP, the Message-ID, the webhook-id or a chat's
Idempotency-Key, `status` the provider's code as it answers, also where it then breaks off instead (200, 201 and 250
mean that it took the message), `body_sha256` of the body as it came, `withdraws` true of a push that removes another
one from the screen, `replaces` of one that takes its place without a sound. What it said is shown to a watcher only
(`connectors.sandbox.watch`), and in the last mails (`connectors.sandbox.smtp`).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from connectors.sandbox.watch import pipe_of, tell

_TAKEN = (200, 201, 250)
_PUSH = ("apns", "fcm", "webpush")
_QUIET = {"withdraws": b'"withdraw":', "replaces": b'"replaces":'}
"""No text says so: in JSON its quotes are escaped."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message that came, and how it is answered."""

    to: str
    identity: str
    status: int
    body: bytes = b""
    shown: bytes | None = None
    """The body as its receiver reads it, where that is not as it came."""


class Journal:
    """One provider's file, appended to in whole lines: a kill can cut nothing but the end."""

    def __init__(self, directory: Path, provider: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._provider, self._pipe = provider, pipe_of(directory)
        self._fd = os.open(directory / f"{provider}.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, messages: Sequence[Entry]) -> None:
        """Hand a line for each message to the operating system in one call; show those taken to a watcher."""
        left = memoryview(b"".join(map(self._line, messages)))
        while left:
            left = left[os.write(self._fd, left) :]
        for message in messages:
            if message.status in _TAKEN:
                tell(self._pipe, self._provider, message.to, message.body if message.shown is None else message.shown)

    def _line(self, message: Entry) -> bytes:
        record: dict[str, Any] = {
            "ts": time.time_ns() // 1_000_000,
            "provider": self._provider,
            "to": message.to,
            "id": message.identity,
            "status": message.status,
            "body_sha256": hashlib.sha256(message.body).hexdigest(),
        }
        if self._provider in _PUSH:
            body = message.body if message.shown is None else message.shown
            record |= {name: True for name, sign in _QUIET.items() if sign in body}
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
