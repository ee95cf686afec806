"""Options of Redis, in a module of their own: the client is heavy, and who does not use it does not load it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """Where Redis is and how long to wait for it."""

    url: str = field(repr=False)
    """`redis://` or `rediss://` (TLS, certificate checked), with user, password and database. May hold a secret."""
    prefix: str = "carillon"
    """First part of every key. Default: carillon."""
    deadline: timedelta = timedelta(milliseconds=100)
    """Longest wait for a connection, and for an answer; a call may take both. Default: 100 ms."""
    connections_max: int = 16
    """Connections of this process. Default: 16."""
