"""Distinct preference documents by number, shared by all key groups of a process.

Number 0 is the empty document for ever. Another number gets a new document when no row uses the old one any more.
Columns that are derived per document (`operators.columns`) register to learn which numbers have a new document.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from state.model.preference import Preference, compile_preference

EMPTY = 0
INTEGER_MAX = 2**53


class PreferenceTable:
    """`compiled` and `documents` are parallel, by number."""

    def __init__(self) -> None:
        self.compiled: list[Preference] = [compile_preference({})]
        self.documents: list[bytes] = [b"{}"]
        self.renewed: list[set[int]] = []
        """Sets of numbers to compute again, one per registered reader."""
        self.derived: object = None
        """What operators derive per document, kept with the documents."""
        self._uses: list[int] = [0]
        self._number: dict[bytes, int] = {b"{}": EMPTY}
        self._free: list[int] = []

    def register(self) -> set[int]:
        """A set that collects the numbers with a new document from now on; the reader empties it."""
        renewed: set[int] = set(range(len(self.compiled)))
        self.renewed.append(renewed)
        return renewed

    def acquire(self, document: Mapping[str, Any], uses: int = 1) -> int:
        """The number of a document, its mutes left out, with so many users more."""
        content = _within_64_bits({key: value for key, value in document.items() if key != "muted"})
        key = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        number = self._number.get(key)
        if number is None:
            number = self._new(key, compile_preference(content))
        self._uses[number] += uses
        return number

    def acquire_stored(self, content: bytes, uses: int) -> int:
        """The same of a document as JSON: at a start most are known, and written as they were."""
        number = self._number.get(content)
        if number is None:
            return self.acquire(orjson.loads(content), uses)
        self._uses[number] += uses
        return number

    def _new(self, key: bytes, preference: Preference) -> int:
        if self._free:
            number = self._free.pop()
            self.compiled[number], self.documents[number], self._uses[number] = preference, key, 0
        else:
            number = len(self.compiled)
            self.compiled.append(preference)
            self.documents.append(key)
            self._uses.append(0)
        self._number[key] = number
        for renewed in self.renewed:
            renewed.add(number)
        return number

    def release(self, number: int) -> None:
        """One user less; a document without users gives its number back."""
        if number == EMPTY:
            return
        self._uses[number] -= 1
        if self._uses[number] == 0:
            del self._number[self.documents[number]]
            self._free.append(number)


def _within_64_bits(value: Any) -> Any:
    """The document with integers that no store or column can hold brought to the nearest that they can."""
    if isinstance(value, dict):
        return {key: _within_64_bits(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_within_64_bits(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-INTEGER_MAX, min(INTEGER_MAX, value))
    return value
