"""What flows and commands open by the settings: the log, with this process's clock."""

import time
from collections.abc import Callable
from dataclasses import replace

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import Claim, ClaimableLog
from connectors.log.owners import RUNNING_CLOCK
from connectors.log.topics import COMPACTED_TOPICS
from flows.config.settings import Settings
from flows.process.steady_clock import SteadyClock

_CLOCK = SteadyClock(lambda: time.time_ns() // 1_000_000, lambda: time.clock_gettime_ns(RUNNING_CLOCK) // 1_000_000)


def clock_ms() -> int:
    """The wall clock in milliseconds since 1970; handed on as an argument, never read below flows/."""
    return _CLOCK()


def keep_looking_at_clock() -> None:
    """For the life of a process that asks for the time only when somebody calls."""
    _CLOCK.keep_looking()


def log_opener(settings: Settings, *, patient: bool = True, claim: Claim | None = None) -> Callable[[], ClaimableLog]:
    """Opens the configured log at each call; the caller closes it.

    `patient` is for flows: they wait for brokers (`kafka.patience`) where a gateway or a command gives an answer.
    `claim`: whose appends they are, see `flows.process.place`.
    """

    def opener() -> ClaimableLog:
        if settings.profile == "kafka":
            from connectors.log.kafka.log import KafkaLog

            options = replace(settings.kafka, deadline=settings.kafka.patience) if patient else settings.kafka
            return KafkaLog(
                settings.kafka.bootstrap,
                prefix=settings.log.prefix,
                options=options,
                claim=claim,
                compacted=COMPACTED_TOPICS,
            )
        return EmbeddedLog(settings.data_dir, clock=clock_ms, options=settings.embedded, claim=claim)

    return opener
