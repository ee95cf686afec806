"""The exporter of a process: a thread that writes exports of the stores that the process owns (DECISIONS, Exports).

It reads the rows that were committed when it began, so the flow does not wait for it. It gives way between blocks of
rows, and has the lowest priority where threads can have one. A failure is reported and tried again; it ends neither the
flow nor the thread, and the other stores are exported all the same.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path

import structlog
from rocksdict import DbClosedError

from connectors.archive.manifest import read_manifest
from connectors.log.interface import Log
from connectors.log.topics import COMPACTED_TOPICS
from connectors.metrics import EXPORT_SECONDS, EXPORTS
from flows.recovery.options import ExportOptions
from state.disk.exports import (
    Export,
    ExportSource,
    exported_stores,
    forget_exports,
    list_exports,
    prune_exports,
    verify_export,
    write_export,
)
from state.model.errors import CarillonError, StateDamagedError
from state.model.keys import partition_of_group

_LOOK = timedelta(seconds=1)
_FIRST = timedelta(seconds=10)
_END_WITHIN = timedelta(seconds=5)
_REST = 4
"""It rests so many times as long as it works."""
_REST_LONGEST_S = 0.1
_WORK_SHORTEST_S = 0.001
_logger = structlog.get_logger(__name__)


class Exporter:
    """Exports the stores that were added, one after the other."""

    def __init__(
        self,
        exports: Path,
        options: ExportOptions,
        open_log: Callable[[], Log],
        clock: Callable[[], int],
        *,
        forget_after: timedelta = timedelta(days=14),
    ) -> None:
        """`exports` is `DIR/exports`; `clock` gives milliseconds UTC.

        `forget_after`: age at which exports of stores that nobody writes any more, since decide runs as fewer
        processes, are removed; an owner removes its own long before.
        """
        self._forget_after = forget_after
        self._exports, self._options, self._open_log, self._clock = exports, options, open_log, clock
        self._sources: dict[str, ExportSource] = {}
        self._failed_until: dict[str, float] = {}
        """By store, on the monotonic clock: when what failed is tried again."""
        self._busy = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exporter", daemon=True)

    def start(self) -> Exporter:
        """Begin. When the process ends, an export that is being written is given up."""
        atexit.register(self.stop)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End; what is being written is given up."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(_END_WITHIN.total_seconds())

    def add(self, source: ExportSource) -> None:
        """Export this store from now on."""
        self._sources[source.store] = source

    def remove(self, store: str) -> None:
        """The store is about to be closed; waits until nobody reads it."""
        with self._busy:
            self._sources.pop(store, None)

    def _run(self) -> None:
        _lower_priority()
        first = time.monotonic() + min(_FIRST, self._options.every).total_seconds()
        while not self._ending.wait(_LOOK.total_seconds()):
            if time.monotonic() < first:
                continue
            for source in list(self._sources.values()):
                if time.monotonic() >= self._failed_until.get(source.store, 0.0):
                    self._turn(source)

    def _turn(self, source: ExportSource) -> None:
        with self._busy:
            if self._ending.is_set() or source.store not in self._sources:
                return
            try:
                result = self._due(source)
            except DbClosedError:  # its flow has ended: nothing will be new in it
                self._sources.pop(source.store)
                return
            except _GivenUpError:
                return
            except Exception as error:  # rocksdict raises bare Exception, for a full disk too
                _logger.exception("export_failed", store=source.store, error=type(error).__name__)
                result = "failed"
                self._failed_until[source.store] = time.monotonic() + min(_FIRST, self._options.every).total_seconds()
            if result is not None:
                EXPORTS.labels(source.store.partition("/")[0], result).inc()

    def _due(self, source: ExportSource) -> str | None:
        newest = next(iter(list_exports(self._exports, source.store)), None)
        if newest is not None and not self._is_due(newest):
            return None
        return self._export(source, newest)

    def _is_due(self, newest: Export) -> bool:
        age = self._clock() - newest.manifest.created_at
        return not 0 <= age < self._options.every // timedelta(milliseconds=1)

    def _export(self, source: ExportSource, newest: Export | None) -> str | None:
        """Write one and remove what it makes superfluous; None where there is nothing to write yet."""
        if newest is not None and self._is_current(source, newest):
            return "current"
        began = time.monotonic()
        written = write_export(self._exports, source, at=self._clock(), pause=_Pacer(self._ending))
        if written is None:
            return None
        seconds = time.monotonic() - began
        EXPORT_SECONDS.labels(source.store.partition("/")[0]).observe(seconds)
        removed = self._prune(source)
        size = sum(file.bytes for file in written.manifest.files)
        _logger.info(
            "exported", store=source.store, number=written.number, rows=written.manifest.rows, bytes=size,
            seconds=round(seconds, 3), removed=removed,
        )  # fmt: skip
        return "written"

    def _is_current(self, source: ExportSource, newest: Export) -> bool:
        """Whether a sound export holds all that there is: an idle store is not written again and again."""
        if sorted(source.offsets(source.view())) != sorted(newest.manifest.offsets):
            return False
        try:
            verify_export(newest)
        except StateDamagedError as error:
            _logger.warning("export_damaged", store=source.store, number=newest.number, error=str(error))
            return False
        return True

    def _prune(self, source: ExportSource) -> list[int]:
        log = self._open_log()
        try:
            begin = _begins(log, source.by)
            self._forget(source.store.partition("/")[0])
            return prune_exports(
                self._exports, source.store, keep=self._options.keep,
                spacing_ms=self._options.spacing // timedelta(milliseconds=1), begin=begin,
                archive_spacing_ms=self._options.archive_spacing // timedelta(milliseconds=1),
                archive_begin=_archive_begins(log, self._exports.parent / "archive") if source.by == "group" else None,
            )  # fmt: skip
        finally:
            log.close()

    def _forget(self, kind: str) -> None:
        before_ms = self._clock() - self._forget_after // timedelta(milliseconds=1)
        for store in exported_stores(self._exports, kind):
            if store not in self._sources and forget_exports(self._exports, store, before_ms=before_ms):
                _logger.info("exports_forgotten", store=store)


def _begins(log: Log, by: str) -> Callable[[str, int], int]:
    """The oldest offset of a topic, by partition or by key group; no time passes in a compacted one."""

    def begin(topic: str, number: int) -> int:
        if topic in COMPACTED_TOPICS:
            return sys.maxsize
        partition = number if by == "partition" else partition_of_group(number, log.partitions(topic))
        return log.begin_offset(topic, partition)

    return begin


def _archive_begins(log: Log, archive: Path) -> Callable[[str, int], int]:
    """The oldest offset of a topic in the archive, or in the log where the archive has none, by key group."""

    @cache
    def of_partition(topic: str, partition: int) -> int:
        parts = read_manifest(archive / topic / str(partition)).parts
        oldest = log.begin_offset(topic, partition)
        return min([oldest, *(part.first for part in parts[:1])])

    def begin(topic: str, group: int) -> int:
        return of_partition(topic, partition_of_group(group, log.partitions(topic)))

    return begin


class _GivenUpError(CarillonError):
    """An export is not finished; the next one removes what was written."""


class _Pacer:
    """Rests in proportion to the processor time used since the last rest; waiting for its turn is rest as well."""

    def __init__(self, ending: threading.Event) -> None:
        self._ending, self._since = ending, time.thread_time()

    def __call__(self) -> None:
        """:raises _GivenUpError: the process ends."""
        worked = time.thread_time() - self._since
        if worked >= _WORK_SHORTEST_S:
            if self._ending.wait(min(worked * _REST, _REST_LONGEST_S)):
                raise _GivenUpError("the process ends")
            self._since = time.thread_time()


def _lower_priority() -> None:
    """On Linux a thread has a priority of its own; exports are written without it too."""
    if sys.platform == "linux":
        import os

        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        except OSError as error:
            _logger.warning("priority_not_lowered", error=error.strerror)
