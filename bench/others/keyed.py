"""What the programs on Kafka share: a record of the topic `input` becomes one item for each user concerned."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.one_user import Post, Stored, decide_stored, new_user

INPUT, LEDGER = "input", "ledger"
PARTITIONS = 4
Item = dict[str, Any]
"""{"user", "document", "push"} sets a user up, {"post"} is for all followers, {"user", "post"} for one of them."""


def read_followers(file: Path) -> list[str]:
    """The graph, held beside the flow as the plain flow holds it: a user a line."""
    return file.read_text(encoding="utf-8").split()


def recipients(item: Item, followers: list[str]) -> Iterator[Item]:
    """One item for each user concerned."""
    if "user" in item:
        yield item
    else:
        yield from ({"user": user, "post": item["post"]} for user in followers)


def decide_item(item: Item, user: Stored | None) -> tuple[Stored, Item]:
    """(the user afterwards, the record for the ledger)."""
    if "post" not in item:
        return new_user(item["document"], push=item["push"]), {"user": item["user"], "outcome": "STORED"}
    user, (event_id, outcome, reason) = decide_stored(user or new_user({}, push=False), Post(*item["post"]))
    return user, {"event_id": event_id, "user": item["user"], "outcome": outcome, "reason": reason}
