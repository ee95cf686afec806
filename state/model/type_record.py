"""Types that are published while the system runs (RULES 7): they take the place of their tables in the file."""

from collections.abc import Mapping
from typing import Any

import msgspec

from state.model.event import SafeInt
from state.model.registry import Registry, registry_of
from state.model.schema import Schema


class TypeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force of a type from this record of topic `registry` on."""

    type: str
    version: SafeInt
    """Counts up from 1, also when it is taken back."""
    by: str
    reason: str | None = None
    table: dict[str, Any] | None = None
    """As `[types.NAME]`; None: taken back, what the file says holds again."""
    taken_back_schema: str = ""
    """Of what is taken back, the payload schema: what is published later still has to follow it."""


def taken_back(before: TypeRecord | None) -> str:
    """The schema of the last table that was published and taken back since; empty: none was."""
    return "" if before is None or before.table is not None else before.taken_back_schema


def next_record(
    before: TypeRecord | None, name: str, table: dict[str, Any] | None, by: str, reason: str | None
) -> TypeRecord:
    """What is appended behind the newest record of a type."""
    version = 1 if before is None else before.version + 1
    schema = "" if before is None or table is not None else (before.table or {}).get("schema", "")
    return TypeRecord(type=name, version=version, by=by, reason=reason, table=table, taken_back_schema=schema)


TYPE = Schema("type", TypeRecord)


def with_published(
    configured: Mapping[str, Mapping[str, Any]], published: Mapping[str, Mapping[str, Any] | None],
    *, reader: bool = False,
) -> Registry:  # fmt: skip
    """The registry of the file's tables, with those that are published in their places; `reader` as in `load_registry`.

    :raises ConfigurationError: naming the key.
    """
    named = {name: table for name, table in published.items() if table is not None}
    return registry_of({**configured, **named}, reader=reader)
