"""Logs as JSON lines, on standard error or in a file: structlog's own and those of the standard library alike.

No line may hold a token, an address or content: callers pass names, numbers and ids only. Tracebacks keep their frames'
names, never their variables.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import structlog


def configure_logs(process: str, *, file: Path | None = None, level: int = logging.INFO) -> None:
    """Set up this process's logs from `level` on, to `file` (appended) in place of standard error if it is given."""
    shared: list[structlog.typing.Processor] = [
        _naming(process),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr) if file is None else logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)


def ensure_logs(process: str) -> None:
    """Configure, unless whoever runs this process has: for flows that the stock runner starts."""
    if not structlog.is_configured():
        configure_logs(process)


def _naming(process: str) -> structlog.typing.Processor:
    """Put the process's name first, in every thread."""

    def name(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": process, **event}

    return name
