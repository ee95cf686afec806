"""Cursors of inbox pages: opaque, signed, and good for one user only; and the secrets that sign what gateways give.

A cursor is a token (`state.model.signed`) of a row's time and number, whose purpose names the user.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from connectors.gateway.problems import invalid
from connectors.inbox.interface import RowPosition
from state.disk.files import PRIVATE, publish_file
from state.model.admission import FieldError
from state.model.signed import Signed, TokenKeys

_PURPOSE = "carillon cursor 1\0"
_SECRET_BYTES = 32
_logger = structlog.get_logger(__name__)


class Cursors:
    """Makes and reads cursors."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """The first signs, each is taken: the same for all gateways, for nothing else."""
        self._keys = keys

    def encode(self, user: str, position: RowPosition) -> str:
        """The cursor of the page behind `position`."""
        return self._tokens(user).sign(Signed(position.at, (str(position.number),)))

    def decode(self, user: str, cursor: str) -> RowPosition:
        """:raises ProblemError: 400 if it was not made for this user by us."""
        said = self._tokens(user).read(cursor)
        if said is None:
            wrong = FieldError("cursor", "was not given for this inbox", "begin without a cursor")
            raise invalid([wrong], "no such page")
        return RowPosition(said.moment, int(said.texts[0]))

    def _tokens(self, user: str) -> TokenKeys:
        return TokenKeys(f"{_PURPOSE}{user}\0".encode(), self._keys)


def shared_secret(path: Path, of_all: bytes) -> bytes:
    """What signs what the file is named for: gateways that share no directory make it of the secret of them all."""
    return hmac.digest(of_all, path.name.encode(), "sha256") if of_all else kept_secret(path)


def cursor_secrets(path: Path, of_all: bytes, before: bytes) -> list[bytes]:
    """The one that signs, and those before it, so that a change of the secret takes nobody's next page from him."""
    former = [shared_secret(path, before)] if before else []
    return [shared_secret(path, of_all), *former, *([kept_secret(path)] if of_all and path.exists() else [])]


def kept_secret(path: Path) -> bytes:
    """A secret of this installation, made at first use; readable by its owner only.

    Processes that start together agree on one. A file that is too short is what a kill left of an older program, which
    would go on with it; zeros are what a disk may leave of a file when the power goes, and anybody could sign with
    them. A new one takes its place.
    """
    with suppress(FileNotFoundError):
        kept = path.read_bytes()
        if len(kept) < _SECRET_BYTES or not any(kept):
            _logger.warning("secret_made_anew", file=str(path), effect="what it has signed is not valid any more")
            path.unlink()
    if not path.exists():
        publish_file(path, secrets.token_bytes(_SECRET_BYTES), mode=PRIVATE)
    return path.read_bytes()
