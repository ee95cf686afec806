"""What people did to the system, as topic `audit` keeps it for ever (TOPICS.md)."""

from typing import Any, Literal

import msgspec

from state.model.event import SafeInt
from state.model.schema import Schema

Act = Literal[
    "kill", "lift", "explain", "history", "search", "retry_letter", "discard_letter", "sign_in", "sign_out_everywhere",
]  # fmt: skip
"""What can be done."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act of a person. It tells who looked at whom, and never what he saw."""

    at: SafeInt
    """When, in milliseconds."""
    by: str
    """The name of his credential, or of the person at the command line."""
    role: str
    act: Act
    about: dict[str, str] = {}
    """What it was done to: `user`, `event`, `scope` and `value`, `letter`."""
    reason: str | None = None
    """In his words."""
    before: dict[str, Any] | None = None
    """What was so before, where the act changed something."""
    after: dict[str, Any] | None = None


AUDIT = Schema("audit", AuditRecord)
