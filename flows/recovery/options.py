"""When stores are exported. Apart from the exporter: every process reads the configuration, few own a store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """When exports of the stores of decide, sequence and inbox are written to `DIR/exports`, and which are kept."""

    every: timedelta = timedelta(hours=1)
    """Time between two exports of a store. Less than a quarter of log.retention. Default: an hour."""
    keep: int = 3
    """Newest exports of a store that are kept. Default: three."""
    spacing: timedelta = timedelta(days=1)
    """Distance of older exports that are kept, as far back as the log goes, for replays. Default: a day."""
    archive_spacing: timedelta = timedelta(days=7)
    """Distance of still older exports of decide that are kept, as far back as the archive goes. Default: a week."""
