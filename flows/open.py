"""What flows and commands open by the settings: the log, with this process's clock."""

import time
from collections.abc import Callable

from connectors.log.interface import Log
from connectors.log.open import open_log
from flows.settings import Settings


def clock_ms() -> int:
    """The wall clock in milliseconds since 1970; handed on as an argument, never read below flows/."""
    return time.time_ns() // 1_000_000


def log_opener(settings: Settings) -> Callable[[], Log]:
    """Opens the configured log anew at each call; whoever calls closes it."""

    def opener() -> Log:
        return open_log(
            settings.profile,
            directory=settings.data_dir,
            bootstrap=settings.kafka.bootstrap,
            clock=clock_ms,
            prefix=settings.log.prefix,
        )

    return opener
