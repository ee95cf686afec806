"""What one lane of transactional keeps on disk: its users' settings, and its own decision log (DECISIONS, P0 shares
nothing).

SQLite file `lane.sqlite` in WAL mode:

    meta(name, value)                   version; digest: see `state.disk.sqlite`; attempts: no open delivery is below
                                        this offset of `attempts`; taken_over: offset of `events.p0` below which the
                                        ledger says what was decided; lost/GROUP: deliveries from before that without
                                        an end
    place(topic, partition, next)       where reading goes on
    setting(user, topic, name, value, place, checksum)
                                        records of `preferences`, `endpoints` and `profiles` as they came; `name` is the
                                        rest of an endpoint's key, else empty; `place` the offset
    switch(scope, value, place)         kill switches that are on
    mark(kind, scope, name, event_id, expires)
                                        events that were taken: by event_id, and by sender and client key
    decision("offset", now, event, deliveries, outputs, used, done, checksum)
                                        one row per event of `events.p0`, stored before its first send: the event
                                        and what was decided, as JSON; `deliveries` with addresses; `outputs` the
                                        records for ledger and inbox; `used` the next offsets of what the decision
                                        read; `done` 1 when every delivery ended and all records are in the log
    total(grp, resolved, emitted, inbox_items, fallbacks, furthest)

`checksum` is `state.disk.sqlite.signed_sum` over the MessagePack array of the columns before it but `done`.

A restart follows `decision` and never decides again. Rows that are done stay as long as the log retains their records,
for replays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from state.disk.sqlite import SqliteFile, read_first, refusal, signed_sum
from state.model.envelope import TopicPartition

VERSION = 2
_WAL_PAGES_MAX = 65_536
"""256 MB: to carry over what a thread has not yet would hold a code up for as long as the disk takes."""
_CHECKED = (
    "SELECT name, value FROM meta WHERE name <> 'digest' ORDER BY name",
    "SELECT * FROM place ORDER BY topic, partition",
    "SELECT * FROM switch ORDER BY scope, value",
    "SELECT * FROM total ORDER BY grp",
)
FORGET_ROWS = 1_000
"""Looked at by one `forget`: about a millisecond."""
_pack = msgspec.msgpack.Encoder().encode
_SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE place(topic TEXT, partition INTEGER, next INTEGER, PRIMARY KEY(topic, partition)) WITHOUT ROWID;
CREATE TABLE setting(user TEXT, topic TEXT, name TEXT, value BLOB, place INTEGER,
                     checksum INTEGER, PRIMARY KEY(user, topic, name)) WITHOUT ROWID;
CREATE TABLE switch(scope TEXT, value TEXT, place INTEGER, PRIMARY KEY(scope, value)) WITHOUT ROWID;
CREATE TABLE mark(kind TEXT, scope TEXT, name TEXT, event_id TEXT, expires INTEGER,
                  PRIMARY KEY(kind, scope, name)) WITHOUT ROWID;
CREATE TABLE decision("offset" INTEGER PRIMARY KEY, now INTEGER, event BLOB, deliveries BLOB, outputs BLOB, used BLOB,
                      done INTEGER, checksum INTEGER);
CREATE INDEX decision_open ON decision("offset") WHERE done = 0;
CREATE TABLE total(grp INTEGER PRIMARY KEY, resolved INTEGER, emitted INTEGER, inbox_items INTEGER,
                   fallbacks INTEGER, furthest INTEGER) WITHOUT ROWID;
"""


class StoredSetting(NamedTuple):
    """A record of what is true now, as it came."""

    topic: str
    value: bytes
    place: int


class StoredDecision(NamedTuple):
    """One row of the decision log."""

    offset: int
    now: int
    event: bytes
    deliveries: bytes
    outputs: bytes
    used: bytes


@dataclass(slots=True)
class TransactionalTotals:
    """Running totals of one key group."""

    resolved: int = 0
    emitted: int = 0
    inbox_items: int = 0
    fallbacks: int = 0
    """Of decisions that are done."""
    furthest: int = -1
    """Offset of the last event decided."""


