"""A flow whose work must be done by one owner at a time, whatever number of workers and processes run it.

The owner is a source partition that only the cluster's first process offers. It reads, decides and hands out records of
the log. There is no exchange between reading and deciding, so the number of workers changes nothing; they only share
the sink. The records of an epoch are in the log when the next epoch begins. Then the owner makes its state durable, so
that it is never ahead of its outputs (DECISIONS, State one epoch behind).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.log.interface import NewRecord
from connectors.log.sink import keyed
from connectors.log.source import AT_ONCE

_logger = structlog.get_logger(__name__)
Keyed = tuple[str, NewRecord | list[NewRecord]]
"""As `LogSink` takes it."""


class SoleLogic(Protocol):
    """Who does the work; used by one thread."""

    def work(self) -> list[NewRecord]:
        """Do a bounded step and give what it leads to; may wait some milliseconds for input.

        :raises StopIteration: drained.
        """
        ...

    def epoch_ended(self) -> None:
        """What `work` gives from now on belongs to the next epoch."""
        ...

    def epoch_complete(self) -> None:
        """Everything that `work` gave is in the log."""
        ...

    def close(self) -> None:
        """Free what was opened."""
        ...


class SoleSource(FixedPartitionedSource[Keyed, None]):
    """The source that is the owner; without `open_owner`, in every other process, it has no partition."""

    def __init__(self, name: str, open_owner: Callable[[], SoleLogic] | None) -> None:
        self._name, self._open_owner = name, open_owner

    def list_parts(self) -> list[str]:
        """The owner, in its process."""
        return [] if self._open_owner is None else [self._name]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _SolePartition:
        """Open the owner in the worker that the engine chose."""
        assert self._open_owner is not None, "only a partition that was listed is built"
        try:
            return _SolePartition(self._name, self._open_owner())
        except Exception:
            _logger.exception("flow_not_opened", flow=self._name)
            raise


class _SolePartition(StatefulSourcePartition[Keyed, None]):
    def __init__(self, name: str, owner: SoleLogic) -> None:
        self._name, self._owner = name, owner
        self._new_epoch = False

    def next_batch(self) -> list[Keyed]:
        try:
            if self._new_epoch:
                self._new_epoch = False
                self._owner.epoch_complete()
            return [*keyed(self._owner.work())]
        except StopIteration:
            raise
        except Exception:  # the engine loses the text when there are several processes
            _logger.exception("flow_stops", flow=self._name, effect="it resumes at its last complete epoch")
            raise

    def next_awake(self) -> datetime:
        """At once: `work` waits by itself."""
        return AT_ONCE

    def snapshot(self) -> None:
        self._new_epoch = True
        self._owner.epoch_ended()

    def close(self) -> None:
        self._owner.close()
