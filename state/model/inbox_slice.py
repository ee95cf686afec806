"""Batches of topic `inbox` that are one event for many users: recognised by their columns, without a look at each row.

Apart, since NumPy and pyarrow are heavy. Whatever is not surely such a batch is none, and is read row by row.
"""

from typing import Any

import msgspec
import numpy as np
import pyarrow
import pyarrow.compute

from state.model.arrow import batch_table, common_json
from state.model.errors import MalformedRecordError
from state.model.inbox import INBOX, AddedSlice, StoredOperation, operations_of

pa: Any = pyarrow  # its stubs do not know all that is used here
SLICE_USERS_MIN = 32
"""Fewer users are as quick one by one."""
_MANY = 500
"""So many names Arrow sorts as quickly."""


def added_slice(value: bytes) -> AddedSlice | None:
    """The users of a batch and what is added to each; None: it is no such batch.

    :raises MalformedRecordError: it is no batch at all, or a field does not fit.
    """
    table = batch_table(value, "inbox")
    if table.num_rows < SLICE_USERS_MIN:
        return None
    try:
        columns = {
            name: column.combine_chunks() for name, column in zip(table.column_names, table.columns, strict=True)
        }
        users: Any = columns.pop("user", None)
        names = None if users is None or not all(map(_is_one_value, columns.values())) else _sorted_names(users)
    except pa.ArrowException:
        return None
    if names is None:
        return None
    (first,) = operations_of([{"user": users[0].as_py()} | {name: each[0].as_py() for name, each in columns.items()}])
    return AddedSlice(first, names, len(users)) if first.op == "add" and not first.windowed else None


def shared_slice(value: bytes) -> AddedSlice | None:
    """The same of an `inbox/2+arrow`. Raises as `added_slice`."""
    operation, users, languages = _shared(value)
    if len(users) < SLICE_USERS_MIN or operation.op != "add" or operation.windowed:
        return None
    try:
        names = _sorted_names(users)
        by_language = {} if names is None or languages is None else _by_language(users, languages)
    except pa.ArrowException:
        return None
    first = msgspec.structs.replace(operation, user=users[0].as_py())
    return None if names is None else AddedSlice(first, names, len(users), by_language)


def _by_language(users: Any, languages: Any) -> dict[str | None, bytes]:
    """The users of each language, sorted."""
    plain = languages.cast(pa.string())
    found = {}
    for language in plain.unique():
        known = pa.compute.equal(plain, language) if language.is_valid else pa.compute.is_null(plain)
        own = users.filter(known)
        ordered = own.take(pa.compute.sort_indices(own))
        found[language.as_py()] = joined_names(ordered.cast(pa.binary()))
    return found


def shared_operations(value: bytes) -> list[StoredOperation]:
    """The operations of an `inbox/2+arrow`, in order. Raises as `added_slice`."""
    operation, users, languages = _shared(value)
    found = users.to_pylist()
    if not all(isinstance(user, str) for user in found):
        raise MalformedRecordError("inbox: user: no text, or missing")
    if languages is None:
        return [msgspec.structs.replace(operation, user=user) for user in found]
    return [
        msgspec.structs.replace(operation, user=user, language=language)
        for user, language in zip(found, languages.to_pylist(), strict=True)
    ]


def _shared(value: bytes) -> tuple[StoredOperation, Any, Any]:
    """The operation without its user, the users, and their languages if these differ."""
    table = batch_table(value, "inbox")
    operation = INBOX.decode(common_json(table, "inbox"))
    if "user" not in table.column_names:
        raise MalformedRecordError("inbox: user: missing")
    languages = table["language"].combine_chunks() if "language" in table.column_names else None
    if languages is not None and not _is_text(languages):
        raise MalformedRecordError("inbox: language: no text")
    return operation, table["user"].combine_chunks(), languages


def _is_text(column: Any) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(kind == pa.string())


def _is_one_value(column: Any) -> bool:
    """Whether it is the same in all rows; at once for a dictionary of one value, as decide writes them."""
    coded = pa.types.is_dictionary(column.type) and len(column.dictionary) == 1 and not column.null_count
    return coded or len(column.unique()) == 1


def _sorted_names(users: Any) -> bytes | None:
    """All different, none with a zero byte in it, as one text; None: they are not so."""
    if users.type != pa.string() or users.null_count:
        return None
    if len(users) < _MANY:
        found = sorted(set(users.cast(pa.binary()).to_pylist()))
        names = b"\0".join([b"", *found, b""])
        return names if len(found) == len(users) == names.count(b"\0") - 1 else None
    ordered = users.take(pa.compute.sort_indices(users))
    if not pa.compute.all(pa.compute.not_equal(ordered[1:], ordered[:-1])).as_py():
        return None
    names = joined_names(ordered.cast(pa.binary()))
    return names if names.count(b"\0") == len(users) + 1 else None


def joined_names(ordered: Any) -> bytes:
    """Sorted names, a binary array, as one text (`state/inbox/slices.py`)."""
    offsets = np.frombuffer(ordered.buffers()[1], np.int32)[ordered.offset : ordered.offset + len(ordered) + 1]
    characters = np.frombuffer(ordered.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    text = np.zeros(len(characters) + len(offsets), np.uint8)
    of_names = np.ones(len(text), np.bool_)
    of_names[offsets - offsets[0] + np.arange(len(offsets))] = False
    text[of_names] = characters
    return text.tobytes()