@dataclass(slots=True)
class BatchCommit:
    """What one batch of events adds, as one transaction."""

    places: Mapping[TopicPartition, int]
    decisions: Sequence[StoredDecision] = ()
    marks: Sequence[tuple[str, str, str, str, int]] = ()
    totals: Mapping[int, TransactionalTotals] = field(default_factory=dict)
    lost: Mapping[int, int] = field(default_factory=dict)


def read_start(path: Path, place: TopicPartition) -> int | None:
    """Where the lane at `path` goes on; None where it knows nothing."""
    row = read_first(path, "SELECT next FROM place WHERE topic = ? AND partition = ?", place)
    return None if row is None else int(row[0])


class TransactionalStore:
    """One lane's file; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create it.

        :raises StateDamagedError: it is no such file.
        :raises StateVersionError: a newer program wrote it.
        """
        self._file = SqliteFile(path, version=VERSION, schema=_SCHEMA, checked=_CHECKED, wal_pages_max=_WAL_PAGES_MAX)
        self._swept: dict[str, tuple[Any, ...] | None] = {}
        """Up to which key a table was looked at by `forget`; None: to its end."""
        self._run, self._first = self._file.run, self._file.first

    def places(self) -> dict[TopicPartition, int]:
        """Where reading goes on."""
        return {(topic, partition): following for topic, partition, following in self._run("SELECT * FROM place")}

    def attempts_from(self) -> int:
        """Nothing in `attempts` below this concerns an open delivery."""
        return self._file.meta("attempts") or 0

    def ledger_end(self) -> int | None:
        """Below this offset of `events.p0` the ledger says what was decided; None: it was not asked yet."""
        return self._file.meta("taken_over")

    def lost(self) -> dict[int, int]:
        """Deliveries from before the store, by key group, without an end on the ledger and not resumed."""
        rows = self._run("SELECT name, value FROM meta WHERE name LIKE 'lost/%'")
        return {int(name.partition("/")[2]): int(number) for name, number in rows}

    def begin_from_ledger(self, end: int, totals: Mapping[int, TransactionalTotals], lost: Mapping[int, int]) -> None:
        """Begin with what the ledger says of everything below `end`."""
        with self._file.transaction():
            self._run("REPLACE INTO meta VALUES ('taken_over', ?)", (end,))
            self._put_totals(totals)
            self._put_lost(lost)

    def totals(self) -> dict[int, TransactionalTotals]:
        """By key group."""
        return {group: TransactionalTotals(*rest) for group, *rest in self._run("SELECT * FROM total")}

    def open_decisions(self) -> list[StoredDecision]:
        """Those that are not done, in order."""
        query = (
            'SELECT "offset", now, event, deliveries, outputs, used, checksum FROM decision WHERE done = 0 ORDER BY 1'
        )
        rows = [(StoredDecision(*columns), stored) for *columns, stored in self._run(query)]
        for decision, stored in rows:
            self._check(decision, stored)
        return [decision for decision, _ in rows]

    def _check(self, columns: Sequence[object], stored: int) -> None:
        """:raises StateDamagedError: the row is not what was written."""
        if stored != signed_sum(_pack(columns)):
            raise refusal(self._file.path, None)

    def settings_of(self, user: str) -> list[StoredSetting]:
        """What is on file for a user, oldest first."""
        query = "SELECT user, topic, name, value, place, checksum FROM setting WHERE user = ? ORDER BY place"
        rows = [(tuple(columns), stored) for *columns, stored in self._run(query, (user,))]
        for columns, stored in rows:
            self._check(columns, stored)
        return [StoredSetting(topic, value, place) for (_, topic, _, value, place), _ in rows]

    def switches(self) -> dict[tuple[str, str], int]:
        """Kill switches that are on, with their offsets in `control`."""
        return {(scope, value): place for scope, value, place in self._run("SELECT * FROM switch")}

    def mark(self, kind: str, scope: str, name: str, now: int) -> str | None:
        """The event_id behind a mark that holds at `now`."""
        row = self._first(
            "SELECT event_id FROM mark WHERE kind = ? AND scope = ? AND name = ? AND expires > ?",
            (kind, scope, name, now),
        )
        return None if row is None else str(row[0])

    def put_settings(
        self,
        settings: Iterable[tuple[str, str, str, bytes | None, int]],
        switches: Iterable[tuple[str, str, bool, int]],
        places: Mapping[TopicPartition, int],
    ) -> None:
        """Take over (user, topic, name, value or None, place) and (scope, value, on, place), in order."""
        with self._file.transaction():
            for user, topic, name, value, place in settings:
                if value is None:
                    self._run("DELETE FROM setting WHERE user = ? AND topic = ? AND name = ?", (user, topic, name))
                else:
                    row = (user, topic, name, value, place)
                    self._run("REPLACE INTO setting VALUES (?, ?, ?, ?, ?, ?)", (*row, signed_sum(_pack(row))))
            for scope, switched, on, place in switches:
                self._run("DELETE FROM switch WHERE scope = ? AND value = ?", (scope, switched))
                if on:
                    self._run("INSERT INTO switch VALUES (?, ?, ?)", (scope, switched, place))
            self._put_places(places)

    def commit(self, batch: BatchCommit) -> None:
        """Store what was decided; nothing of it may be sent before."""
        with self._file.transaction():
            self._file.many(
                "INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
                [(*each, signed_sum(_pack(each))) for each in batch.decisions],
            )
            self._file.many("REPLACE INTO mark VALUES (?, ?, ?, ?, ?)", batch.marks)
            self._put_totals(batch.totals)
            self._put_lost(batch.lost)
            self._put_places(batch.places)

    def close_decisions(
        self, offsets: Iterable[int], totals: Mapping[int, TransactionalTotals], attempts_from: int
    ) -> None:
        """These are done: their deliveries ended, and all their records are in the log."""
        with self._file.transaction():
            self._file.many('UPDATE decision SET done = 1 WHERE "offset" = ?', [(offset,) for offset in offsets])
            self._put_totals(totals)
            self._run("REPLACE INTO meta VALUES ('attempts', ?)", (attempts_from,))

    def forget(self, now: int, retention_ms: int) -> bool:
        """Drop marks that hold no more, and decisions that are done and older than the log retains, among the next
        `FORGET_ROWS` of each: P0 waits meanwhile. True: all were looked at, and the next call begins again.
        """
        self._sweep("mark", "kind, scope, name", "expires <= ?", now)
        self._sweep("decision", '"offset"', "done = 1 AND now < ?", now - retention_ms)
        if any(self._swept.values()):
            return False
        self._swept.clear()
        return True

    def _sweep(self, table: str, key: str, ended: str, time_ms: int) -> None:
        after = self._swept.get(table, ())
        if after is None:
            return
        values = f"({', '.join('?' for _ in key.split(', '))})"
        part = f"({key}) > {values}" if after else "TRUE"
        steps = f"SELECT {key} FROM {table} WHERE {part} ORDER BY {key} LIMIT 1 OFFSET {FORGET_ROWS - 1}"  # noqa: S608 - ours
        last = self._file.first(steps, after) or ()
        if last:
            part += f" AND ({key}) <= {values}"
        self._run(f"DELETE FROM {table} WHERE {part} AND {ended}", (*after, *last, time_ms))  # noqa: S608 - our words
        self._swept[table] = last or None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _put_places(self, places: Mapping[TopicPartition, int]) -> None:
        rows = [(topic, partition, following) for (topic, partition), following in places.items()]
        self._file.many("REPLACE INTO place VALUES (?, ?, ?)", rows)

    def _put_totals(self, totals: Mapping[int, TransactionalTotals]) -> None:
        rows = [(g, t.resolved, t.emitted, t.inbox_items, t.fallbacks, t.furthest) for g, t in totals.items()]
        self._file.many("REPLACE INTO total VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _put_lost(self, lost: Mapping[int, int]) -> None:
        rows = [(f"lost/{group}", number) for group, number in lost.items()]
        self._file.many("REPLACE INTO meta VALUES (?, ?)", rows)
