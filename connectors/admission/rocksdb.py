"""The store of accepted events in RocksDB, for one gateway process (`connectors.admission.interface`).

Bytes in RocksDB, all integers big-endian:

    b"e" + event_id (utf-8)            state u8 (0 PENDING, 1 COMMITTED), event_until u64, kept_until u64,
                                       scope_length u8, scope, sender_id (utf-8), and behind a NUL the
                                       fan_out_type (earlier versions: nothing)
    b"s" + scope (16 bytes)            scope_until u64, content (32 bytes), event_id (utf-8)
    b"t" + until u64 + an event's key + now u64    keys of the two kinds above, each behind its length (u16): when to
                                       look whether they can go. Earlier versions: empty, and the key that is looked at
                                       in place of the event's and now
    b"v"                               layout version, u8
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rocksdict import Options, Rdict, WriteBatch

from connectors.admission.interface import Known, RepeatReason, Reservation, ReserveOutcome
from state.disk.rocksdb import lookup_table, opened_by
from state.model.admission import RepeatCheck
from state.model.durations import DAY_MS
from state.model.errors import StateVersionError, StoreUnavailableError

LAYOUT_VERSION = 1
_EVENT = struct.Struct(">BQQB")
_SCOPE = struct.Struct(">Q32s")
_TIME = struct.Struct(">Q")
_NEVER = 2**63
_LISTED_MAX = 64
"""Keys in one entry of the time index."""
_FRESH_MAX = 10_000
_WRITE_BUFFER_BYTES = 16 << 20
"""What is found and put in its order more quickly than among four times as much."""


_LENGTH = struct.Struct(">H")


class _Event(NamedTuple):
    committed: bool
    until_ms: int
    kept_until_ms: int
    scope: bytes
    sender_id: str
    fan_out_type: str


class _Scope(NamedTuple):
    until_ms: int
    content: bytes
    event_id: str


def _pack_pending(claim: RepeatCheck) -> bytes:
    scope = claim.scope or b""
    head = _EVENT.pack(False, claim.event_until_ms, claim.kept_until_ms, len(scope))
    return head + scope + f"{claim.sender_id}\0{claim.fan_out_type}".encode()


def _unpack_event(value: bytes) -> _Event:
    committed, event_until, kept_until, scope_length = _EVENT.unpack_from(value)
    scope_end = _EVENT.size + scope_length
    sender_id, _, fan_out_type = value[scope_end:].decode().partition("\0")
    return _Event(bool(committed), event_until, kept_until, value[_EVENT.size : scope_end], sender_id, fan_out_type)


def _unpack_scope(value: bytes) -> _Scope:
    until_ms, content = _SCOPE.unpack_from(value)
    return _Scope(until_ms, content, value[_SCOPE.size :].decode())


def judge(
    claim: RepeatCheck, scope: tuple[bytes, str] | None, is_known: bool
) -> tuple[ReserveOutcome, str, RepeatReason | None]:
    """RULES 1 for one claim: the outcome, whose event_id it names, and by what.

    `scope` is the (content, event_id) in force in the claim's scope, `is_known` whether its given event_id is. A
    client's key goes before the event_id, so that another body under the key is always flagged.
    """
    if scope is not None and claim.keyed:
        content, original = scope
        same = content == claim.content and not (claim.given and claim.event_id != original)
        return (ReserveOutcome.REPEAT if same else ReserveOutcome.CONFLICT), original, "key"
    if is_known:
        return ReserveOutcome.REPEAT, claim.event_id, "event_id"
    if scope is not None and scope[0] == claim.content:
        return ReserveOutcome.REPEAT, scope[1], "content"
    return ReserveOutcome.NEW, claim.event_id, None


def _options() -> Options:
    """With a filter before each file and what is not in one yet: nearly every key asked for is new (DECISIONS, Exact
    marks).
    """
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_memtable_prefix_bloom_ratio(0.1)
    options.set_memtable_whole_key_filtering(True)
    options.set_block_based_table_factory(lookup_table())
    return options


class RocksAdmissionStore:
    """The embedded store: one RocksDB directory, opened by one gateway process.

    Writes go to RocksDB's log without a flush to the disk: they survive the process, not the machine, which the flow
    behind makes up for. Measured: 7 µs an event, and 1.5 in RocksDB's threads (SQLite: 20 µs). Its methods do not wait.
    """

    def __init__(self, directory: Path) -> None:
        """Open or begin the store.

        :raises StateVersionError: written by another version of this program; delete the directory to start empty.
        :raises StoreUnavailableError: it cannot be opened, for instance because another process has it.
        """
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._open()

    def _open(self) -> None:
        try:
            self._db = opened_by(_options(), self._directory)
            version = self._db.get(b"v")
        except Exception as error:  # rocksdict raises plain Exception
            remedy = f"if it is damaged, delete {self._directory} to start empty: the flow behind catches repeats"
            raise StoreUnavailableError(f"admission store: {error}; {remedy}") from error
        self._next_due_ms, self._failed = 0, False
        self._fresh: dict[bytes, bytes] = {}
        """What was reserved last and is not committed yet: some of what the database has."""
        self._check_version(version)

    def _reopen_if_failed(self) -> None:
        """After a failed write RocksDB refuses every other one, though the disk may have room again."""
        if self._failed:
            self._close()
            self._open()

    def _check_version(self, version: Any) -> None:
        if version is None:
            self._db.put(b"v", bytes([LAYOUT_VERSION]))
        elif version != bytes([LAYOUT_VERSION]):
            self._db.close()
            raise StateVersionError("admission store of another version; delete state/gateway/admission to start empty")

    async def reserve(self, claims: Sequence[RepeatCheck], now_ms: int, missed_ms: int = 0) -> list[Reservation]:
        """See `AdmissionStore`; atomic because nothing else runs meanwhile and one process owns the directory."""
        self._reopen_if_failed()
        view = _View(self._db, claims, now_ms, missed_ms)
        answers = [view.reserve(claim) for claim in claims]
        self._write(view.batch())
        self._keep_fresh(view.events)
        self._next_due_ms = min([self._next_due_ms, *view.due])
        self.sweep(now_ms, most=16 + 4 * len(claims))
        return answers

    async def look(self, claims: Sequence[RepeatCheck], now_ms: int, missed_ms: int = 0) -> list[Reservation]:
        """See `AdmissionStore`."""
        view = _View(self._db, claims, now_ms, missed_ms)
        return [view.look(claim) for claim in claims]

    async def commit(self, event_ids: Sequence[str]) -> None:
        """See `AdmissionStore`."""
        keys = [b"e" + event_id.encode() for event_id in event_ids]
        found = {key: self._fresh.pop(key, None) for key in keys}
        others = [key for key, value in found.items() if value is None]
        found.update(zip(others, self._get(others), strict=True))
        batch = WriteBatch(raw_mode=True)
        for key, value in found.items():
            if value is not None:
                batch.put(key, b"\x01" + value[1:])
        self._write(batch)

    def _keep_fresh(self, events: dict[bytes, bytes]) -> None:
        if len(self._fresh) + len(events) > _FRESH_MAX:
            self._fresh.clear()
        self._fresh |= events

    async def known(self, event_id: str, now_ms: int) -> Known | None:
        """See `AdmissionStore`."""
        value = self._get([b"e" + event_id.encode()])[0]
        event = None if value is None else _unpack_event(value)
        if event is None or event.until_ms <= now_ms:
            return None
        return Known(event_id, event.sender_id, event.committed, event.kept_until_ms, event.fan_out_type)

    async def forget(self, event_id: str) -> None:
        """See `AdmissionStore`."""
        key = b"e" + event_id.encode()
        value = self._get([key])[0]
        if value is None:
            return
        self._fresh.pop(key, None)
        batch = WriteBatch(raw_mode=True)
        batch.delete(key)
        scope_key = b"s" + _unpack_event(value).scope
        scope = self._get([scope_key])[0]
        if scope is not None and _unpack_scope(scope).event_id == event_id:
            batch.delete(scope_key)
        self._write(batch)

    def sweep(self, now_ms: int, *, most: int) -> int:
        """Remove what no longer counts. It looks at `most` keys, and at what else is in their last entry; gives at how
        many it looked.
        """
        if now_ms < self._next_due_ms:
            return 0
        due = list(self._due(now_ms, most))
        keys = [key for _, listed in due for key in listed]
        batch = WriteBatch(raw_mode=True)
        for key, value in zip(keys, self._get(keys), strict=True):
            if value is not None and _until(key, value) <= now_ms:
                batch.delete(key)
        for time_key, _ in due:
            batch.delete(time_key)
        self._write(batch)
        return len(keys)

    def _due(self, now_ms: int, most: int) -> Iterator[tuple[bytes, list[bytes]]]:
        """Entries of the time index up to now; remembers where to look next, behind what was deleted."""
        found = 0
        for key, value in self._db.items(from_key=b"t" + _TIME.pack(self._next_due_ms)):
            if not (isinstance(key, bytes) and isinstance(value, bytes)) or key[:1] != b"t":
                break
            self._next_due_ms = _TIME.unpack_from(key, 1)[0]
            if found >= most or self._next_due_ms > now_ms:
                return
            listed = _listed(value) or [key[1 + _TIME.size :]]
            found += len(listed)
            yield key, listed
        self._next_due_ms = _NEVER

    async def close(self) -> None:
        """See `AdmissionStore`."""
        self._close()

    def _close(self) -> None:
        try:
            self._db.close()
        except Exception:
            if not self._failed:  # RocksDB raises the error of the failed write once more
                raise

    def _get(self, keys: list[bytes]) -> list[bytes | None]:
        return _get(self._db, keys)

    def _write(self, batch: WriteBatch) -> None:
        if batch.is_empty():
            return
        try:
            self._db.write(batch)
        except Exception as error:  # rocksdict raises plain Exception
            self._failed = True
            raise StoreUnavailableError(f"admission store: {error}") from error


def _get(db: Rdict, keys: Sequence[bytes]) -> list[bytes | None]:
    if not keys:
        return []
    try:
        found: Any = db.get(list[Any](keys))
    except Exception as error:  # rocksdict raises plain Exception
        raise StoreUnavailableError(f"admission store: {error}") from error
    return list(found)


def _found(db: Rdict, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Those of the keys that the database has."""
    ordered = sorted(keys)  # neighbours are looked for in the same parts of filters
    return {key: value for key, value in zip(ordered, _get(db, ordered), strict=True) if value is not None}


