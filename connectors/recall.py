"""Reading again what changed since an emission that has waited for long: one pass over the log for all who ask.

A pass reads the topics from the oldest emission's time on, in a thread of its own, and keeps what concerns those who
asked. So memory grows with what waits and not with what changed, and a start does not read days back in case something
waits. Meanwhile they wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_batches
from connectors.said import Action, Said
from state.model.addresses import Served
from state.model.envelope import TopicPartition

ASK_MAX = 50_000
"""Of one pass; who asks beyond it is told later to ask again."""
_GATHER_S = 1.0
"""Before a pass: whoever asks meanwhile has it too."""
_KEPT_PASSES = 120
_KEPT_USERS = 4 * ASK_MAX
"""In the passes that are kept, but for the newest: they ask some at a time, and must find their answer."""
_PAUSE_AFTER_FAILURE_S = 5.0
_logger = structlog.get_logger(__name__)


class Question(NamedTuple):
    """What must be known of a delivery before it is sent."""

    user: str
    since_ms: int
    """From when on."""
    addresses: Sequence[tuple[str, str]] = ()
    """By channel: nobody else may have registered one."""
    actions: Sequence[Action] = ()
    """None may have been taken back."""


@dataclass(slots=True)
class _Pass:
    """What is read for some questions."""

    since_ms: dict[str, int] = field(default_factory=dict)
    """By user."""
    addresses: set[tuple[str, str]] = field(default_factory=set)
    actions: set[Action] = field(default_factory=set)
    read_to_ms: int = 0
    """Everything that was written before this time was read."""

    def add(self, question: Question) -> None:
        known = self.since_ms.get(question.user)
        self.since_ms[question.user] = question.since_ms if known is None else min(known, question.since_ms)
        self.addresses.update(question.addresses)
        self.actions.update(question.actions)

    def answers(self, question: Question) -> bool:
        since_ms = self.since_ms.get(question.user)
        return (
            since_ms is not None
            and since_ms <= question.since_ms
            and self.addresses.issuperset(question.addresses)
            and self.actions.issuperset(question.actions)
        )

    def user(self, name: str) -> bool:
        return name in self.since_ms

    def address(self, channel: str, address: str) -> bool:
        return (channel, address) in self.addresses

    def action(self, action: Action) -> bool:
        return action in self.actions


def _kept(passes: Sequence[tuple[_Pass, Said]]) -> tuple[tuple[_Pass, Said], ...]:
    users, kept = 0, passes[:1]
    for each in passes[1:_KEPT_PASSES]:
        users += len(each[0].since_ms)
        if users > _KEPT_USERS:
            break
        kept = [*kept, each]
    return tuple(kept)


class Recall:
    """See the module. Any thread may ask."""

    def __init__(
        self, log: Log, places: Sequence[TopicPartition], served: Served | None, *, read_to_ms: Callable[[], int]
    ) -> None:
        """`read_to_ms`: the log's time up to which the follower of the same topics has read."""
        self._log, self._places, self._served, self._read_to_ms = log, places, served, read_to_ms
        self._lock = threading.Lock()
        self._asked = _Pass()
        self._done: tuple[tuple[_Pass, Said], ...] = ()
        """The newest first."""
        self.passes = 0
        """So many were made."""
        self._something, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, after the batch under way."""
        self._ending.set()
        self._something.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def has(self, question: Question, known_since: int) -> bool:
        """Whether it was read, and what came later is known otherwise, from `known_since` on. If not, it will be."""
        for made, _ in self._done:
            if made.read_to_ms >= known_since and made.answers(question):
                return True
        with self._lock:
            if len(self._asked.since_ms) < ASK_MAX:
                self._asked.add(question)
        self._something.set()
        return False

    def answers(self, known_since: int) -> Sequence[Said]:
        """What the last passes read, the newest first, where what came later is known otherwise."""
        return [said for made, said in self._done if made.read_to_ms >= known_since] if self._done else ()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._something.wait()
            self._something.clear()
            self._ending.wait(_GATHER_S)
            with self._lock:
                asked, self._asked = self._asked, _Pass()
            if asked.since_ms and not self._ending.is_set():
                self._try(asked)

    def _try(self, asked: _Pass) -> None:
        """They ask again after a pass that failed."""
        try:
            said = self._read(asked)
        except Exception as error:  # noqa: BLE001 - without the thread whoever asks would wait for ever
            _logger.warning("changes_not_recalled", users=len(asked.since_ms), error=type(error).__name__)
            self._ending.wait(_PAUSE_AFTER_FAILURE_S)
        else:
            if self._ending.is_set():
                return
            self._done = _kept([(asked, said), *self._done])
            self.passes += 1
            _logger.info("changes_recalled", users=len(asked.since_ms), since_ms=min(asked.since_ms.values()))

    def _read(self, asked: _Pass) -> Said:
        asked.read_to_ms = self._read_to_ms()
        since_ms = min(asked.since_ms.values())
        said = Said(self._served, since_ms, wanted=asked)
        starts = {place: self._start(place, since_ms) for place in self._places}
        for records in stored_batches(self._log, starts):
            if self._ending.is_set():
                break
            said.take(records)
        return said

    def _start(self, place: TopicPartition, since_ms: int) -> int:
        return max(self._log.begin_offset(*place), self._log.offset_at(*place, since_ms))
