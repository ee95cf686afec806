"""Options of inbox stores."""

from dataclasses import dataclass
from datetime import timedelta

from connectors.admission.options import RedisOptions


@dataclass(frozen=True, slots=True)
class InboxRedisOptions(RedisOptions):
    """Where the Redis of inboxes is and how long a gateway waits for it. It must neither evict nor forget."""

    deadline: timedelta = timedelta(seconds=1)
    """Longest wait of a gateway for a connection, and for an answer. Default: 1 s."""
