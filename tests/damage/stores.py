"""Every store with a history that a test can check: commit number n makes it what `expected(n)` says.

python -m damage.stores NAME DIRECTORY COMMITS      writes them, then dies as by kill -9
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from connectors.admission.rocksdb import RocksAdmissionStore
from connectors.inbox.rocksdb import RocksInboxStore
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, TopicSpec
from state.decide.checkpoint import GroupStore
from state.deliver.store import LaneCommit, SendingStore
from state.inbox.values import InboxTotals, ShardCommit
from state.model.admission import RepeatCheck
from state.model.event import Event
from state.model.registry import load_registry
from state.schedule.kept import KeptEvents
from state.schedule.store import ScheduleStore
from state.sequence.repeats import RepeatEntry as RepeatMark
from state.sequence.store import SequenceStore
from state.transactional.store import BatchCommit, StoredDecision, TransactionalStore

TEXT = "x" * 40
OPEN: list[Any] = []
"""Never closed: a close would move the write-ahead log into tables."""


class Store(NamedTuple):
    """How a history is written, and what of it is read: the number of the last commit, and everything it holds.

    Who writes asks for the next number when the commit before it is acknowledged.
    """

    write: Callable[[Path, Iterable[int]], None]
    read: Callable[[Path], tuple[int, Any]]
    expected: Callable[[int], Any]


def _write_sequence(directory: Path, commits: Iterable[int]) -> None:
    store = SequenceStore(directory)
    OPEN.append(store)
    state = store.load()
    for number in commits:
        state.positions["events.p1", 0] = number
        state.repeats.put(("id", f"e{number:04}"), RepeatMark(TEXT, 1 << 50))
        store.collect(state)
        store.commit()


def _read_sequence(directory: Path) -> tuple[int, Any]:
    store = SequenceStore(directory)
    try:
        state = store.load()
        number = state.positions.get(("events.p1", 0), 0)
        return number, [
            n for n in range(1, number + 9) if state.repeats.get(("id", f"e{n:04}"), 0) == RepeatMark(TEXT, 1 << 50)
        ]
    finally:
        store.close()


def _numbers(number: int) -> list[int]:
    return list(range(1, number + 1))


def _write_schedule(directory: Path, commits: Iterable[int]) -> None:
    store, kept = ScheduleStore(directory), KeptEvents()
    OPEN.append(store)
    for number in commits:
        kept.keep(Event(event_id=f"e{number:04}", type="mention", priority="P1", target=TEXT, deliver_at=1 << 50))
        store.collect(kept, number)
        store.commit()


def _read_schedule(directory: Path) -> tuple[int, Any]:
    store = ScheduleStore(directory)
    try:
        events = list(store.load().events())
        assert all(event.target == TEXT for event in events)
        return store.next_offset(), [int(event.event_id[1:]) for event in events]
    finally:
        store.close()


def _write_decide(directory: Path, commits: Iterable[int]) -> None:
    store, registry = GroupStore(directory), load_registry({}, version=1)
    OPEN.append(store)
    groups = {group: store.load(group, registry) for group in (0, 1)}
    for number in commits:
        for group, state in groups.items():
            state.users.set_preference(f"user{number:04}", {"locale": "en"}, number)
            state.place = number - 1
            store.collect(group, state)
        store.commit()


def _read_decide(directory: Path) -> tuple[int, Any]:
    store, registry = GroupStore(directory), load_registry({}, version=1)
    try:
        states = [store.load(group, registry) for group in (0, 1)]
        users = [sorted(state.users.ids) for state in states]
        assert users[0] == users[1], "the groups of a commit are apart"
        assert store.next_offset(0) == store.next_offset(1)
        return store.next_offset(0), [int(user[4:]) for user in users[0]]
    finally:
        store.close()


def _write_inbox(directory: Path, commits: Iterable[int]) -> None:
    store = RocksInboxStore(directory)
    OPEN.append(store)
    for number in commits:
        totals = {group: InboxTotals(items=number) for group in range(min(number, 200))}
        store.commit(ShardCommit({}, {("d", number % 200): (number, 0)}, totals, number))


def _read_inbox(directory: Path) -> tuple[int, Any]:
    store = RocksInboxStore(directory)
    try:
        number = store.offset()
        totals = store.totals()
        assert all(each.items <= number for each in totals.values())
        return number, (sorted(totals), sorted(group for (_, group) in store.marks()))
    finally:
        store.close()


def _expected_inbox(number: int) -> Any:
    return list(range(min(number, 200))), sorted({n % 200 for n in _numbers(number)})


def claim(number: int) -> RepeatCheck:
    return RepeatCheck(f"e{number:04}", True, TEXT * 20, None, False, bytes(32), 1 << 50, 1 << 50, 0, "DIRECT")


def _write_admission(directory: Path, commits: Iterable[int]) -> None:
    store = RocksAdmissionStore(directory)
    OPEN.append(store)
    for number in commits:
        asyncio.run(store.reserve([claim(number)], 1))
        asyncio.run(store.commit([f"e{number:04}"]))


def _read_admission(directory: Path) -> tuple[int, Any]:
    store = RocksAdmissionStore(directory)

    async def known() -> list[int]:
        found: list[int] = []
        while await store.known(f"e{len(found) + 1:04}", 1):
            found.append(len(found) + 1)
        beyond = range(len(found) + 2, len(found) + 200)
        return found + [number for number in beyond if await store.known(f"e{number:04}", 1)]

    try:
        found = asyncio.run(known())
        return max(found, default=0), found
    finally:
        asyncio.run(store.close())


def _write_deliver(directory: Path, commits: Iterable[int]) -> None:
    store, place = SendingStore(directory / "lane.sqlite"), ("deliver.push", 0)
    OPEN.append(store)
    for number in commits:
        marks = {("deliver.push/0", "d", group): (number, 0) for group in range(min(number, 60))}
        totals = dict.fromkeys(range(min(number, 60)), (number, 0))
        store.commit(LaneCommit({place: number}, {place: {number}}, {0: number}, marks, totals, [b"%016d" % number], 1))


def _read_deliver(directory: Path) -> tuple[int, Any]:
    store, place = SendingStore(directory / "lane.sqlite"), ("deliver.push", 0)
    try:
        state = store.load()
        number = state.next_offsets.get(place, 0)
        sent = store.sent_among([b"%016d" % n for n in range(number + 9)], 2)
        # A key that is another one is the one thing that is not found, see `state.deliver.store`.
        return number, (state.marks, state.totals, state.attempts_from, len(sent))
    finally:
        store.close()


def _expected_deliver(number: int) -> Any:
    groups = range(min(number, 60))
    marks = {("deliver.push/0", "d", group): (number, 0) for group in groups}
    return marks, dict.fromkeys(groups, (number, 0)), {0: number} if number else {}, number


def _write_p0(directory: Path, commits: Iterable[int]) -> None:
    store, place = TransactionalStore(directory / "lane.sqlite"), ("events.p0", 0)
    OPEN.append(store)
    for number in commits:
        setting = (f"u{number:04}", "preferences", "", TEXT.encode(), number)
        store.put_settings([setting], [], {("preferences", 0): number})
        decision = StoredDecision(number, number, TEXT.encode(), b"[]", b"[]", b"{}")
        store.commit(BatchCommit({place: number}, [decision], [("id", "", f"e{number:04}", "e", 1 << 50)]))


def _read_p0(directory: Path) -> tuple[int, Any]:
    store = TransactionalStore(directory / "lane.sqlite")
    try:
        number = store.places().get(("events.p0", 0), 0)
        decisions = store.open_decisions()
        assert all(decision.event == TEXT.encode() for decision in decisions)
        users = [n for n in range(1, number + 9) if [s.value for s in store.settings_of(f"u{n:04}")] == [TEXT.encode()]]
        if users and users[-1] == number + 1:
            users.pop()  # the settings of a batch are committed before it
        return number, ([decision.offset for decision in decisions], users)
    finally:
        store.close()


def _write_log(directory: Path, commits: Iterable[int]) -> None:
    log = EmbeddedLog(directory, clock=lambda: 1)
    OPEN.append(log)
    log.ensure_topics([TopicSpec("t", 1)])
    for number in commits:
        log.append([NewRecord("t", 0, b"%d" % number, TEXT.encode() * (1 + number % 50))])


def _read_log(directory: Path) -> tuple[int, Any]:
    log = EmbeddedLog(directory, clock=lambda: 1)
    found = []
    try:
        reader = log.reader({("t", 0): 0})
        try:
            while records := reader.poll(100, timedelta()):
                found += [(int(r.key), r.offset, r.value == TEXT.encode() * (1 + int(r.key) % 50)) for r in records]
        finally:
            reader.close()
        return len(found), (found, log.end_offset("t", 0))
    finally:
        log.close()


STORES = {
    "sequence": Store(_write_sequence, _read_sequence, _numbers),
    "schedule": Store(_write_schedule, _read_schedule, _numbers),
    "decide": Store(_write_decide, _read_decide, _numbers),
    "inbox": Store(_write_inbox, _read_inbox, _expected_inbox),
    "admission": Store(_write_admission, _read_admission, _numbers),
    "deliver": Store(_write_deliver, _read_deliver, _expected_deliver),
    "transactional": Store(_write_p0, _read_p0, lambda number: (_numbers(number), _numbers(number))),
    "log": Store(_write_log, _read_log, lambda number: ([(n, n - 1, True) for n in _numbers(number)], number)),
}


def main() -> None:
    name, directory, commits = sys.argv[1:]
    STORES[name].write(Path(directory), _numbers(int(commits)))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
