"""The same decisions with Quix Streams: expand to recipients, group by user, decide with state, write to a topic.

Arguments: brokers, folder of the state, file of the followers.
"""

import sys
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.models import TopicConfig

from bench.others.keyed import INPUT, LEDGER, PARTITIONS, Item, decide_item, read_followers, recipients


def _decide(item: Item, state: Any) -> Item:
    user, record = decide_item(item, state.get("user"))
    state.set("user", user)
    return record


def main(brokers: str, directory: str, followers_file: str) -> None:
    """Run until it is ended."""
    followers = read_followers(Path(followers_file))
    config = TopicConfig(num_partitions=PARTITIONS, replication_factor=1)
    app = Application(
        broker_address=brokers,
        consumer_group="others",
        auto_offset_reset="earliest",
        state_dir=directory,
        loglevel="WARNING",
    )
    items = app.dataframe(app.topic(INPUT, value_deserializer="json", config=config))
    keyed = items.apply(lambda item: list(recipients(item, followers)), expand=True).group_by("user")
    keyed.apply(_decide, stateful=True).to_topic(app.topic(LEDGER, value_serializer="json", config=config))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
