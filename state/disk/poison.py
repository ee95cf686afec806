"""Which records are in hand, so that one that ends its process is found (DECISIONS, One ordered log).

A flow notes the place of a record before it processes it, and removes the note afterwards. The notes are a file mapped
into memory: they survive kill -9 and cost about 0.5 us a record, in a batch half of that. They are not flushed; after a
loss of power counting starts again. A start that finds a note knows that the process died with this record in hand.
When five starts in a row find the same record, it is convicted: `suspect` says so from then on, and the flow skips it
and writes a dead letter. A death in another record in between resets the count, so random deaths convict nobody. A
start that dies before its first record changes nothing.

Threads of a process, or processes of a cluster, die together. They may have several records in hand at each death, the
same ones every time, and only one of them is to blame. So a record that was in hand at the last death is processed
alone: not beside another such record of any journal with the same unit (a lock on `suspect.lock` in its directory). If
the unit dies again, only that record is counted. It waits for its turn for half a minute at most, then it is processed
anyway. Processes on other hosts are not reached.

File, little-endian, written whole and renamed at every start:

- 16 bytes: `CARPOISN`, version u16 (now 1), number of slots n u16, number of counted places c u16, two bytes 0;
- n times 88 bytes, one per thread: state u8 (0 nothing yet, 1 being processed, 2 processed), seven bytes 0, place;
- c times 88 bytes: starts u32 that died in it (5: convicted), four bytes 0, place.

A place is 80 bytes: topic utf-8 (64 bytes, cut off or filled with 0), partition i32, offset i64, key group i32 (-1:
none).
"""

from __future__ import annotations

import fcntl
import mmap
import struct
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import get_ident
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from state.disk.files import replace_file
from state.disk.lock import try_flock
from state.model.errors import StateError
from state.progress import made

LOCK_NAME = "suspect.lock"
STARTS_MAX = 5
"""Starts that find a record unfinished before it is skipped."""
SLOTS = 64
CONVICTED_MAX = 4096
"""Convicted places remembered; beyond it the oldest are forgotten."""
_MAGIC = b"CARPOISN"
_VERSION = 1
_HEADER = struct.Struct("<8sHHH2x")
_PLACE = struct.Struct("<64siqi")
_ENTRY = struct.Struct("<I4x64siqi")
_UNFINISHED, _FINISHED = 1, 2
_STATE = struct.Struct("<B7x64siqi")
_OFFSET = struct.Struct("<q")
_OFFSET_AT = 8 + 64 + 4
"""In a slot."""
_TOPIC_BYTES = 64
_TRY_EVERY_S = 0.005
_TRIES_MAX = 6000

_logger = structlog.get_logger(__name__)


class RecordLocation(NamedTuple):
    """Where a record is; `group` tells apart the key groups that one record concerns, -1 where it does not matter."""

    topic: str
    partition: int
    offset: int
    group: int = -1


class _Turn:
    """The right to process a record in which a start died: one thread of a unit has it at a time."""

    def __init__(self, unit: Path) -> None:
        unit.mkdir(parents=True, exist_ok=True)
        self._file = (unit / LOCK_NAME).open("ab")
        self._among_threads = threading.Lock()
        self._pause = threading.Event()
        self._thread: int | None = None

    def take(self) -> None:
        """Wait for it; after half a minute go on without it, with a warning."""
        self.give_back()
        if not self._among_threads.acquire(timeout=_TRY_EVERY_S * _TRIES_MAX):
            _logger.warning("poison_turn_not_given", holder="a thread of this process")
            return
        for _ in range(_TRIES_MAX):
            if try_flock(self._file.fileno()):
                self._thread = get_ident()
                return
            self._pause.wait(_TRY_EVERY_S)
        self._among_threads.release()
        _logger.warning("poison_turn_not_given", holder="another process of the unit, or another flow of this one")

    def give_back(self) -> None:
        """End this thread's turn, if it has it."""
        if self._thread == get_ident():
            self._thread = None
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._among_threads.release()

    def close(self) -> None:
        """Release it, if anybody has it."""
        self._file.close()


class Processing:
    """The end of what `PoisonJournal.processing` began, as a context."""

    __slots__ = ("_journal",)

    def __init__(self, journal: PoisonJournal) -> None:
        self._journal = journal

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or (issubclass(kind, Exception) and not issubclass(kind, MemoryError)):
            self._journal.end()


