"""What our own code logs, whatever an earlier test of the same session configured."""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from structlog.testing import capture_logs


@contextmanager
def captured_logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """The events logged meanwhile; a logger that was used under an earlier configuration forgets that first."""
    for module in list(sys.modules.values()):
        logger = getattr(module, "_logger", None)
        if type(logger).__name__ == "BoundLoggerLazyProxy":
            vars(logger).pop("bind", None)
    with capture_logs() as events:
        yield events
