"""What the gateway shows to operators and support, by the same code as the commands, which is loaded when it is needed:
the first page that reads the ledger waits for less.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.archive.ledger import LedgerQuery, LedgerReader
from connectors.archive.records import TopicRecords
from connectors.audit import ActQuery, NotedAct, newest_acts
from connectors.dead_letters import DeadLetters
from connectors.gateway.backstage import LedgerSearch, Shown
from connectors.inbox.options import InboxRedisOptions
from connectors.letter_pages import letter_page, newest_letters
from connectors.log.interface import Log
from connectors.memberships import segments_of
from connectors.paging import ListCursor, Listed
from flows.commands.output import Output
from flows.process.directories import ARCHIVE, LEDGER
from operators.campaigns import SENDER, TEST_SENDER
from state.model.dead_letter import Selection
from state.model.ledger import EventCounts
from state.model.registry import RegistryInForce
from state.model.topics import AUDIT

if TYPE_CHECKING:
    from flows.commands.dead_letters import Decider

_COLUMNS = {"sender": "sender_id", "type": "type", "object": "object", "outcome": "outcome", "reason": "reason"}


@dataclass(frozen=True, slots=True)
class Collected(Output):
    """Keeps what a command would print."""

    as_json: bool = True
    records: list[Shown] = field(default_factory=list)

    def show(self, record: Mapping[str, Any], text: str) -> None:
        """Keep the record; its `text` is what people read at the terminal."""
        self.records.append({**record, "text": text})


@dataclass(frozen=True, slots=True)
class LogBackstage:
    """See `connectors.gateway.backstage.Backstage`."""

    data_dir: Path
    log: Log
    types: RegistryInForce
    redis: InboxRedisOptions | None = None
    """Where inboxes are, if not in the data directory."""

    def explain(self, event: str, user: str) -> Sequence[Shown]:
        """By `carillon explain`."""
        from flows.commands.explain import explain

        output = Collected()
        types = self.types.current
        known = explain(self.data_dir, self.log, types, event=event, user=user, output=output, redis=self.redis)
        return output.records if known else []

    def records(self, wanted: LedgerSearch, limit: int, start: ListCursor = ()) -> Listed[Shown]:
        """By the ledger's query."""
        return self._ledger().newest(_query(wanted), limit, start)

    def event(
        self, event: str, wanted: LedgerSearch, limit: int, start: ListCursor = ()
    ) -> tuple[Listed[Shown], EventCounts | None]:
        """By the same, and by `carillon progress`."""
        return self._ledger().of_event(event, _query(wanted), limit, start)

    def campaign(self, name: str) -> EventCounts:
        """By `carillon campaign report`."""
        return self._ledger().campaign(name, SENDER)

    def variants(self, type_name: str, since_ms: int) -> Mapping[str, Mapping[str, int]]:
        """Out of the ledger."""
        return self._ledger().variants(type_name, since_ms, TEST_SENDER)

    def segments(self, user: str) -> Sequence[str]:
        """By their topic."""
        return segments_of(self.log, user)

    def acts(self, wanted: ActQuery, limit: int) -> Listed[NotedAct]:
        """Out of log and archive."""
        return newest_acts(TopicRecords(AUDIT, archive=self.data_dir / ARCHIVE, log=self.log), wanted, limit)

    def letters(self, wanted: Selection, limit: int, start: ListCursor = ()) -> Listed[Shown]:
        """By `carillon dead-letters list --newest`."""
        from flows.commands.dead_letters import letter_record

        page = letter_page(self.log, wanted.wants, limit, start, everything=wanted.everything)
        return Listed([letter_record(each) for each in page.found], page.onward, page.looked_to_ms, page.unreadable)

    def senders_of_letters(self, newest: int) -> Counter[str | None]:
        """By the end of the topic alone."""
        return Counter(letter.sender_id for letter in newest_letters(self.log, newest))

    def letter(self, name: str) -> Shown | None:
        """By its id."""
        from flows.commands.dead_letters import letter_record

        found = self._letters().named([name]).get(name)
        return None if found is None else letter_record(found)

    def try_type(self, name: str, table: dict[str, Any] | None) -> dict[str, Any]:
        """In a process of its own."""
        from flows.commands.try_type import try_type

        return try_type(self.data_dir, name, table)

    def decide_letter(self, letter: str, by: Decider | None, *, retry: bool) -> Shown:
        """By `carillon dead-letters retry` and `discard`."""
        from flows.commands.dead_letters import discard_letters, retry_letters

        output, chosen = Collected(), Selection(ids=[letter])
        if retry:
            retry_letters(self.log, self._letters(), chosen, output, now_ms=_now_ms, again=False, by=by)
        else:
            discard_letters(self.log, self._letters(), chosen, output, now_ms=_now_ms, by=by, note=by is not None)
        return output.records[-1]

    def _ledger(self) -> LedgerReader:
        return LedgerReader(self.data_dir / LEDGER, self.log)

    def _letters(self) -> DeadLetters:
        return DeadLetters(self.log, self.data_dir / ARCHIVE)


def _query(wanted: LedgerSearch) -> LedgerQuery:
    columns = {_COLUMNS[name]: value for name in _COLUMNS if (value := getattr(wanted, name)) is not None}
    return LedgerQuery(wanted.event, wanted.user, wanted.from_ms, wanted.to_ms, columns=columns)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
