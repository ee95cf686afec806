"""The topics of the system: names, partitions, retention (TOPICS.md)."""

from datetime import timedelta

from connectors.log import TopicSpec

EVENT_TOPICS = {"P0": "events.p0", "P1": "events.p1", "P2": "events.p2"}
SENT_CHANNELS = ("push", "sms", "email")
COMPACTED = ("preferences", "endpoints", "profiles", "segments", "follows", "followers")
BY_GROUP = (
    "events.p0",
    "events.p1",
    "events.p2",
    "reads",
    "work",
    "inbox",
    "ledger",
    "dead_letters",
    "retries",
)
ONE_PARTITION = ("control", "registry", "owners")


def deliver_topic(channel: str) -> str:
    """Where emissions for a channel go."""
    return f"deliver.{channel}"


def deliver_partition(priority: str, partition: int, partitions: int) -> int:
    """P1 in the lower half of a deliver topic's partitions, P2 in the upper (TOPICS.md)."""
    return partition + (partitions if priority == "P2" else 0)


def topic_specs(partitions: int, retention: timedelta) -> list[TopicSpec]:
    """Every topic; deliver lanes and their attempts have a half for P1 and one for P2."""
    keep = int(retention.total_seconds() * 1000)
    return [
        *(TopicSpec(name, partitions, compacted=True) for name in COMPACTED),
        *(TopicSpec(name, partitions, retention_ms=keep) for name in BY_GROUP),
        *(TopicSpec(name, 1, compacted=True) for name in ONE_PARTITION),
        TopicSpec("schedule", 1, compacted=True),  # by event_id: a kept event may wait longer than any retention
        *(TopicSpec(deliver_topic(channel), 2 * partitions, retention_ms=keep) for channel in SENT_CHANNELS),
        TopicSpec("attempts", 2 * partitions, retention_ms=keep),
    ]


COMPACTED_TOPICS = frozenset(spec.name for spec in topic_specs(1, timedelta()) if spec.compacted)
"""Those that keep the newest record of each key, for ever."""
