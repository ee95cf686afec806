"""The signed links that open a user's page of preferences for a while, without signing in.

A token (`state.model.signed`) says when it ends, then the user and a language. Whoever has it may see and change the
user's preferences until then, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from state.model.signed import Signed, TokenKeys

_PURPOSE = b"carillon preferences 1\0"


class PageLink(NamedTuple):
    """Whose page a link opens, and until when."""

    user: str
    language: str
    """A language tag; empty: that of the browser."""
    ends_at: int
    """The first moment at which it is none any more, in milliseconds."""


class PageKeys:
    """Signs tokens with the first key, and reads those of every key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Without keys no token is good, and none can be signed."""
        self._tokens = TokenKeys(_PURPOSE, keys)

    def sign(self, link: PageLink) -> str:
        """The token; the same for the same link."""
        return self._tokens.sign(Signed(link.ends_at, (link.user, link.language)))

    def read(self, token: str, *, now_ms: int) -> PageLink | None:
        """Whose page it opens; None if none of the keys signed exactly this token, or its time is over."""
        said = self._tokens.read(token)
        if said is None or said.moment <= now_ms:
            return None
        user, language = said.texts
        return PageLink(user, language, said.moment)
