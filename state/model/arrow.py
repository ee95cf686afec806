"""Batches of records as Arrow IPC streams. Apart, since pyarrow is heavy: loaded by who meets a batch."""

from typing import Any

import pyarrow as pa

from state.model.errors import MalformedRecordError


def batch_rows(value: bytes, what: str) -> list[dict[str, Any]]:
    """The rows of a stream by the names of its columns.

    :raises MalformedRecordError: it is no such stream; the text begins with `what` it should be.
    """
    return read_table(value, what).to_pylist()


def read_table(value: bytes, what: str) -> pa.Table:
    """The columns of a stream. Raises as `batch_rows`."""
    try:
        return pa.ipc.open_stream(value).read_all()
    except pa.ArrowException as error:
        raise MalformedRecordError(f"{what}: {error}") from error
