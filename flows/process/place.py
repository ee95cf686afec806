"""How a process becomes the owner of its place, so that nobody else appends and sends for it (`connectors.log.owners`).

Two things prevent a second owner. `DIR/state/owners/<flow>-<process>/owner.lock` is held for the life of the process:
while it lives, stopped or not, a second one on the same directory does not start. The claim in the log reaches further:
a successor on another directory or host fences the first process, which ends with `FENCED_EXIT`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import structlog

from connectors.log.owners import Fence, FencedLog, claim_place, owner_record
from connectors.metric_files import METRICS, keep_writing
from flows.config.settings import Settings
from flows.process.cluster import cluster_place
from flows.process.liveness import FENCED_EXIT
from flows.process.open import clock_ms, log_opener
from flows.process.wild_clock import refuse_wild_clock
from state.disk.lock import FILE_NAME, StateLock
from state.model.errors import StateFencedError

_logger = structlog.get_logger(__name__)


def own_place(settings: Settings, flow: str, topics: Sequence[str]) -> Callable[[], FencedLog]:
    """Take the flow's place of this process for its life; opens logs that append to `topics` under it.

    :raises StateLockedError: a live process of this directory has it.
    :raises LogError: the log cannot be asked.
    :raises WildClockError: the machine's clock is years ahead.
    """
    process, processes, workers = cluster_place()
    lock = StateLock.acquire(
        settings.data_dir / "state" / "owners" / f"{flow}-{process}", f"{flow} (process {process})"
    )
    log = log_opener(settings)()
    refuse_wild_clock(log, clock_ms(), settings.log.rest_max)
    owner = owner_record(lock.directory / FILE_NAME, processes, workers, clock_ms())
    claim = claim_place(log, flow, process, processes, owner, topics)
    fence = Fence(log, claim, on_lost=_end)
    fence.look()
    fence.start()
    keep_until_end(lock, fence)
    keep_writing(settings.data_dir / METRICS, cluster_place().name(flow))
    opener = log_opener(settings, claim=claim)
    return lambda: FencedLog(opener(), fence)


def _end(error: StateFencedError) -> None:
    """At once, as by a crash, which every part of the system survives: nothing under way may go on."""
    _logger.error("fenced", detail=str(error))
    os._exit(FENCED_EXIT)


def keep_until_end(*owned: object) -> None:
    """Keep these until the process ends: a lock goes with its file, and a watcher with its thread."""
    _HELD.extend(owned)


_HELD: list[object] = []
