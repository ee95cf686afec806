"""Development credentials: what a system needs to be tried at once, made at the first start and kept in DIR.

File `DIR/credentials.json`, mode 0600:
`{"keys": {"producer", "p0_producer", "ops", "marketing", "support", "admin"}, "user_secret"}`; files of earlier
versions have no `admin`, the second person of whoever tries the system alone.
They are used only where the configuration names no sender (or no user secret) of its own.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from state.disk.files import PRIVATE, publish_file
from state.model.errors import ConfigurationError
from state.model.secret import Secret

FILE_NAME = "credentials.json"
ROLES = ("producer", "p0_producer", "ops", "marketing", "support")
"""Those that `up` prints."""
SECOND = "admin"


class DevelopmentCredentials(msgspec.Struct, frozen=True):
    """Service keys by role, and the secret that signs users' tokens; plain text, so never log it."""

    keys: dict[str, str]
    user_secret: str

    def key(self, role: str) -> Secret:
        """The service key of one role."""
        return Secret(self.keys[role])


def development_credentials(directory: Path) -> DevelopmentCredentials:
    """Those of DIR, made now if there are none; processes that start together agree on one file.

    :raises ConfigurationError: the file does not decode; delete it to get new ones.
    """
    path = directory / FILE_NAME
    if not path.exists():
        _make(path)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=DevelopmentCredentials)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} does not decode; delete it and new credentials are made") from error
    missing = [role for role in ROLES if role not in found.keys]
    if missing:
        raise ConfigurationError(f"{path} lacks {', '.join(missing)}; delete it and new credentials are made")
    return found


def _make(path: Path) -> None:
    fresh = DevelopmentCredentials(
        {role: f"dev_{secrets.token_urlsafe(24)}" for role in (*ROLES, SECOND)}, secrets.token_urlsafe(48)
    )
    publish_file(path, msgspec.json.encode(fresh), mode=PRIVATE)
