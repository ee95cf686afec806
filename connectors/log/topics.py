"""The topics of the system: what each holds, who writes and reads it, and how long it is kept.

One table. From it come the topics that `carillon` creates, those that a flow owns and writes, the pictures in TOPICS.md
and ARCHITECTURE.md. Commands and recoveries read other topics besides.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal, NamedTuple

from connectors.log.interface import TopicSpec
from state.model import topics as names

STATIONS = "sequence decide transactional deliver inbox track schedule"
_LANES = "transactional deliver"
_ORDERED = f"sequence {_LANES}"
_EVENT_KEY = "target, segment or actor"


class Topic(NamedTuple):
    """One topic. Schemas, writers and readers are lists of words."""

    name: str
    schemas: str
    """The records that it holds, without their version."""
    key: str
    divided: Literal["groups", "classes", "no"]
    """By key group; so for P1, and behind that once more for P2; or one partition."""
    compacted: bool
    """It keeps the newest record of each key for ever. Others keep everything, most of them for a time."""
    writers: str
    """Stations, or `commands`, or `flows`: whoever owns a place."""
    readers: str
    """Stations, `commands` or `flows`, or `others`: programs outside Carillon."""


TOPICS = (
    Topic(names.EVENTS_P0, "event", _EVENT_KEY, "groups", False, "gateway schedule", _LANES),
    Topic(names.EVENTS_P1, "event", _EVENT_KEY, "groups", False, "gateway schedule", _ORDERED),
    Topic(names.EVENTS_P2, "event", _EVENT_KEY, "groups", False, "gateway schedule", _ORDERED),
    Topic(names.SCHEDULE, "event cancel released", "event_id", "no", True, "gateway schedule", "gateway schedule"),
    Topic(names.CAMPAIGNS, "campaign_act campaign_chunk campaign_order campaign_released campaign_bad_rows",
          "campaign and what is said of it", "no", True, "gateway commands schedule", "gateway commands schedule"),
    Topic(names.PREFERENCES, "preference", "user", "groups", True, "gateway", f"gateway {_ORDERED}"),
    Topic(names.ENDPOINTS, "endpoint", "address", "groups", True, f"gateway {_LANES} commands", f"gateway {_ORDERED}"),
    Topic(names.PROFILES, "profile", "user", "groups", True, "gateway commands", "sequence transactional"),
    Topic(names.SEGMENTS, "segment", "segment and chunk", "groups", True, "gateway", "gateway sequence"),
    Topic(names.FOLLOWS, "follow", "pair, by followee", "groups", True, "gateway commands", "sequence"),
    Topic(names.FOLLOWERS, "follow", "pair, by follower", "groups", True, "sequence commands", "others"),
    Topic(names.READS, "read", "user", "groups", False, "gateway", "gateway sequence"),
    Topic(names.CONTROL, "kill load", "scope and value", "no", True, f"gateway commands {_ORDERED} decide inbox",
          f"gateway {_ORDERED}"),
    Topic(names.REGISTRY, "credit template type limit limit_request", "process, type, sender, or type and locale", "no",
          True, "gateway decide commands", f"gateway schedule {_ORDERED} commands"),
    Topic(names.OWNERS, "owner fences", "place", "no", True, "flows", "flows"),
    Topic(names.WORK, "work", "key group", "groups", False, "sequence", "decide track commands"),
    Topic(names.RETRIES, "work", "key group", "groups", False, "commands", "sequence"),
    Topic(names.LEDGER, "decision slice emission delivery counts", "user or key group", "groups", False,
          f"decide {_LANES} inbox", "gateway track commands"),
    Topic(names.INBOX, "inbox", "user or key group", "groups", False, "decide transactional", "gateway inbox"),
    Topic(names.ATTEMPTS, "attempt", "delivery", "classes", False, _LANES, _LANES),
    Topic(
        names.OUTCOMES, "outcome", "user", "groups", False, "gateway transactional deliver commands",
        "gateway track commands",
    ),
    Topic(names.DEAD_LETTERS, "dead dead_action", "that of the record, or a letter's id", "groups", False,
          f"{STATIONS} commands", "gateway track commands"),
    Topic(names.AUDIT, "audit approval", "person", "no", False, "gateway commands", "gateway track commands"),
    *(
        Topic(
            name, "emission withdrawal" if name == names.DELIVER["push"] else "emission",
            "user or key group", "classes", False, "decide", "deliver",
        )
        for name in names.DELIVER.values()
    ),
)  # fmt: skip
"""Every topic."""
KEPT_FOR_EVER = frozenset({names.AUDIT})
"""Topics whose records all stay."""
COMPACTED_TOPICS = frozenset(topic.name for topic in TOPICS if topic.compacted)


def written_by(station: str) -> tuple[str, ...]:
    """What a station appends to."""
    return tuple(topic.name for topic in TOPICS if station in topic.writers.split())


def read_by(station: str) -> tuple[str, ...]:
    """What a station reads while it runs."""
    return tuple(topic.name for topic in TOPICS if station in topic.readers.split())


def deliver_partition(priority: str, partition: int, partitions: int) -> int:
    """P1 in the lower half of a deliver topic's partitions, P2 in the upper (TOPICS.md)."""
    return partition + (partitions if priority == "P2" else 0)


def topic_specs(partitions: int, retention: timedelta) -> list[TopicSpec]:
    """Every topic, as it is created."""
    keep, number = int(retention.total_seconds() * 1000), {"groups": partitions, "classes": 2 * partitions, "no": 1}
    return [
        TopicSpec(
            each.name,
            number[each.divided],
            each.compacted,
            None if each.compacted or each.name in KEPT_FOR_EVER else keep,
        )
        for each in TOPICS
    ]


def topic_table() -> Iterator[str]:
    """The table in TOPICS.md, line by line."""
    number = {"groups": "P, by key group", "classes": "2 P, by class and key group", "no": "1"}
    yield "| topic | records | key | partitions | kept | written by | read by |"
    yield "|---|---|---|---|---|---|---|"
    for topic in TOPICS:
        kept = "newest of each key" if topic.compacted else "`log.retention`"
        kept = "for ever" if topic.name in KEPT_FOR_EVER else kept
        schemas, writers, readers = (
            ", ".join(words.split()) for words in (topic.schemas, topic.writers, topic.readers)
        )
        yield f"| `{topic.name}` | {schemas} | {topic.key} | {number[topic.divided]} | {kept} | {writers} | {readers} |"
