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
SLICE_USERS_MIN = 64
"""Fewer users are as quick one by one."""


def added_slice(value: bytes) -> AddedSlice | None:
    """The users of a batch and what is added to each; None: it is no such batch.

    :raises MalformedRecordError: it is no batch at all, or a field does not fit.
    """
    table = batch_table(value, "inbox")
    if table.num_rows < SLICE_USERS_MIN or "user" not in table.column_names:
        return None
    try:
        names = _sorted_names(table["user"].combine_chunks()) if _alike(table.drop_columns(["user"])) else None
    except pa.ArrowException:
        return None
    if names is None:
        return None
    (first,) = operations_of(table.slice(0, 1).to_pylist())
    return AddedSlice(first, names, table.num_rows) if first.op == "add" and not first.windowed else None


def _alike(table: Any) -> bool:
    """Whether all rows are the same."""
    return all(len(column.unique()) == 1 for column in table.columns)


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
