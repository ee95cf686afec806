"""What one deliver lane keeps on disk: how far it has read, what is open, what was sent (DECISIONS, Intent before the
first byte).

SQLite file `lane.sqlite` in WAL mode, one commit per epoch, one epoch behind what was handed out:

    meta(name TEXT, value INTEGER)            version; attempts:<partition>: below this offset of `attempts` nothing
                                              concerns an open delivery; taken:<partition>: below this offset of
                                              `attempts` all concerns records below `next`, in files of earlier
                                              releases missing; digest: see `state.disk.sqlite`;
                                              sent_sum: of the rows of `sent`, see `_SENT_SUM`
    place(topic TEXT, partition INTEGER, next INTEGER, open BLOB)
                                              records below `next` were taken; `open` are the offsets of those whose
                                              deliveries have not all ended, u64 little-endian, ascending; with the
                                              highest bit set: it waits to be compared with `attempts` (a redelivery)
                                              and is not counted yet
    mark(topic TEXT, source TEXT, grp INTEGER, "offset" INTEGER, ordinal INTEGER)
                                              the last `seq` taken (TOPICS.md)
    sent(key BLOB, until INTEGER)             `key_digest` of delivery keys that ended, not to be sent until then
    total(grp INTEGER, accepted INTEGER, fallbacks INTEGER)
    shown(about BLOB, screen TEXT, until INTEGER, value BLOB)
                                              what pushes show on devices (`state/deliver/shown.py`), until their life
                                              ends; no digest covers it: what is lost is not withdrawn

Rows of one fan-out lie together, so that a slice changes a few pages of the file in place of two for each push: the
first bytes of `key` and `about` are what the fan-out has in common (`state/deliver/near.py`). Earlier releases wrote
neither with them; such rows are found until the last of them is over.

The file may be older than the topic `attempts`, which is read from `attempts:` on before anything is sent. A commit
survives the kill of the process. After a loss of power the file may be older; then more is read again.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from operator import itemgetter
from pathlib import Path

from state.deliver.near import NEAR_BYTES, near
from state.deliver.shown import ShownAt, ShownPush, decode_shown, encode_shown
from state.disk.sqlite import SqliteFile, read_first, refusal
from state.model.envelope import TopicPartition

VERSION = 1
SENT_FOR_MS = 86_400_000
PARTS = 256
"""Of all keys, by their first byte: to look at all in one go takes 65 ms for 500 000 pushes, and 290 where they go."""
_KEY_BYTES_MAX = 20
_VARIABLES_MAX = 500
_HELD_BIT = 1 << 63
_SHARED_CHARACTERS = 27
"""Of a delivery key: what the emissions of one fan-out have in common (`state.model.keys.emission_base`)."""
_CHECKED = (
    "SELECT name, value FROM meta WHERE name NOT IN ('digest', 'sent_sum') ORDER BY name",
    "SELECT * FROM place ORDER BY topic, partition",
    "SELECT * FROM mark ORDER BY topic, source, grp",
    "SELECT * FROM total ORDER BY grp",
)
"""All but `sent` and `shown`, which are too large to be read with every commit."""
_SENT_SUM = "SELECT coalesce(sum(65536 + until % 65536), 0) FROM sent"
"""Tells whether rows of `sent` are missing, as `integrity_check` whether they are in order: 0.5 s for a million at each
start. A key that is another one lets one delivery through that is asked for again within its day, if `attempts` no
longer knows it."""
_PLAIN_UNTIL = """
SELECT coalesce(max(until), 0) FROM
  (SELECT until FROM sent WHERE length(key) = 16 UNION ALL SELECT until FROM shown WHERE length(about) = 16)
"""
"""How long rows as earlier releases wrote them are asked for."""
_KEEP_SENT_SUM = """
PRAGMA recursive_triggers = ON;
CREATE TEMP TRIGGER sent_more AFTER INSERT ON main.sent
  BEGIN UPDATE meta SET value = value + 65536 + new.until % 65536 WHERE name = 'sent_sum'; END;
CREATE TEMP TRIGGER sent_less AFTER DELETE ON main.sent
  BEGIN UPDATE meta SET value = value - 65536 - old.until % 65536 WHERE name = 'sent_sum'; END;
