"""The objects that a record holds, whatever its form."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pyarrow.ipc

from connectors.log import NewRecord

JSON_COLUMNS = ("devices", "rest", "payload", "quiet")


def rows_of(record: NewRecord) -> list[dict[str, Any]]:
    """The objects of a record: one, or those of a batch."""
    schema = dict(record.headers)["schema"]
    if schema.endswith(b"+json"):
        return [orjson.loads(record.value)]
    rows: list[dict[str, Any]] = pyarrow.ipc.open_stream(io.BytesIO(record.value)).read_all().to_pylist()
    for row in rows:
        if row.get("quiet", 0) is None:  # a single record has no such key
            del row["quiet"]
        for name in (*JSON_COLUMNS, *(["actors"] if record.topic.startswith("deliver") else [])):
            if isinstance(row.get(name), str):
                row[name] = orjson.loads(row[name])
    return rows
