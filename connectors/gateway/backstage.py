"""What the gateway shows to people who operate the system and help its users; all of it is read from log and archive.

The implementation is given to the gateway, since it knows the operators (`flows/commands/backstage.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from connectors.audit import ActQuery, NotedAct
from connectors.gateway.problems import retry_later
from connectors.paging import ListCursor, Listed
from state.model.dead_letter import Selection
from state.model.errors import CarillonError
from state.model.ledger import EventCounts

_AT_ONCE = 2
_logger = structlog.get_logger(__name__)
T = TypeVar("T")

Shown = dict[str, Any]
"""A record as `carillon ... --json` prints it; never content."""


@dataclass(frozen=True, slots=True)
class LedgerSearch:
    """Which records of the ledger are looked for; None: any. Times in ms UTC, `from_ms` included."""

    user: str | None = None
    event: str | None = None
    sender: str | None = None
    type: str | None = None
    object: str | None = None
    outcome: str | None = None
    reason: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


class Backstage(Protocol):
    """Its methods block on disk and log, and may be called by any thread."""

    def explain(self, event: str, user: str) -> Sequence[Shown]:
        """Every record of the pair in order of time, each with `explanation`; empty: nothing is known of it."""
        ...

    def records(self, wanted: LedgerSearch, limit: int, start: ListCursor = ()) -> Listed[Shown]:
        """Decisions and deliveries that match."""
        ...

    def event(
        self, event: str, wanted: LedgerSearch, limit: int, start: ListCursor = ()
    ) -> tuple[Listed[Shown], EventCounts | None]:
        """Those of an event that match, and what became of it over all its recipients; None: there is none."""
        ...

    def segments(self, user: str) -> Sequence[str]:
        """Those that a user is in."""
        ...

    def acts(self, wanted: ActQuery, limit: int) -> Listed[NotedAct]:
        """What people did."""
        ...

    def campaign(self, name: str) -> EventCounts:
        """What became of a campaign, over all its recipients."""
        ...

    def variants(self, type_name: str, since_ms: int) -> Mapping[str, Mapping[str, int]]:
        """What became of each variant of a type's text since then, tests left out."""
        ...

    def letters(self, wanted: Selection, limit: int, start: ListCursor = ()) -> Listed[Shown]:
        """Dead letters, each with its status."""
        ...

    def senders_of_letters(self, newest: int) -> Counter[str | None]:
        """How many of the newest dead letters are whose."""
        ...

    def letter(self, name: str) -> Shown | None:
        """The one of this id."""
        ...

    def try_type(self, name: str, table: dict[str, Any] | None) -> dict[str, Any]:
        """What this table (None: the file's) would have done to what the last day brought, or why none can say."""
        ...

    def decide_letter(self, letter: str, by: tuple[str, str, str | None] | None, *, retry: bool) -> Shown:
        """By a name, a role and why: give it back, or note that nothing is done; what came of it, perhaps `refused`.
        Without a name whoever calls puts a discard into the audit.
        """
        ...


OpenBackstage = Callable[[], Backstage]
"""Gives it; what it needs is loaded with the first call, which may block."""


class Questions:
    """Asks it, two questions at a time, in threads of their own: whoever asks for much holds up no other call."""

    def __init__(self, open_backstage: OpenBackstage) -> None:
        self._open = open_backstage
        self._threads = ThreadPoolExecutor(_AT_ONCE, "backstage")
        self._prepared: Future[Backstage] | None = None

    def prepare(self) -> None:
        """Somebody may ask soon: load what that needs, in one of the threads; the caller does not wait."""
        if self._prepared is None:
            self._prepared = self._threads.submit(self._open)

    @property
    def is_loading(self) -> bool:
        """Whether who asks now waits for what `prepare` began."""
        return self._prepared is not None and not self._prepared.done()

    async def ask(self, question: Callable[[Backstage], T]) -> T:
        """The answer.

        :raises ProblemError: 503: log or archive cannot be read just now.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)
        except CarillonError as error:
            _logger.warning("question_failed", error=type(error).__name__, problem=str(error))
            raise retry_later(503, "log or archive cannot be read just now; ask again", 2_000) from error

    def _answer(self, question: Callable[[Backstage], T]) -> T:
        """Two threads that load the same take longer than one."""
        if self._prepared is not None:
            wait([self._prepared])
        return question(self._open())
