"""Notices an address from which the preferences of many users are changed: somebody may have their sessions.

It is told and counted once an hour for each address, and nothing is refused: a large company or a mobile network may
have one. Who it is, the proxy's log says: no address is kept, and here its hash is forgotten within the hour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import structlog

from connectors.metrics import PREFERENCE_FLOODS

MANY = 100
"""Users in an hour."""
_REMEMBERED_MAX = 200_000
_HOUR_MS = 3_600_000
_logger = structlog.get_logger(__name__)


class ManyUsers:
    """Of one process. It remembers whole hours, and begins anew where one has more than fits."""

    def __init__(self, clock: Callable[[], int], *, many: int = MANY) -> None:
        """`clock` in milliseconds since 1970."""
        self._clock, self._many = clock, many
        self._hour = self._remembered = 0
        self._users = defaultdict[int, set[int]](set)

    def changes(self, address: str, user: str) -> None:
        """Somebody at the address changes the user's preferences."""
        hour = self._clock() // _HOUR_MS
        if hour != self._hour or self._remembered >= _REMEMBERED_MAX:
            self._users.clear()
            self._hour, self._remembered = hour, 0
        users = self._users[hash(address)]
        before = len(users)
        if before == self._many:
            return
        users.add(hash(user))
        self._remembered += len(users) - before
        if before < len(users) == self._many:
            PREFERENCE_FLOODS.inc()
            _logger.warning("preferences_of_many_users", users=self._many)
