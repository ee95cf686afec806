"""The world outside, simulated: a mailbox and a browser for each person. A site with real providers has none of it."""

from __future__ import annotations

import email
import json
import ssl
import urllib.request
from email import policy
from pathlib import Path
from threading import Lock
from typing import Any

from connectors.sandbox.watch import Taken, Watcher


class Simulated:
    """What the simulated providers of `carillon up` took."""

    def __init__(self, directory: Path) -> None:
        """`directory`: theirs."""
        self._directory, self._watcher, self._lock, self._taken = directory, Watcher(directory), Lock(), list[Taken]()

    def subscription(self, person: str) -> Any:
        """What `pushManager.subscribe` gives in a browser."""
        port = json.loads((self._directory / "ports.json").read_text())["webpush"]
        trusted = ssl.create_default_context(cafile=str(self._directory / "ca.pem"))
        url = f"https://127.0.0.1:{port}/subscription/{person}"
        with urllib.request.urlopen(url, context=trusted, timeout=10) as answer:
            return json.load(answer)

    def pushes(self, person: str, after: int | None) -> dict[str, Any]:
        """What reached his browser; `after` is what the last answer said, at first None."""
        with self._lock:
            self._taken += [taken for taken in self._watcher.take() if taken.provider == "webpush"]
            fresh = [taken.message for taken in self._taken[after or 0 :] if taken.to == person]
            return {"pushes": fresh, "after": len(self._taken)}

    def mails(self, person: str) -> list[dict[str, str]]:
        """His mailbox, the newest first."""
        files = sorted((self._directory / "mail").glob("*.eml"), key=lambda path: -path.stat().st_mtime)
        mails = [email.message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]
        his = [(mail, mail.get_body(("plain",))) for mail in mails if str(mail["To"]).startswith(f"{person}@")]
        return [{"subject": mail["Subject"], "text": body.get_content()} for mail, body in his if body]
