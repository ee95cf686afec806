"""The types in force, for the life of a process."""

from __future__ import annotations

from connectors.log.interface import Log
from connectors.types import PublishedTypes
from flows.config.settings import Settings
from flows.process.place import keep_until_end


def published_types(settings: Settings, log: Log) -> PublishedTypes:
    """The file's types, and those that are published in their places; followed until the process ends.

    :raises LogError: the log cannot be read.
    """
    found = PublishedTypes(log, settings.types).start()
    keep_until_end(found)
    return found
