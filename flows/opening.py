"""What every process of the system opens the same way: the log of the profile in force and its topics."""

from __future__ import annotations

from datetime import timedelta

from connectors.log.interface import Log, TopicSpec
from flows.open import log_opener
from flows.settings import Settings
from flows.topics import topic_specs


def open_log(settings: Settings) -> Log:
    """A log of this process's own; the caller closes it."""
    return log_opener(settings)()


def system_topics(settings: Settings) -> list[TopicSpec]:
    """Every topic, with those where the configured producers may write directly (CONTRACT, `ingest.<sender>`)."""
    partitions, retention = settings.log.partitions, settings.log.retention
    keep_ms = retention // timedelta(milliseconds=1)
    ingest = [TopicSpec(name, partitions, retention_ms=keep_ms) for name in ingest_topics(settings)]
    return [*topic_specs(partitions, retention), *ingest]


def ingest_topics(settings: Settings) -> list[str]:
    """`ingest.<sender>` of every configured producer, and `ingest.p0.<sender>` where it may send P0."""
    producers = {name: sender for name, sender in settings.senders.items() if sender.role == "producer"}
    p0 = [f"ingest.p0.{name}" for name, sender in producers.items() if "P0" in sender.classes]
    return [*(f"ingest.{name}" for name in producers), *p0]
