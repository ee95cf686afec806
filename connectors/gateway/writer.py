"""Appends for the calls that write what is true now: the log first, then the directory, then the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import structlog

from connectors.gateway.admission import RecordAppender
from connectors.gateway.directory import Directory
from connectors.gateway.problems import ProblemError, retry_later
from connectors.gateway.records import PartitionCount
from connectors.log.interface import NewRecord, Record
from state.model.errors import LogError, RefusedActError

_T = TypeVar("_T")
_logger = structlog.get_logger(__name__)
_LOOKED_UP = frozenset(("preferences", "endpoints"))


class SettingWriter:
    """Appends, with the directory kept in step."""

    def __init__(
        self, appender: RecordAppender, directory: Directory, partitions: PartitionCount, *, deadline: timedelta
    ) -> None:
        """`deadline`: the longest wait for the log's acknowledgement."""
        self._appender, self._directory, self._deadline_s = appender, directory, deadline.total_seconds()
        self.partitions = partitions

    async def append(self, records: Sequence[NewRecord]) -> list[int]:
        """Store the records durably and give their offsets; the directory is brought up to date.

        :raises ProblemError: 503: not acknowledged; it may have been stored, and may be sent again.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                offsets = await self._appender.append(records)
        except (LogError, TimeoutError) as error:
            _logger.warning("append_failed", error=type(error).__name__, records=len(records))
            raise unavailable() from error
        known = [
            Record(new.topic, new.partition, offset, 0, new.key, new.value, new.headers)
            for new, offset in zip(records, offsets, strict=True)
            if new.topic in _LOOKED_UP
        ]
        if known:
            await asyncio.to_thread(self._directory.apply, known)
        return offsets


def unavailable() -> ProblemError:
    """503 because the log did not acknowledge."""
    return retry_later(503, "the log did not acknowledge the change; send it again", 1000)


async def on_log(work: Callable[[], _T]) -> _T:
    """What reads or writes the log, in a thread.

    :raises ProblemError: 409: the act is refused; 503.
    """
    try:
        return await asyncio.to_thread(work)
    except RefusedActError as error:
        raise ProblemError(409, str(error)) from error
    except LogError as error:
        raise unavailable() from error
