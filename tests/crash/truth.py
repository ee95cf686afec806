"""What the load did, written before and after each call, so that the judge need not believe the system.

`truth.ndjson`, one object per line: `{"what":"event","n","body","p0","at"}` before an event is sent for the first time,
`{"what":"answer","n","status","event_id","at"}` after each try (status 0: none came, it may have been accepted),
`{"what":"cancel","n","status","at"}`, `{"what":"preference","user","place","at"}` once one was acknowledged (`place`:
its offset in the topic), `{"what":"endpoint","user","channel","id","place","at"}` likewise (`place`: registered_at).
`n` is in the payload of the event, so that it is known wherever it turns up. Times in ms.
"""

import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Name = tuple[str | int, ...]
"""("preference", user, offset in its topic) or ("endpoint", user, channel, id, registered_at)."""
ACCEPTED = (200, 202)
REFUSED = (400, 401, 403, 409, 413, 429)


@dataclass
class Sent:
    """One event and what was answered."""

    number: int
    body: dict[str, Any]
    p0: bool
    at: int
    answers: list[tuple[int, str | None]] = field(default_factory=list)
    cancels: list[int] = field(default_factory=list)

    @property
    def event_ids(self) -> set[str]:
        return {event_id for status, event_id in self.answers if status in ACCEPTED and event_id}

    @property
    def is_accepted(self) -> bool:
        return any(status in ACCEPTED for status, _ in self.answers)

    @property
    def is_refused(self) -> bool:
        """Every try was refused for what it says: it cannot have been accepted."""
        return bool(self.answers) and all(status in REFUSED for status, _ in self.answers)

    @property
    def is_cancelled(self) -> bool | None:
        """Whether it was cancelled; None: nobody knows."""
        if not self.cancels:
            return False
        if 200 in self.cancels:
            return True
        return False if 409 in self.cancels else None


@dataclass
class Acknowledged:
    """A preference document or an address that was acknowledged."""

    user: str
    name: Name
    at: int


class TruthWriter:
    """For any thread."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def write(self, what: str, **fields: Any) -> None:
        line = json.dumps({"what": what, **fields, "at": time.time_ns() // 1_000_000})
        with self._lock:
            self._file.write(line + "\n")

    def close(self) -> None:
        self._file.close()


class Truth:
    """The file, read."""

    def __init__(self, path: Path) -> None:
        self.sent: dict[int, Sent] = {}
        self.acknowledged: list[Acknowledged] = []
        for text in path.read_text().splitlines():
            line = json.loads(text)
            if line["what"] == "event":
                self.sent[line["n"]] = Sent(line["n"], line["body"], line["p0"], line["at"])
            elif line["what"] == "answer":
                self.sent[line["n"]].answers.append((line["status"], line["event_id"]))
            elif line["what"] == "cancel":
                self.sent[line["n"]].cancels.append(line["status"])
            else:
                name = tuple(line[part] for part in ("what", "user", "channel", "id", "place") if part in line)
                self.acknowledged.append(Acknowledged(line["user"], name, line["at"]))
