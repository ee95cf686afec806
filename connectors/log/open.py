"""Opens the log that a configuration names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from connectors.log.embedded.log import EmbeddedLog, EmbeddedOptions
from connectors.log.interface import Log
from state.model.errors import ConfigurationError


def open_log(
    profile: Literal["embedded", "kafka"],
    *,
    directory: Path,
    bootstrap: str | None,
    clock: Callable[[], int],
    prefix: str = "",
    sync_full: bool = False,
) -> Log:
    """Open a log; the caller closes it.

    The embedded log lies under `directory` and stamps appends with `clock`, milliseconds since 1970; `sync_full`
    makes it survive a loss of power. Kafka is found at `bootstrap` and stamps by its own clock; `prefix` is put
    before its topics.

    :raises ConfigurationError: Kafka without a bootstrap address.
    """
    if profile == "embedded":
        return EmbeddedLog(directory, clock=clock, options=EmbeddedOptions(sync_full=sync_full))
    if not bootstrap:
        raise ConfigurationError("log.bootstrap is missing: the profile kafka needs the address of a broker, host:port")
    from connectors.log.kafka.log import KafkaLog

    return KafkaLog(bootstrap, prefix=prefix)
