"""Cursors of inbox pages: opaque, signed, and good for one user only.

Layout, base64url without padding: version u8 (1), at i64, number u64, big-endian, then 16 bytes of HMAC-SHA256 over
those 17 bytes and the user.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import struct
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from connectors.gateway.problems import ProblemError, invalid
from connectors.inbox.interface import RowPosition
from state.disk.files import PRIVATE, publish_file
from state.model.admission import FieldError

_LAYOUT = struct.Struct(">BqQ")
_VERSION = 1
_MAC_BYTES = 16
_SECRET_BYTES = 32


class Cursors:
    """Makes and reads cursors."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: the same for all gateways; it signs nothing else."""
        self._secret = secret

    def encode(self, user: str, position: RowPosition) -> str:
        """The cursor of the page behind `position`."""
        body = _LAYOUT.pack(_VERSION, position.at, position.number)
        return base64.urlsafe_b64encode(body + self._mac(user, body)).rstrip(b"=").decode()

    def decode(self, user: str, cursor: str) -> RowPosition:
        """:raises ProblemError: 400 if it was not made for this user by us."""
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise _refused() from error
        body, mac = data[: _LAYOUT.size], data[_LAYOUT.size :]
        if len(body) != _LAYOUT.size or not hmac.compare_digest(mac, self._mac(user, body)):
            raise _refused()
        version, at, number = _LAYOUT.unpack(body)
        if version != _VERSION:
            raise _refused()
        return RowPosition(at, number)

    def _mac(self, user: str, body: bytes) -> bytes:
        return hmac.new(self._secret, body + user.encode(), sha256).digest()[:_MAC_BYTES]


def _refused() -> ProblemError:
    return invalid([FieldError("cursor", "was not given for this inbox", "begin without a cursor")], "no such page")


def kept_secret(path: Path) -> bytes:
    """A secret of this installation, made at first use; readable by its owner only.

    Processes that start together agree on one. A file that is too short is what a kill left of an older program, which
    would go on with it; a new one takes its place.
    """
    with suppress(FileNotFoundError):
        if path.stat().st_size < _SECRET_BYTES:
            path.unlink()
    if not path.exists():
        publish_file(path, secrets.token_bytes(_SECRET_BYTES), mode=PRIVATE)
    return path.read_bytes()