class PoisonJournal:
    """The notes of one process, a slot per thread. Made by `open`; threads may share it."""

    def __init__(self, notes: mmap.mmap, counts: dict[RecordLocation, int], slots: int, unit: Path) -> None:
        self._notes, self._slots = notes, slots
        self.counts = counts
        """Deaths by place, as of this start."""
        self._convicted = {place for place, starts in counts.items() if starts >= STARTS_MAX}
        self._accused = counts.keys() - self._convicted
        self._turn = _Turn(unit) if self._accused else None
        self._topics: dict[str, bytes] = {}
        self._at: dict[int, int] = {}
        """Slot by thread; by number, since a thread that is not Python's own has no lasting `threading.local`."""
        self._movers: dict[int, Callable[[int], None]] = {}
        """By thread."""
        self._claiming = threading.Lock()
        self._processing = Processing(self)

    @classmethod
    def open(cls, path: Path, slots: int = SLOTS, *, unit: Path | None = None) -> Self:
        """Count what the last process left unfinished; a damaged file counts as an empty one, with a warning.

        `slots` bounds the threads that may note a record. The caller owns the directory (`state.disk.lock`). `unit`: a
        directory shared by everything that dies together with this process; default: the file's own.
        """
        counts = _counted(_read(path))
        replace_file(path, _encode(counts, slots))
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), 0), counts, slots, unit or path.parent)

    def suspect(self, topic: str, partition: int, offset: int, group: int = -1) -> bool:
        """Whether five starts in a row died in this record: it is to be skipped."""
        return bool(self._convicted) and _cut(RecordLocation(topic, partition, offset, group)) in self._convicted

    def begin(self, topic: str, partition: int, offset: int, group: int = -1) -> None:
        """This thread processes the record from now on; it ends with `end`, or with the process.

        A record that was in hand at the last death waits for its turn first.

        :raises StateError: more threads than slots.
        """
        if self._turn is not None and _cut(RecordLocation(topic, partition, offset, group)) in self._accused:
            self._turn.take()
        made()
        try:
            at = self._at[get_ident()]
            name = self._topics[topic]
        except KeyError:
            at, name = self._slot(), self._name(topic)
        # In this order, so that a kill between the two does not accuse a record that was not started.
        _PLACE.pack_into(self._notes, at + 8, name, partition, offset, group)
        self._notes[at] = _UNFINISHED

    def mover(self) -> Callable[[int], None]:
        """`begin` and `end` for one who goes from record to record of a topic, partition and key group: to be called
        with the offset of the next one, when what this thread began is processed. Not where `counts` says that some
        died. The caller counts what is `made`.
        """
        return self._movers[get_ident()]

    def end(self) -> None:
        """The record that this thread began is processed, or failed in a way that leaves the process alive."""
        self._notes[self._at[get_ident()]] = _FINISHED
        if self._turn is not None:
            self._turn.give_back()

    def processing(self, topic: str, partition: int, offset: int, group: int = -1) -> Processing:
        """`begin` now, and `end` when the `with` block ends. MemoryError, SystemExit or a
        panic of a library leaves the note: it ends the process, and the record is counted.
        """
        self.begin(topic, partition, offset, group)
        return self._processing

    def close(self) -> None:
        """Release the files; nothing may be noted any more."""
        self._notes.close()
        if self._turn is not None:
            self._turn.close()

    def _slot(self) -> int:
        thread = get_ident()
        with self._claiming:
            claimed = len(self._at)
            if thread not in self._at and claimed == self._slots:
                raise StateError(f"more than {self._slots} threads process records; start fewer workers a process")
            at = self._at.setdefault(thread, _HEADER.size + claimed * _STATE.size)
            self._movers[thread] = partial(_OFFSET.pack_into, self._notes, at + _OFFSET_AT)
            return at

    def _name(self, topic: str) -> bytes:
        return self._topics.setdefault(topic, topic.encode()[:_TOPIC_BYTES])


def _cut(place: RecordLocation) -> RecordLocation:
    """As a place reads back from the file."""
    return place if len(place.topic) <= _TOPIC_BYTES // 4 else place._replace(topic=_text(place.topic.encode()))


def _text(name: bytes) -> str:
    return name[:_TOPIC_BYTES].rstrip(b"\0").decode("utf-8", "replace")


def _counted(found: tuple[list[tuple[int, RecordLocation]], dict[RecordLocation, int]]) -> dict[RecordLocation, int]:
    """Deaths by place after one more start; those convicted stay so."""
    notes, before = found
    unfinished = {place for state, place in notes if state == _UNFINISHED}
    if not any(state for state, _ in notes):
        return before
    counts = {place: starts for place, starts in before.items() if starts >= STARTS_MAX}
    for place in sorted(unfinished):
        counts[place] = max(counts.get(place, 0), before.get(place, 0) + 1)
    return dict(list(counts.items())[-CONVICTED_MAX:])


def _encode(counts: dict[RecordLocation, int], slots: int) -> bytes:
    rows = [_ENTRY.pack(starts, place.topic.encode()[:_TOPIC_BYTES], *place[1:]) for place, starts in counts.items()]
    return _HEADER.pack(_MAGIC, _VERSION, slots, len(rows)) + bytes(slots * _STATE.size) + b"".join(rows)


def _read(path: Path) -> tuple[list[tuple[int, RecordLocation]], dict[RecordLocation, int]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], {}
    try:
        return _decode(content)
    except (struct.error, ValueError) as error:
        _logger.warning("poison_journal_damaged", file=path.name, cause=str(error), effect="counting starts again")
        return [], {}


def _decode(content: bytes) -> tuple[list[tuple[int, RecordLocation]], dict[RecordLocation, int]]:
    magic, version, slots, counted = _HEADER.unpack_from(content)
    if magic != _MAGIC or version != _VERSION:
        raise ValueError(f"is no journal of version {_VERSION}")
    at = _HEADER.size
    if len(content) != at + (slots + counted) * _STATE.size:
        raise ValueError("has the wrong size")
    places = at + slots * _STATE.size
    notes = [
        (state, RecordLocation(_text(name), *rest)) for state, name, *rest in _STATE.iter_unpack(content[at:places])
    ]
    rows = [
        (starts, RecordLocation(_text(name), *rest)) for starts, name, *rest in _ENTRY.iter_unpack(content[places:])
    ]
    return notes, {place: starts for starts, place in rows}
