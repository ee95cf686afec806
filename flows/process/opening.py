"""What the supervisor and commands open: the log of the profile in force, and the topics that it should hold."""

from __future__ import annotations

from connectors.log.interface import Log, TopicSpec
from connectors.log.topics import topic_specs
from flows.config.settings import Settings
from flows.process.open import log_opener


def open_configured_log(settings: Settings) -> Log:
    """A log of this process's own; the caller closes it."""
    return log_opener(settings, patient=False)()


def system_topics(settings: Settings) -> list[TopicSpec]:
    """Every topic, with the partitions and the retention that the settings want."""
    return topic_specs(settings.log.partitions, settings.log.retention)