def _until(key: bytes, value: bytes) -> int:
    until_ms: int = _TIME.unpack_from(value, 0 if key[:1] == b"s" else 1)[0]
    return until_ms


def _listed(value: bytes) -> list[bytes]:
    keys, place = [], 0
    while place < len(value):
        begin = place + _LENGTH.size
        place = begin + _LENGTH.unpack_from(value, place)[0]
        keys.append(value[begin:place])
    return keys


class _View:
    """The store as a batch of claims sees it: what earlier claims of the batch wrote is on top."""

    def __init__(self, db: Rdict, claims: Sequence[RepeatCheck], now_ms: int, missed_ms: int) -> None:
        self.events: dict[bytes, bytes] = {}
        """What it puts there for events."""
        self.due: defaultdict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        """By the time at which it may go: each key, and that of its event."""
        self._scopes: dict[bytes, bytes] = {}
        self._now_ms, self._missed_ms = now_ms, missed_ms
        scope_keys = [b"s" + claim.scope for claim in claims if claim.scope is not None]
        event_keys = [b"e" + claim.event_id.encode() for claim in claims if claim.given]
        self._seen = _found(db, scope_keys + event_keys)
        scopes = [value for key in scope_keys if (value := self._seen.get(key))]
        self._seen.update(_found(db, [b"e" + _unpack_scope(value).event_id.encode() for value in scopes]))

    def reserve(self, claim: RepeatCheck) -> Reservation:
        answer = self.look(claim)
        if answer.outcome is ReserveOutcome.NEW:
            self._put(claim)
        return answer

    def look(self, claim: RepeatCheck) -> Reservation:
        scope = self._scope(claim)
        is_known = claim.given and self._event(claim.event_id) is not None
        outcome, event_id, reason = judge(claim, None if scope is None else (scope.content, scope.event_id), is_known)
        if outcome is ReserveOutcome.NEW:
            return Reservation(outcome, event_id, False)
        original = self._event(event_id)
        committed = original is not None and original.committed
        recognised = original if reason == "event_id" or scope is None else scope
        return Reservation(outcome, event_id, committed, reason, 0 if recognised is None else recognised.until_ms)

    def _scope(self, claim: RepeatCheck) -> _Scope | None:
        value = None if claim.scope is None else self._seen.get(b"s" + claim.scope)
        scope = None if value is None else _unpack_scope(value)
        if scope is None or self._now_ms >= scope.until_ms:
            return None
        return scope if claim.keyed or not self._is_outdated(scope) else None

    def _is_outdated(self, scope: _Scope) -> bool:
        """Whether the latest of a kind may have been missed since; when a kept one was accepted is not known."""
        if not self._missed_ms:
            return False
        original = self._event(scope.event_id)
        return original is None or original.kept_until_ms > 0 or original.until_ms - DAY_MS <= self._missed_ms

    def _event(self, event_id: str) -> _Event | None:
        value = self._seen.get(b"e" + event_id.encode())
        event = None if value is None else _unpack_event(value)
        return event if event is not None and self._now_ms < event.until_ms else None

    def _put(self, claim: RepeatCheck) -> None:
        event_id = claim.event_id.encode()
        event_key = b"e" + event_id
        self.events[event_key] = self._seen[event_key] = _pack_pending(claim)
        self.due[claim.event_until_ms].append((event_key, event_key))
        if claim.scope is not None:
            key = b"s" + claim.scope
            self._scopes[key] = self._seen[key] = _SCOPE.pack(claim.scope_until_ms, claim.content) + event_id
            self.due[claim.scope_until_ms].append((key, event_key))

    def batch(self) -> WriteBatch:
        """All that is new, in the order of keys: what comes in order is put in its place more quickly."""
        batch = WriteBatch(raw_mode=True)
        for puts in (self.events, self._scopes):
            for key in sorted(puts):
                batch.put(key, puts[key])
        for until_ms, keys in self.due.items():
            for first in range(0, len(keys), _LISTED_MAX):
                listed = keys[first : first + _LISTED_MAX]
                value = b"".join([_LENGTH.pack(len(key)) + key for key, _ in listed])
                # A kept event that was cancelled and comes again has the same time and key: not in place of the others.
                batch.put(b"t" + _TIME.pack(until_ms) + listed[0][1] + _TIME.pack(self._now_ms), value)
        return batch
