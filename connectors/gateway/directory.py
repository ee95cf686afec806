"""What is true now, as far as the gateway must know it: preferences, owners of addresses, names of segments.

A look-up table beside the log, never the truth: it is read from the topics `preferences`, `endpoints` and `segments`,
can be deleted at any time, and is begun again when it is found damaged. A write of the gateway goes to the log first
and then at once into this table, with its offset, so that the next request sees it. When the follower reads the same
record, the offset says that it is known.

SQLite, `DIR/state/gateway/directory.sqlite` (tables in `_LAYOUT`). Addresses are kept as SHA-256 only, which is
enough to find whose a token is.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from connectors.log.interface import Record
from state.model.errors import MalformedRecordError, StateVersionError, StoreUnavailableError
from state.model.settings import ENDPOINT, PREFERENCE, EndpointRecord
from state.model.topics import ENDPOINTS, PREFERENCES, SEGMENTS

LAYOUT_VERSION = 4
_BEFORE_CANONICAL = 1
_BEFORE_LINKS = 2
_BEFORE_CAUSES = 3
SEGMENTS_MAX = 20_000
"""Names that an answer about a misspelled one is looked for among."""
_LAYOUT = """
CREATE TABLE IF NOT EXISTS position (topic TEXT, part INTEGER, next INTEGER, PRIMARY KEY (topic, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS preference (
    user TEXT PRIMARY KEY, place INTEGER, document BLOB, by_link BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endpoint (
    user TEXT, channel TEXT, id TEXT, place INTEGER, address_hash BLOB, platform TEXT, active INTEGER,
    registered_at INTEGER, cause TEXT, PRIMARY KEY (user, channel, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS first_registration (
    user TEXT, channel TEXT, id TEXT, at INTEGER, PRIMARY KEY (user, channel, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segment (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owner ON endpoint (address_hash) WHERE active = 1;
CREATE INDEX IF NOT EXISTS age ON endpoint (registered_at) WHERE active = 1 AND channel = 'push';
"""


CanonicalAddress = Callable[[str, str | None, str | None], str | None]
"""`state.model.admission.AdmissionRules.canonical_address`."""


class StoredPreference(NamedTuple):
    """A user's stored document."""

    place: int
    """Its offset in the log, which names this version; -1: none is stored."""
    document: Any
    by_link: Mapping[str, Sequence[str]]
    """Of `unsubscribed`, what a link in a mail switched off."""


class ActiveEndpoint(NamedTuple):
    """An active endpoint."""

    user: str
    channel: str
    id: str
    platform: str | None
    registered_at: int


_GONE = "gone"
_YOUNG_MS = 86_400_000
_FIRST = "SELECT coalesce(at, registered_at) FROM endpoint LEFT JOIN first_registration USING (user, channel, id)"
_json = msgspec.json
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_logger = structlog.get_logger(__name__)


def address_hash(address: str) -> bytes:
    """How an address is remembered."""
    return sha256(address.encode("utf-8", "surrogatepass")).digest()


class Directory:
    """The table. Every method may be called by any thread and takes well under a millisecond."""

    def __init__(self, path: Path, canonical_address: CanonicalAddress) -> None:
        """Open or begin it. Addresses are remembered as `canonical_address` gives them.

        :raises StateVersionError: written by another version of this program; delete the file, it is read again.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._canonical_address = path, canonical_address
        self._lock = threading.Lock()
        self._young_gone = Counter[str]()
        self.damaged = self._is_partial = False
        """The file was found damaged: who follows the log begins it again, and then not all has been read yet."""
        self._connect()
        try:
            self._set_up()
        except sqlite3.DatabaseError as error:
            self._note(error)
            if not self.damaged:
                raise

    def _connect(self) -> None:
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5)

    def _set_up(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version in (_BEFORE_CANONICAL, _BEFORE_LINKS, _BEFORE_CAUSES):
            self._upgrade(version)
        elif version not in (0, LAYOUT_VERSION):
            self._db.close()
            raise StateVersionError(
                f"directory of version {version}; delete {self._path.name} to read it again from the log"
            )
        self._db.executescript(_LAYOUT)
        self._db.execute(f"PRAGMA user_version={LAYOUT_VERSION}")

    def _upgrade(self, version: int) -> None:
        """As a whole or not at all."""
        self._db.execute("BEGIN")
        if version != _BEFORE_CAUSES:
            self._db.execute("ALTER TABLE preference ADD COLUMN by_link BLOB")  # no record has any yet
        if version == _BEFORE_CANONICAL:  # its hashes are of addresses as they were spelled; the log has them all
            self._db.execute("DROP TABLE IF EXISTS endpoint")
            self._db.execute("DELETE FROM position WHERE topic = ?", (ENDPOINTS,))
        else:  # of what was retired before, nobody can tell the cause any more
            self._db.execute("ALTER TABLE endpoint ADD COLUMN cause TEXT")
        self._db.execute(f"PRAGMA user_version={LAYOUT_VERSION}")
        self._db.execute("COMMIT")

    def _note(self, error: sqlite3.Error) -> None:
        self.damaged = self.damaged or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED

    def begin_again(self) -> None:
        """Leave a damaged file: everything is read from the log once more, and until `is_whole` nobody is answered."""
        _logger.warning("directory_damaged", file=self._path.name, effect="it is read again from the log")
        with self._lock:
            self._is_partial = True  # a request that came before would write what it merged into an empty document
            self._db.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            self._connect()
            self._set_up()
            self.damaged = False

    def is_whole(self) -> None:
        """All that the log had has been read."""
        self._is_partial = False

    def position(self, topic: str, partition: int) -> int | None:
        """Where to go on reading; None: from the beginning."""
        query = "SELECT next FROM position WHERE topic = ? AND part = ?"
        rows = self._all(query, (topic, partition), partial_too=True)
        return int(rows[0][0]) if rows else None

    def follow(self, records: Sequence[Record], positions: Iterable[tuple[tuple[str, int], int]]) -> int:
        """Take in what was read, and the positions behind it, in one transaction; gives how many do not decode.

        :raises StoreUnavailableError: nothing was taken in.
        """
        try:
            with self._lock, self._db:
                return self._follow(records, positions)
        except sqlite3.Error as error:
            self._note(error)
            raise StoreUnavailableError(f"directory: {error}") from error

    def _follow(self, records: Sequence[Record], positions: Iterable[tuple[tuple[str, int], int]]) -> int:
        self._db.execute("BEGIN")
        malformed = sum(not self._take(record) for record in records)
        self._db.executemany(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?)",
            [(topic, partition, offset) for (topic, partition), offset in positions],
        )
        return malformed

    def apply(self, records: Sequence[Record]) -> None:
        """Take in what this gateway has just appended."""
        self.follow(records, ())

    def _take(self, record: Record) -> bool:
        try:
            if record.topic == PREFERENCES:
                self._take_preference(record)
            elif record.topic == ENDPOINTS:
                self._take_endpoint(record)
            elif record.topic == SEGMENTS:
                self._take_segment(record)
        except (UnicodeDecodeError, MalformedRecordError):
            return False
        return True

    def _take_preference(self, record: Record) -> None:
        if not record.value:
            user, document, by_link = record.key.decode(), b"null", None
        else:
            body = PREFERENCE.decode(record.value)
            user, document = body.user, _json.encode(body.doc)
            by_link = _json.encode(body.by_link) if body.by_link else None
        self._db.execute(
            "INSERT INTO preference VALUES (?, ?, ?, ?) ON CONFLICT (user) DO UPDATE SET place = excluded.place,"
            " document = excluded.document, by_link = excluded.by_link WHERE excluded.place > place",
            (user, record.offset, document, by_link),
        )

    def _take_endpoint(self, record: Record) -> None:
        names = record.key.decode().split("\0")
        if not record.value:
            if len(names) < 3:
                raise MalformedRecordError("the key of an endpoint is user, channel and id with NUL in between")
            self._db.execute(
                "UPDATE endpoint SET place = ?, active = 0, address_hash = NULL, cause = NULL"
                " WHERE user = ? AND channel = ? AND id = ? AND place < ?",
                (record.offset, *names[:3], record.offset),
            )
            return
        body = ENDPOINT.decode(record.value)
        if body.gone_at is not msgspec.UNSET:
            cause = _GONE if body.cause is msgspec.UNSET else body.cause
            ended = self._db.execute(
                "UPDATE endpoint SET active = 0, cause = ?"
                " WHERE user = ? AND channel = ? AND id = ? AND registered_at <= ? AND active = 1",
                (cause, body.user, body.channel, body.id, body.gone_at),
            )
            if ended.rowcount and cause == _GONE:
                self._count_young(body, record.timestamp_ms)
            return
        taken = self._db.execute(
            "INSERT INTO endpoint VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (user, channel, id) DO UPDATE"
            " SET place = excluded.place, address_hash = excluded.address_hash, platform = excluded.platform,"
            " active = excluded.active, registered_at = excluded.registered_at, cause = NULL"
            " WHERE excluded.place > place",
            (
                body.user, body.channel, body.id, record.offset, address_hash(self._canonical(body)), body.platform,
                int(body.state == "active" and bool(body.address)), body.registered_at,
            ),
        )  # fmt: skip
        if taken.rowcount:
            self._take_first(body)

    def _take_first(self, body: EndpointRecord) -> None:
        at, key = body.first_at, (body.user, body.channel, body.id)
        if at is msgspec.UNSET:
            self._db.execute("DELETE FROM first_registration WHERE user = ? AND channel = ? AND id = ?", key)
        else:
            self._db.execute("INSERT OR REPLACE INTO first_registration VALUES (?, ?, ?, ?)", (*key, at))

    def _count_young(self, body: EndpointRecord, gone_at: int) -> None:
        """One that is gone within a day of its first registration."""
        ((first,),) = self._db.execute(
            f"{_FIRST} WHERE user = ? AND channel = ? AND id = ?", (body.user, body.channel, body.id)
        )
        if gone_at - first < _YOUNG_MS:
            self._young_gone[body.channel] += 1

    def _canonical(self, body: EndpointRecord) -> str:
        """An address that came another way than through a gateway may be spelled otherwise."""
        return self._canonical_address(body.channel, body.platform, body.address) or body.address or ""

    def _take_segment(self, record: Record) -> None:
        """Only that it was defined; its members are of no concern here, and many."""
        name, _, part = record.key.decode().partition("\0")
        if part == "commit":
            self._db.execute("INSERT OR IGNORE INTO segment VALUES (?)", (name,))

    def segments(self, among: Collection[str] | None = None) -> set[str]:
        """Give the segments that were ever defined, all or those among these names; at most SEGMENTS_MAX of all."""
        if among is None:
            rows = self._all("SELECT name FROM segment ORDER BY name LIMIT ?", (SEGMENTS_MAX,))
        else:
            rows = [row for name in among for row in self._all("SELECT name FROM segment WHERE name = ?", (name,))]
        return {row[0] for row in rows}

    def preference(self, user: str) -> StoredPreference:
        """Give a user's document; none stored: the empty document."""
        row = self._one("SELECT place, document, by_link FROM preference WHERE user = ?", (user,))
        if row is None:
            return StoredPreference(-1, {}, {})
        document = _json.decode(row[1])
        by_link = {} if row[2] is None else _json.decode(row[2])
        return StoredPreference(int(row[0]), {} if document is None else document, by_link)

    def devices(self, user: str, channel: str | None = None) -> list[ActiveEndpoint]:
        """Give a user's active endpoints of a channel, or of all, oldest registration first."""
        where, of = ("", ()) if channel is None else ("channel = ? AND ", (channel,))
        return self._devices(f"user = ? AND {where}active = 1 ORDER BY registered_at, place", (user, *of))

    def retired(self, user: str) -> list[tuple[ActiveEndpoint, str]]:
        """Give those of a user that a verdict ended, oldest registration first, each with its cause."""
        found = self._all(
            "SELECT user, channel, id, platform, registered_at, cause FROM endpoint"
            " WHERE user = ? AND cause IS NOT NULL ORDER BY registered_at, place",
            (user,),
        )
        return [(ActiveEndpoint(*row[:-1]), row[-1]) for row in found]

    def addresses(self, user: str) -> list[ActiveEndpoint]:
        """Give all endpoints of a user of which the log holds an address, those that are out of use, too."""
        return self._devices("user = ? AND address_hash IS NOT NULL AND address_hash != ?", (user, address_hash("")))

    def device(self, user: str, channel: str, endpoint_id: str) -> ActiveEndpoint | None:
        """Give one endpoint of a user if it is active."""
        found = self._devices("user = ? AND channel = ? AND id = ? AND active = 1", (user, channel, endpoint_id))
        return found[0] if found else None

    def first_registered(self, user: str, channel: str, endpoint_id: str, address: str) -> int | None:
        """When this address was registered first, for him there or for whoever has it now; None: never, as far as is
        known.
        """
        hashed = address_hash(address)
        row = self._one(
            f"{_FIRST} WHERE user = ? AND channel = ? AND id = ? AND address_hash = ?"
            f" UNION ALL {_FIRST} WHERE address_hash = ? AND active = 1 AND channel = ?",
            (user, channel, endpoint_id, hashed, hashed, channel),
        )
        return None if row is None else int(row[0])

    def take_young_gone(self) -> Counter[str]:
        """How many by channel were called gone within a day of their first registration, since this was asked last."""
        with self._lock:
            gone, self._young_gone = self._young_gone, Counter()
        return gone

    def aged(self, until_ms: int, count: int) -> list[ActiveEndpoint]:
        """Give active push tokens registered by then, oldest first; one without a time has no age."""
        where = "active = 1 AND channel = 'push' AND registered_at > 0 AND registered_at <= ?"
        return self._devices(f"{where} ORDER BY registered_at LIMIT ?", (until_ms, count))

    def owners(self, channel: str, address: str) -> list[ActiveEndpoint]:
        """Give the active endpoints that bear this address: one, but for what older writers left."""
        return self._devices("address_hash = ? AND active = 1 AND channel = ?", (address_hash(address), channel))

    def _devices(self, where: str, values: tuple[Any, ...]) -> list[ActiveEndpoint]:
        query = f"SELECT user, channel, id, platform, registered_at FROM endpoint WHERE {where}"  # noqa: S608 - fixed texts
        return [ActiveEndpoint(*row) for row in self._all(query, values)]

    def _all(self, query: str, values: tuple[Any, ...], *, partial_too: bool = False) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                if self._is_partial and not partial_too:
                    raise StoreUnavailableError("directory: it is read again from the log")
                return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._note(error)
            raise StoreUnavailableError(f"directory: {error}") from error

    def _one(self, query: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return next(iter(self._all(query, values)), None)

    def close(self) -> None:
        """Free the file."""
        with self._lock:
            self._db.close()