"""
_SHOWN = (
    "CREATE TABLE IF NOT EXISTS "
    "shown(about BLOB, screen TEXT, until INTEGER, value BLOB, PRIMARY KEY(about, screen)) WITHOUT ROWID"
)
"""Files of earlier releases have none."""
MarkKey = tuple[str, str, int]
"""Topic, source, key group."""

_SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE place(topic TEXT, partition INTEGER, next INTEGER, open BLOB, PRIMARY KEY(topic, partition)) WITHOUT ROWID;
CREATE TABLE mark(topic TEXT, source TEXT, grp INTEGER, "offset" INTEGER, ordinal INTEGER,
                  PRIMARY KEY(topic, source, grp)) WITHOUT ROWID;
CREATE TABLE sent(key BLOB PRIMARY KEY, until INTEGER) WITHOUT ROWID;
CREATE TABLE total(grp INTEGER PRIMARY KEY, accepted INTEGER, fallbacks INTEGER) WITHOUT ROWID;
"""


@dataclass(slots=True)
class LaneState:
    """What a lane knows when it starts."""

    fresh: bool = True
    """There was no file: everything the log retains is read again."""
    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    open_offsets: dict[TopicPartition, frozenset[int]] = field(default_factory=dict)
    held_offsets: dict[TopicPartition, frozenset[int]] = field(default_factory=dict)
    """Read, and not opened or counted yet."""
    attempts_from: dict[int, int] = field(default_factory=dict)
    """By partition of `attempts`."""
    attempts_taken: dict[int, int] = field(default_factory=dict)
    """The same: below these all concerns records that were taken."""
    marks: dict[MarkKey, tuple[int, int]] = field(default_factory=dict)
    totals: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Key group to (accepted, fallbacks)."""


@dataclass(slots=True)
class LaneCommit:
    """What changed since the last commit."""

    next_offsets: Mapping[TopicPartition, int]
    open_offsets: Mapping[TopicPartition, Iterable[int]]
    attempts_from: Mapping[int, int]
    marks: Mapping[MarkKey, tuple[int, int]]
    totals: Mapping[int, tuple[int, int]]
    """Key group to (accepted, fallbacks)."""
    sent: Iterable[bytes]
    """Digests of keys that ended."""
    now: int
    held_offsets: Mapping[TopicPartition, Iterable[int]] = field(default_factory=dict)
    attempts_taken: Mapping[int, int] = field(default_factory=dict)
    shown: Mapping[ShownAt, ShownPush | None] = field(default_factory=dict)
    """None: no more."""


def key_digest(key: str) -> bytes:
    """20 bytes in place of a delivery key; those of one fan-out begin alike."""
    return near(key[:_SHARED_CHARACTERS]) + sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]


def read_start(path: Path, place: TopicPartition) -> int | None:
    """The first offset that the lane at `path` needs of a topic; None where it knows nothing."""
    row = read_first(path, "SELECT next, open FROM place WHERE topic = ? AND partition = ?", place)
    return None if row is None else min([row[0], *(offset & ~_HELD_BIT for offset in _unpack(row[1]))])


class SendingStore:
    """One lane's file; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create it.

        :raises StateDamagedError: it is no such file.
        :raises StateVersionError: a newer program wrote it.
        """
        self._file = SqliteFile(path, version=VERSION, schema=_SCHEMA, checked=_CHECKED)
        with self._file.named_refusals():
            if not self._has_all_sent():
                raise refusal(path, None)
            self._file.script(_KEEP_SENT_SUM)
            self._file.run(_SHOWN)
            self._plain_until = int(self._file.run(_PLAIN_UNTIL)[0][0])

    def load(self) -> LaneState:
        """Everything but the sent keys.

        :raises StateDamagedError: the file is not what was written.
        """
        state, run = LaneState(fresh=self._file.fresh), self._file.run
        for topic, partition, following, offsets in run("SELECT topic, partition, next, open FROM place"):
            state.next_offsets[topic, partition] = following
            state.open_offsets[topic, partition] = frozenset(o for o in _unpack(offsets) if not o & _HELD_BIT)
            state.held_offsets[topic, partition] = frozenset(o ^ _HELD_BIT for o in _unpack(offsets) if o & _HELD_BIT)
        for name, value in run("SELECT name, value FROM meta WHERE name LIKE 'attempts:%'"):
            state.attempts_from[int(name.partition(":")[2])] = value
        for name, value in run("SELECT name, value FROM meta WHERE name LIKE 'taken:%'"):
            state.attempts_taken[int(name.partition(":")[2])] = value
        for topic, source, group, offset, ordinal in run("SELECT * FROM mark"):
            state.marks[topic, source, group] = (offset, ordinal)
        for group, accepted, fallbacks in run("SELECT * FROM total"):
            state.totals[group] = (accepted, fallbacks)
        return state

    def sent_among(self, digests: Collection[bytes], now: int) -> set[bytes]:
        """Those of the keys that ended within their day."""
        found = {key for key, until in self._stored(digests) if until > now}
        if now < self._plain_until:
            plain = {digest[NEAR_BYTES:]: digest for digest in digests}
            found |= {plain[key] for key, until in self._stored(plain) if until > now}
        return found

    def _stored(self, digests: Collection[bytes]) -> list[tuple[bytes, int]]:
        found: list[tuple[bytes, int]] = []
        for part in batched(digests, _VARIABLES_MAX):
            marks = ", ".join("?" * len(part))
            found += self._file.run(
                f"SELECT key, until FROM sent WHERE key IN ({marks})",  # noqa: S608 - question marks only
                part,
            )
        return found

    def remember_sent(self, keys: Iterable[str], now: int) -> None:
        """These ended some time ago: not to be sent within the day to come."""
        rows = [(key_digest(key), now + SENT_FOR_MS) for key in keys]
        with self._file.transaction(digest=False):
            self._file.many("INSERT OR REPLACE INTO sent VALUES (?, ?)", rows)

    def shown(self, about: bytes) -> dict[ShownAt, ShownPush]:
        """What is shown about it, and where."""
        # The row of an earlier release comes first, so that one of now stands in its place.
        asked = "SELECT screen, value FROM shown WHERE about IN (?, ?) ORDER BY length(about)"
        rows = self._file.run(asked, (about, about[NEAR_BYTES:]))
        return {ShownAt(about, screen): decode_shown(value) for screen, value in rows}

    def commit(self, change: LaneCommit) -> None:
        """Store a change as one transaction."""
        with self._file.transaction():
            self._write(change)

    def forget_sent(self, now: int, part: int) -> int:
        """Drop keys whose day is over, and what is shown no longer, of one of `PARTS`; gives how many keys."""
        begin = bytes([part])
        last = begin + b"\xff" * _KEY_BYTES_MAX
        with self._file.transaction(digest=False):
            self._file.run("DELETE FROM shown WHERE about BETWEEN ? AND ? AND until <= ?", (begin, last, now))
            self._file.run("DELETE FROM sent WHERE key BETWEEN ? AND ? AND until <= ?", (begin, last, now))
            return int(self._file.run("SELECT changes()")[0][0])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _has_all_sent(self) -> bool:
        ((actual,),) = self._file.run(_SENT_SUM)
        self._file.run("INSERT OR IGNORE INTO meta VALUES ('sent_sum', ?)", (actual,))
        return actual == self._file.meta("sent_sum") and self._file.run("PRAGMA integrity_check(1)") == [("ok",)]

    def _write(self, change: LaneCommit) -> None:
        many = self._file.many
        places: list[tuple[str, int, int, bytes]] = []
        for place, following in change.next_offsets.items():
            held = (offset | _HELD_BIT for offset in change.held_offsets.get(place, ()))
            places.append((*place, following, _pack([*change.open_offsets.get(place, ()), *held])))
        many("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?)", places)
        for name, offsets in (("attempts", change.attempts_from), ("taken", change.attempts_taken)):
            rows = [(f"{name}:{partition}", offset) for partition, offset in offsets.items()]
            many("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)
        many("INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?, ?)", [(*k, *v) for k, v in change.marks.items()])
        many("INSERT OR REPLACE INTO total VALUES (?, ?, ?)", [(group, *v) for group, v in change.totals.items()])
        until = change.now + SENT_FOR_MS
        many("INSERT OR REPLACE INTO sent VALUES (?, ?)", [(digest, until) for digest in sorted(change.sent)])
        self._write_shown(sorted(change.shown.items(), key=itemgetter(0)), change.now)

    def _write_shown(self, changed: list[tuple[ShownAt, ShownPush | None]], now: int) -> None:
        gone = [at for at, each in changed if each is None]
        if now < self._plain_until:
            gone += [ShownAt(at.about[NEAR_BYTES:], at.screen) for at, _ in changed]
        self._file.many("DELETE FROM shown WHERE about = ? AND screen = ?", gone)
        kept = [(*at, each.until, encode_shown(each)) for at, each in changed if each is not None]
        self._file.many("INSERT OR REPLACE INTO shown VALUES (?, ?, ?, ?)", kept)


def batched(digests: Collection[bytes], size: int) -> Iterator[tuple[bytes, ...]]:
    """The digests in parts of at most `size`."""
    iterator = iter(digests)
    while part := tuple(islice(iterator, size)):
        yield part


def _pack(offsets: Iterable[int]) -> bytes:
    ordered = sorted(offsets)
    return struct.pack(f"<{len(ordered)}Q", *ordered)


def _unpack(blob: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(blob) // 8}Q", blob)
