"""Limits of senders that ops grant while the system runs (RULES 1), and that somebody asked for more."""

from __future__ import annotations

import msgspec

from state.model.event import SafeInt
from state.model.schema import Schema


class LimitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """So many events in any second are granted from this record on, in place of the configured limit."""

    sender: str
    per_second: SafeInt
    by: str
    reason: str | None = None


LIMIT = Schema("limit", LimitRecord)
LIMIT_REQUEST = Schema("limit_request", LimitRecord)
"""So many are asked for; open until a limit is granted behind it in the log."""
