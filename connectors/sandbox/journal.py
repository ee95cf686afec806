"""What a provider saw, one JSON object per line, written before it answers.

`{"ts","provider","to","id","status","body_sha256"}`: `ts` in milliseconds, `id` the apns-id, the `key` of a status
callback or the Message-ID, `status` the provider's code as it answers, also where it then breaks off instead (200, 201
and 250 mean that it took the message), `body_sha256` of the body as it came.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import orjson


class Journal:
    """One provider's file, appended to in whole lines: a kill can cut nothing but the end."""

    def __init__(self, directory: Path, provider: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._provider = provider
        self._fd = os.open(directory / f"{provider}.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def entry(self, to: str, identity: str, status: int, body: bytes) -> bytes:
        """The line for one message."""
        record = {
            "ts": time.time_ns() // 1_000_000,
            "provider": self._provider,
            "to": to,
            "id": identity,
            "status": status,
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)

    def write(self, lines: list[bytes]) -> None:
        """Hand the lines to the operating system in one call."""
        left = memoryview(b"".join(lines))
        while left:
            left = left[os.write(self._fd, left) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
