"""Retention and compaction of the embedded log, now and then: a thread of `carillon up`, or a process of its own beside
flows that another process manager runs (`python -m flows.up.maintenance`). On Kafka there is nothing to do.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import structlog

from connectors.archive.manifest import archived_up_to
from connectors.log.embedded.log import EmbeddedLog
from flows.config.settings import Settings, load_settings
from flows.process.drain import install_drain
from flows.process.logs import configure_logs
from flows.process.open import clock_ms
from flows.process.opening import open_configured_log
from flows.process.wild_clock import refuse_wild_clock
from state.model.dead_letter import error_text
from state.model.errors import CarillonError

INTERVAL = timedelta(seconds=60)
_NICE = 19
_LOOK = timedelta(milliseconds=200)
_logger = structlog.get_logger(__name__)


def maintain(settings: Settings, wait: Callable[[float], bool]) -> None:
    """Do it once per interval, giving way to everything else, until `wait(seconds)` says that it is time to end."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    log = open_configured_log(settings)
    while isinstance(log, EmbeddedLog) and not wait(INTERVAL.total_seconds()):
        try:
            refuse_wild_clock(log, clock_ms(), settings.log.rest_max)
            log.maintain(clock_ms(), archived_up_to(settings.data_dir / "archive"), settings.archive.wait_max)
        except (CarillonError, OSError) as error:  # a file that cannot be read now can be later
            detail = str(error) if isinstance(error, OSError) else error_text(error)
            _logger.warning("log_maintenance_failed", error=type(error).__name__, detail=detail)
    log.close()


def main() -> None:
    """Until SIGTERM."""
    configure_logs("maintenance")
    stopping, pause = install_drain(), threading.Event()

    def wait(seconds: float) -> bool:
        for _ in range(int(seconds / _LOOK.total_seconds())):
            if stopping() or pause.wait(_LOOK.total_seconds()):
                return True
        return stopping()

    maintain(load_settings(), wait)


if __name__ == "__main__":
    main()
