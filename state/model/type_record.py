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


TYPE = Schema("type", TypeRecord)


def with_published(
    configured: Mapping[str, Mapping[str, Any]], published: Mapping[str, Mapping[str, Any] | None]
) -> Registry:
    """The registry of the file's tables, with those that are published in their places.

    :raises ConfigurationError: naming the key.
    """
    named = {name: table for name, table in published.items() if table is not None}
    return registry_of({**configured, **named})
