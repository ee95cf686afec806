"""Batches of topic `inbox` that are one event for many users: recognised by their columns, without a look at each row.

Apart, since NumPy and pyarrow are heavy. Whatever is not surely such a batch is none, and is read row by row.
"""

from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute

from state.model.arrow import batch_table
from state.model.inbox import AddedSlice, operations_of

pa: Any = pyarrow  # its stubs do not know all that is used here
SLICE_USERS_MIN = 32
"""Fewer users are as quick one by one."""


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


def _is_one_value(column: Any) -> bool:
    """Whether it is the same in all rows; at once for a dictionary of one value, as decide writes them."""
    coded = pa.types.is_dictionary(column.type) and len(column.dictionary) == 1 and not column.null_count
    return coded or len(column.unique()) == 1


def _sorted_names(users: Any) -> bytes | None:
    """All different, none with a zero byte in it, as one text; None: they are not so."""
    if users.type != pa.string() or users.null_count:
        return None
    users.validate(full=True)
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
