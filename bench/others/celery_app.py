"""The same decisions with Celery: a task per post makes one per thousand followers; all is kept in Redis.

Tasks are acknowledged when they are done, as Celery's guide has it for work that must not be lost. One worker process
keeps the order of a user's posts. The address of Redis is in CELERY_BROKER_URL, which Celery reads too.
"""

import json
import os
import sys
from itertools import islice
from typing import Any

from celery import Celery
from redis import Redis

from bench.one_user import Post, decide_stored

CHUNK = 1_000
LEDGER = "ledger"

app = Celery("others")
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_ignore_result=True)
store: Any = Redis.from_url(os.environ["CELERY_BROKER_URL"], decode_responses=True)


def _fan_out(post: list[object]) -> None:
    followers = iter(store.lrange("followers", 0, -1))
    while chunk := list(islice(followers, CHUNK)):
        decide_chunk.delay(post, chunk)


def _decide_chunk(values: tuple[str, str, int, int], names: list[str]) -> None:
    """Read the users, decide, and write them and the decisions in one transaction."""
    post, users = Post(*values), {}
    keys = [f"user:{name}" for name in names]
    with store.pipeline(transaction=True) as pipe:
        for name, key, text in zip(names, keys, store.mget(keys), strict=True):
            user, (event_id, outcome, reason) = decide_stored(json.loads(text), post)
            users[key] = json.dumps(user)
            decision = {"event_id": event_id, "user": name, "outcome": outcome, "reason": reason}
            pipe.xadd(LEDGER, {"decision": json.dumps(decision)})
        pipe.mset(users)
        pipe.execute()


fan_out = app.task(name="fan_out")(_fan_out)
decide_chunk = app.task(name="decide_chunk")(_decide_chunk)


def main() -> None:
    """Say "ready" once a worker answers; then each line that is read is a post to fan out."""
    while not app.control.ping(timeout=1):
        pass
    print("ready", flush=True)
    for line in sys.stdin:
        fan_out.delay(json.loads(line))


if __name__ == "__main__":
    main()
