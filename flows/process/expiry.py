"""Watches when credentials end: the certificates in the files of `ca_file`, and what `[expires]` names.

The ordinary gateway looks once an hour. What it said is in `expiry.json` of its directory, a JSON object from names to
`[end in ms UTC, days]`, so that a restart repeats nothing. Each gateway says it for the files of its own host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import structlog
from cryptography.x509 import load_pem_x509_certificates

from connectors.metrics import CREDENTIAL_EXPIRES
from flows.config.installed import installed_providers
from flows.config.settings import Settings
from operators.expiry import SaidExpiry, days_left, end_of, expiry_to_say
from state.disk.files import replace_file

_LOOK_EVERY = timedelta(hours=1)
_FILE = "expiry.json"
_logger = structlog.get_logger(__name__)


def credential_ends(settings: Settings) -> dict[str, datetime | None]:
    """When each ends, by its name in the configuration; None: the file cannot be read, or holds no certificate."""
    ends = {name: _end_of_file(file) for name, file in _certificate_files(settings)}
    for name, given in settings.expires.items():
        ends[f"expires.{name}"] = end_of(given) or _end_of_file(Path(given))
    return ends


def _certificate_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    tables = {f"providers.{each.name}": getattr(settings.providers, each.name) for each in fields(settings.providers)}
    tables |= {f"providers.installed.{name}": each.options for name, each in installed_providers(settings).items()}
    for name, table in [*tables.items(), ("egress", settings.egress)]:
        file = getattr(table, "ca_file", None)
        if file is not None:
            yield f"{name}.ca_file", file


def _end_of_file(file: Path) -> datetime | None:
    """When the first of its certificates ends."""
    try:
        return min(certificate.not_valid_after_utc for certificate in load_pem_x509_certificates(file.read_bytes()))
    except (OSError, ValueError):
        return None


class ExpiryWatch:
    """For one thread. `directory` keeps what was said."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        """Nothing is read yet."""
        self._settings, self._file = settings, directory / _FILE

    def look(self, now: int) -> None:
        """Set the metric, and say what is due at `now` (ms UTC). A crash between saying and keeping says it again.

        :raises OSError: what was said cannot be kept.
        """
        before = self._said()
        said = dict(before)
        for name, end in credential_ends(self._settings).items():
            if end is None:
                _logger.warning("credential_end_unknown", credential=name, remedy="name a PEM file of certificates")
                continue
            ends_ms = int(end.timestamp() * 1000)
            CREDENTIAL_EXPIRES.labels(name).set(days_left(ends_ms, now))
            due = expiry_to_say(ends_ms, now, said.get(name))
            if due is not None:
                _say(name, end, due, now)
                said[name] = due
        if said != before:
            replace_file(self._file, msgspec.json.encode(said))

    def _said(self) -> dict[str, SaidExpiry]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, SaidExpiry])
        except (FileNotFoundError, msgspec.MsgspecError):
            return {}  # said once more rather than never


def _say(name: str, end: datetime, due: SaidExpiry, now: int) -> None:
    left = days_left(due.ends_ms, now)
    _logger.error(
        "credential_expires",
        credential=name,
        ends=end.date().isoformat(),
        days_left=int(left),
        threshold_days=due.threshold_days,
        remedy="renew it, put the new one in its place, restart, and change [expires] if it is named there",
    )


def keep_watching(settings: Settings, directory: Path, clock: Callable[[], int]) -> None:
    """Look for the life of this process, in a thread."""
    watch = ExpiryWatch(settings, directory)

    def look() -> None:
        while True:
            try:
                watch.look(clock())
            except OSError as error:  # a full disk: it is said again when there is room
                _logger.warning("expiry_not_kept", error=error.strerror)
            time.sleep(_LOOK_EVERY.total_seconds())

    threading.Thread(target=look, name="expiry", daemon=True).start()
