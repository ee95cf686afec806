"""The same decisions with Faust: an agent expands to recipients, another one decides with a table by user in RocksDB.

Arguments: brokers, folder of the state, file of the followers.
"""

import sys
from pathlib import Path
from typing import Any

import faust

from bench.others.keyed import INPUT, LEDGER, PARTITIONS, decide_item, read_followers, recipients


def make(brokers: str, directory: str, followers_file: str) -> Any:
    """The app, wired."""
    followers = read_followers(Path(followers_file))
    app = faust.App(
        "others",
        broker=f"kafka://{brokers}",
        store="rocksdb://",
        datadir=directory,
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
    )
    items, ledger = app.topic(INPUT, value_serializer="json"), app.topic(LEDGER, value_serializer="json")
    by_user = app.topic("by_user", key_type=str, value_serializer="json", internal=True)
    users = app.Table("users", partitions=PARTITIONS)

    async def expand(stream: Any) -> None:
        async for item in stream:
            for each in recipients(item, followers):
                await by_user.send(key=each["user"], value=each)

    async def decide(stream: Any) -> None:
        async for item in stream:
            users[item["user"]], record = decide_item(item, users.get(item["user"]))
            await ledger.send(key=item["user"], value=record)

    app.agent(items)(expand)
    app.agent(by_user)(decide)
    return app


if __name__ == "__main__":
    app = make(*sys.argv[1:4])
    sys.argv[1:] = ["worker", "--loglevel=warn", "--without-web"]
    app.main()
