"""Group commit: many coroutines append a record or two each, and one thread stores what has gathered in one append.

While an append is under way, what arrives gathers for the next one; so the group grows with the load and a lone caller
hardly waits. Order: records of one caller stay in order, and callers are served in the order in which they came, urgent
ones first.

Where callers can refuse (`down_after`): while an append takes long, or when the last one was not acknowledged, they
wait a second and no longer. The append that is under way notices when the log is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from connectors.log.interface import Log, NewRecord
from state.model.errors import LogError, LogUnavailableError

QUEUE_MAX = 65_536
"""Records that wait; a caller who exceeds it is refused at once."""
_RECORDS_MAX = 4096
"""Of one append, unless a single caller brings more."""
_WHILE_DOWN = timedelta(seconds=1)
"""How long a caller waits when the log does not seem to answer."""


@dataclass(frozen=True, slots=True)
class _AppendCall:
    """One caller's records, and where the answer goes."""

    records: Sequence[NewRecord]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[list[int]]


class BatchingAppender:
    """Appends for the coroutines of any number of event loops through one thread."""

    def __init__(self, log: Log, *, down_after: timedelta | None = None) -> None:
        """Use the log, which stays the caller's to close.

        `down_after`: an append under way for longer says that the log does not answer. Default: nothing says so.
        """
        self._log, self._down_after = log, down_after
        self._calls: deque[_AppendCall] = deque()
        self._urgent: deque[_AppendCall] = deque()
        self._was_urgent = False
        """The last group: the others have the next one, or they would never be stored."""
        self._queued = 0
        self._open = True
        self._down = False
        """Whether the last append was not acknowledged."""
        self._began: float | None = None
        """When the append under way began, by the monotonic clock."""
        self._telling = set[asyncio.AbstractEventLoop]()
        """Those that wake the thread at the end of their turn."""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="group-append", daemon=True)
        self._thread.start()

    async def append(self, records: Sequence[NewRecord], *, urgent: bool = False) -> list[int]:
        """Store the records durably and give their offsets, in the order of the input.

        Urgent ones come before what waits, in an append of their own, since a group may be of many partitions. A caller
        who is cancelled may find his records stored.

        :raises LogUnavailableError: the queue is full, or the log did not acknowledge; try again later.
        :raises LogError: these records can never be stored; those of other callers are not affected.
        """
        loop = asyncio.get_running_loop()
        call = _AppendCall(records, loop, loop.create_future())
        with self._changed:
            if not self._open or (self._queued and self._queued + len(records) > QUEUE_MAX):
                raise LogUnavailableError(f"{self._queued} records wait for the log; the queue takes no more")
            (self._urgent if urgent else self._calls).append(call)
            self._queued += len(records)
            if urgent:
                self._changed.notify()
        if not urgent and loop not in self._telling:  # once for all that come in this turn of their loop
            self._telling.add(loop)
            loop.call_soon(self._tell, loop)
        if not self._seems_down():
            return await call.answer
        try:
            async with asyncio.timeout(_WHILE_DOWN.total_seconds()):
                return await call.answer
        except TimeoutError:
            self._withdraw(call)
            raise LogUnavailableError("the log has not answered for a while; try again later") from None

    def close(self) -> None:
        """Refuse new callers, store what waits, and end the thread."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        self._telling.discard(loop)
        with self._changed:
            self._changed.notify()

    def _seems_down(self) -> bool:
        if self._down_after is None:
            return False
        began = self._began
        return self._down or (began is not None and time.monotonic() - began > self._down_after.total_seconds())

    def _withdraw(self, call: _AppendCall) -> None:
        """What was refused before its turn came is not stored."""
        with self._changed, contextlib.suppress(ValueError):
            (self._urgent if call in self._urgent else self._calls).remove(call)
            self._queued -= len(call.records)

    def _run(self) -> None:
        while group := self._gather():
            self._began = time.monotonic()
            self._store(group)
            self._began = None

    def _gather(self) -> list[_AppendCall]:
        """Wait for calls and take a group of them; empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._urgent or self._calls or not self._open)
            turn = self._urgent and not (self._was_urgent and self._calls)
            calls = self._urgent if turn else self._calls
            self._was_urgent = calls is self._urgent
            group: list[_AppendCall] = []
            size = 0
            while calls and (not group or size + len(calls[0].records) <= _RECORDS_MAX):
                group.append(calls.popleft())
                size += len(group[-1].records)
            self._queued -= size
            return group

    def _store(self, group: list[_AppendCall]) -> None:
        """Append a group in one go; if one caller's records are impossible, append each caller's alone."""
        try:
            offsets = iter(self._log.append([record for call in group for record in call.records]))
            answers: list[list[int] | Exception] = [list(islice(offsets, len(call.records))) for call in group]
            self._down = False
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller gets it
            if len(group) > 1 and isinstance(error, LogError) and not isinstance(error, LogUnavailableError):
                for call in group:
                    self._store([call])
                return
            self._down = isinstance(error, LogUnavailableError)
            answers = [error] * len(group)
        for loop in {call.loop for call in group}:
            mine = [(call, answer) for call, answer in zip(group, answers, strict=True) if call.loop is loop]
            if not loop.is_closed():
                loop.call_soon_threadsafe(_answer, mine)


def _answer(answers: list[tuple[_AppendCall, list[int] | Exception]]) -> None:
    """Wake the callers of one loop, inside that loop."""
    for call, answer in answers:
        if call.answer.done():
            continue  # cancelled meanwhile
        if isinstance(answer, Exception):
            call.answer.set_exception(answer)
        else:
            call.answer.set_result(answer)
