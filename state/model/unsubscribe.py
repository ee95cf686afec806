"""The signed links by which a person leaves a category of mails without signing in (RFC 8058).

A token (`state.model.signed`) says when the mail's emission was made, then user, channel and each category. It has no
end: who unsubscribes after two years is right, too. It opens nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from state.model.signed import Signed, TokenKeys

KEY_BYTES_MIN = 32
_PURPOSE = b"carillon unsubscribe 1\0"


class Unsubscription(NamedTuple):
    """What a link switches off."""

    user: str
    channel: str
    categories: tuple[str, ...]
    issued_at: int
    """Of the emission whose mail bore it, in milliseconds; it decides nothing."""


class LinkKeys:
    """Signs tokens with the first key, and reads those of every key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Without keys no token is good, and none can be signed."""
        self._tokens = TokenKeys(_PURPOSE, keys)

    def sign(self, link: Unsubscription) -> str:
        """The token; the same for the same link."""
        return self._tokens.sign(Signed(link.issued_at, (link.user, link.channel, *link.categories)))

    def read(self, token: str) -> Unsubscription | None:
        """What it switches off; None if none of the keys signed exactly this token."""
        said = self._tokens.read(token)
        if said is None:
            return None
        user, channel, *categories = said.texts
        return Unsubscription(user, channel, tuple(categories), said.moment)
