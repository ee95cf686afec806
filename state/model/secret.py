"""A value that must never be printed: keys, passwords, signing secrets."""

from __future__ import annotations

import hmac


class Secret:
    """Holds a text that appears in no log, error or repr; `reveal` gives it to the one place that needs it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; pass it on, never print it."""
        return self._text

    def matches(self, text: str) -> bool:
        """Compare in a time that does not depend on where the texts differ."""
        return hmac.compare_digest(self._text.encode(), text.encode())

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._text)

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (self._text,)
