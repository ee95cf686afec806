"""What the rows of an imported file say, judged as the gateway judges what is posted, in columns.

A text of printable ASCII of no more than 256 characters is a name by every rule (RULES 1), and a chunk of a file is
looked at for that as a whole. Where a chunk has anything else, each of its rows goes through the gateway's own rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

from connectors.gateway.records import PartitionCount, follow_record, profile_record
from connectors.log.interface import NewRecord
from connectors.tables import UNREADABLE, TableRows
from operators.validate import document_errors
from state.model.admission import FieldError
from state.model.documents import Document, Follow, Profile, Text
from state.model.topics import FOLLOWS, PROFILES

_TEXT_MAX = 256
_SWITCHES = {"true": True, "1": True, "false": False, "0": False}
_UNREADABLE_ROW = FieldError("", "cannot be read", "send one whole row, with no more values than columns")


class _User(Profile, kw_only=True):
    """A row about a user: what `PUT /v1/users/{user}` takes."""

    user: Text


@dataclass(frozen=True, slots=True)
class RowKind:
    """What the rows of a file say. Columns come in the order in which `record` takes them."""

    topic: str
    document: type[Document]
    needed: tuple[str, ...]
    """Columns that make the key."""
    optional: tuple[str, ...]
    texts: tuple[str, ...]
    """Columns of names."""
    record: Callable[..., NewRecord]

    @property
    def columns(self) -> tuple[str, ...]:
        """All."""
        return self.needed + self.optional


FOLLOWS_ROWS = RowKind(FOLLOWS, Follow, ("followee", "follower"), ("on",), ("followee", "follower"), follow_record)
USERS_ROWS = RowKind(PROFILES, _User, ("user",), ("locale", "name"), ("user", "name"), profile_record)


class Refused(NamedTuple):
    """A row that cannot be stored."""

    number: int
    error: FieldError
    values: dict[str, Any]


def plain(kind: RowKind, name: str, values: list[Any]) -> list[Any]:
    """A column as the gateway would get it: whole numbers as their digits, what is empty in an optional one as absent.

    `on` may be 1 or 0, or the words true and false, as CSV has them.
    """
    kinds = set(map(type, values))
    if name not in kind.texts and name == "on":
        return values if kinds <= {bool, type(None)} else [_switch(value) for value in values]
    if kinds == {int}:
        return list(map(str, values))
    if int in kinds:
        values = [str(value) if type(value) is int else value for value in values]
    if name in kind.optional and "" in values:
        values = [None if value == "" else value for value in values]
    return values


def _switch(value: Any) -> Any:
    if isinstance(value, str):
        return None if value == "" else _SWITCHES.get(value.lower(), value)
    return bool(value) if type(value) is int and value in (0, 1) else value


def judged(kind: RowKind, rows: TableRows) -> tuple[list[list[Any]], list[Refused]]:
    """The columns without the rows that cannot be stored, and those."""
    if all(_is_fine(kind, name, values) for name, values in zip(kind.columns, rows.columns, strict=True)):
        return rows.columns, []
    fine: list[Sequence[Any]] = []
    refused: list[Refused] = []
    for number, values in zip(rows.numbers, zip(*rows.columns, strict=True), strict=True):
        error = _error(kind, values)
        if error is None:
            fine.append(values)
        else:
            refused.append(Refused(number, error, dict(zip(kind.columns, values, strict=True))))
    return [list(column) for column in zip(*fine, strict=True)] or [[] for _ in kind.columns], refused


def _error(kind: RowKind, values: Sequence[Any]) -> FieldError | None:
    if values[0] is UNREADABLE:
        return _UNREADABLE_ROW
    row = dict(zip(kind.columns, values, strict=True))
    for name, value in row.items():
        if isinstance(value, str) and not value.isascii() and _is_foreign(value):
            return FieldError(name, "is not in UTF-8", "save the file in UTF-8")
    errors = document_errors(row, kind.document)
    return errors[0] if errors else None


def _is_foreign(text: str) -> bool:
    """Whether it has bytes of another encoding, which a CSV's reader leaves as halves of surrogate pairs."""
    return any("\udc80" <= sign <= "\udcff" for sign in text)


def _is_fine(kind: RowKind, name: str, values: Sequence[Any]) -> bool:
    """Whether a column holds nothing but what may be stored; if not, it may do so all the same."""
    try:
        given: Iterable[Any] = values if name in kind.needed else [each for each in values if each is not None]
        if name in kind.texts:
            return _are_names(given)
        return all(_is_stored(kind, name, value) for value in set(given))
    except TypeError:  # something that is no text, or cannot be in a set
        return False


def _are_names(values: Iterable[str]) -> bool:
    joined = "".join(values)
    return joined.isascii() and joined.isprintable() and all(values) and max(map(len, values), default=0) <= _TEXT_MAX


@lru_cache(4096, typed=True)
def _is_stored(kind: RowKind, name: str, value: Any) -> bool:
    return not document_errors({**dict.fromkeys(kind.needed, "x"), name: value}, kind.document)


def import_records(kind: RowKind, rows: TableRows, partitions: PartitionCount) -> list[NewRecord]:
    """What is written of some rows: those that can be stored."""
    return list(map(kind.record, *judged(kind, rows)[0], repeat(partitions)))
