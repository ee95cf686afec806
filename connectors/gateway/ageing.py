"""Retires push tokens that no app has registered for long (RULES 4, "Token": EXPIRED).

What it writes is what a provider's "gone" is, but for its cause: a verdict as of the registration. So who registers
again at that moment keeps his token, and several gateways may write the same. It looks once an hour, and writes at most
a thousand a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import structlog

from connectors.gateway.directory import Directory
from connectors.gateway.problems import ProblemError
from connectors.gateway.records import gone_record
from connectors.gateway.writer import SettingWriter
from connectors.metrics import TOKENS_EXPIRED
from state.model.errors import StoreUnavailableError
from state.model.settings import EXPIRED

_LOOK_EVERY_S, _READY_EVERY_S = 3_600.0, 1.0
_BATCH, _PAUSE_S = 200, 0.2
_logger = structlog.get_logger(__name__)


class Ageing:
    """For the event loop of one gateway."""

    def __init__(
        self, directory: Directory, writer: SettingWriter, *, age_max: timedelta, clock: Callable[[], int]
    ) -> None:
        """`age_max` is how long a token lives without being registered again; `clock` in milliseconds since 1970."""
        self._directory, self._writer, self._clock = directory, writer, clock
        self._age_max_ms = age_max // timedelta(milliseconds=1)

    async def run(self, caught_up: Callable[[], bool]) -> None:
        """Go on until cancelled, from when the directory knows what is true now."""
        while True:
            if ready := caught_up():
                with suppress(ProblemError, StoreUnavailableError):  # of which the writer or the follower tells
                    await self.retire()
            await asyncio.sleep(_LOOK_EVERY_S if ready else _READY_EVERY_S)

    async def retire(self) -> int:
        """Retire all that are due, and give their number.

        :raises ProblemError: the log did not acknowledge; the next look goes on.
        """
        retired = 0
        while found := await asyncio.to_thread(self._directory.aged, self._clock() - self._age_max_ms, _BATCH):
            await self._writer.append(
                [
                    gone_record(each.user, each.channel, each.id, each.registered_at, self._writer.partitions, EXPIRED)
                    for each in found
                ]
            )
            retired += len(found)
            TOKENS_EXPIRED.inc(len(found))
            await asyncio.sleep(_PAUSE_S)
        if retired:
            _logger.info("tokens_expired", tokens=retired)
        return retired
