"""Metrics of processes that serve no HTTP: each writes its own into a file, and the ordinary gateway shows them all.

`DIR/run/metrics/<process>.prom`, replaced as a whole every `WRITE_EVERY`, is in Prometheus' text format. Every sample
bears the label `process`, so the folder also suits node_exporter's textfile collector, on hosts without a gateway.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import copy
from datetime import timedelta
from pathlib import Path

import prometheus_client
import structlog
from prometheus_client import Metric
from prometheus_client.registry import Collector

from state.disk.files import replace_unflushed

METRICS = Path("run") / "metrics"
"""Below the data directory."""
WRITE_EVERY = timedelta(seconds=10)
STALE_AFTER = timedelta(seconds=60)
"""The process has ended, or stands still: what it said last is not shown."""
_CREATED = "_created"
"""When a counter began, as a metric of its own: text made of text would have it twice."""
_logger = structlog.get_logger(__name__)


class _Given(Collector):
    """Metrics as they are, for whoever writes them as text."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _text(metrics: Iterable[Metric]) -> bytes:
    return prometheus_client.generate_latest(_Given(metrics))


def _own() -> list[Metric]:
    """Those of this process, as copies: some collectors give the same object each time."""
    return [copy(metric) for metric in prometheus_client.REGISTRY.collect()]


def write_metrics(directory: Path, process: str) -> None:
    """Replace the process's file with all that it counts now."""
    metrics = _own()
    for metric in metrics:
        metric.samples = [sample._replace(labels={"process": process, **sample.labels}) for sample in metric.samples]
    replace_unflushed(directory / f"{process}.prom", _text(metrics))


def keep_writing(directory: Path, process: str) -> None:
    """Write for the life of this process, in a thread; once, also where several flows share the process."""
    if any(thread.name == _THREAD for thread in threading.enumerate()):
        return

    def write() -> None:
        while True:
            try:
                write_metrics(directory, process)
            except OSError as error:  # a full disk: metrics come again when there is room
                _logger.warning("metrics_not_written", error=error.strerror)
            time.sleep(WRITE_EVERY.total_seconds())

    threading.Thread(target=write, name=_THREAD, daemon=True).start()


_THREAD = "metric-file"


def all_metrics(directory: Path | None) -> bytes:
    """Those of this process, and those in the files of others that are not stale, as text."""
    found: dict[str, Metric] = {metric.name: metric for metric in _own()}
    for metric in () if directory is None else _written(directory):
        known = found.setdefault(metric.name, metric)
        if known is not metric:
            known.samples = [*known.samples, *metric.samples]
    return _text(found.values())


def written_lines(directory: Path, begins: tuple[str, ...]) -> str:
    """The lines of other processes that begin so: for who looks often, and needs few."""
    lines = (line for _, text in _fresh(directory) for line in text.splitlines(keepends=True))
    return "".join(line for line in lines if line.startswith(begins))


def _fresh(directory: Path) -> Iterator[tuple[Path, str]]:
    oldest = time.time() - STALE_AFTER.total_seconds()
    for file in sorted(directory.glob("*.prom")):
        with suppress(FileNotFoundError):  # a file is removed by hand while we look
            if file.stat().st_mtime >= oldest:
                yield file, file.read_text("utf-8", "replace")


def _written(directory: Path) -> Iterator[Metric]:
    from prometheus_client.parser import text_string_to_metric_families

    for file, text in _fresh(directory):
        try:
            families = [*text_string_to_metric_families(text)]
        except ValueError:  # somebody else's; the others are shown
            _logger.warning("metrics_not_read", file=file.name)
            continue
        yield from (family for family in families if not family.name.endswith(_CREATED))
