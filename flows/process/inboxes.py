"""How a process that only reads opens the inboxes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from connectors.inbox.interface import InboxReader
from connectors.inbox.options import InboxRedisOptions
from connectors.log.interface import Log
from flows.process.directories import INBOX


def inbox_reader(data_dir: Path, log: Log, redis: InboxRedisOptions | None) -> InboxReader:
    """Those in Redis, or of the data directory; the caller closes it."""
    if redis is not None:
        from connectors.inbox.redis import RedisInboxReader  # heavy, and rarely configured

        return RedisInboxReader(redis, log.partitions("inbox"))
    from connectors.inbox.rocksdb import RocksInboxReader

    own = data_dir / "run" / f"inbox-reader-{os.getpid()}-{time.monotonic_ns()}"
    return RocksInboxReader(data_dir / INBOX, log.partitions("inbox"), own)
