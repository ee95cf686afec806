"""Where the markers of owners are (`connectors.log.kafka.fencing`): written by a new owner, found by readers.

A reader that starts in the middle of a partition must know the markers before it. They are published in `owners`, which
is compacted, beside the claims, under a key for each claim:

    key     fence/decide/0/123                      the place, and the epoch of the claim
    value   {"processes": 2, "exact": true, "topics": {"ledger": [17, 4], ...}}
    header  schema = fences/1+json

`topics` gives one offset per partition, in order. Before the markers are appended, "exact" is false and the offsets are
lower bounds: a reader looks for the marker from there up to its own start. Afterwards they are the offsets of the
markers. If the process ends in between, the next owner looks for the markers up to its own, and publishes what it
found; null is a partition without one. (A marker that arrives later still is void.)

A publication is removed (tombstone) when a later claim voids everything that it voids, and the later claim's markers
are older than what the log retains, in all its partitions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from typing import NamedTuple, Protocol

import msgspec

from connectors.log.interface import OWNERS, Claim, NewRecord, Reader, Record
from connectors.log.kafka.fencing import (
    MARKER_SCHEMA,
    OwnerHeader,
    covers,
    ends,
    marker_value,
    owner_header,
    read_marker,
)
from connectors.log.read_to_ends import read_to_ends
from state.model.envelope import TopicPartition
from state.model.errors import LogError

SCHEMA = b"fences/1+json"
_PREFIX = "fence/"
_POLL = timedelta(milliseconds=200)
_BATCH_MAX = 2_000
_DEADLINE = timedelta(minutes=1)
"""Without any progress."""


class Marker(NamedTuple):
    """A marker and its offset."""

    offset: int
    claim: Claim


class MarkedLog(Protocol):
    """What is needed of a log to lay and to find markers."""

    def knows(self, topic: str) -> bool: ...
    def partitions(self, topic: str) -> int: ...
    def append(self, records: Sequence[NewRecord]) -> list[int]: ...
    def begin_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]: ...
    def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]: ...
    def raw_reader(self, start: Mapping[TopicPartition, int]) -> Reader: ...


class _Value(msgspec.Struct, frozen=True):
    processes: int
    exact: bool
    topics: dict[str, list[int | None]]


class Published(NamedTuple):
    """What `owners` says of one claim's markers."""

    claim: Claim
    exact: bool
    offsets: dict[TopicPartition, int]
    """Of the markers, or bounds below them."""


def marker_records(claim: Claim, places: Iterable[TopicPartition]) -> list[NewRecord]:
    """A marker for each partition."""
    value, headers = marker_value(claim), (("schema", MARKER_SCHEMA), owner_header(claim))
    return [NewRecord(*place, b"", value, headers) for place in places]


def _key(claim: Claim) -> bytes:
    return f"{_PREFIX}{claim.owner}/{claim.epoch}".encode()


def _publication(published: Published) -> NewRecord:
    topics: dict[str, list[int | None]] = {}
    for (topic, number), offset in sorted(published.offsets.items()):
        numbers = topics.setdefault(topic, [])
        numbers += [None] * (number - len(numbers))
        numbers.append(offset)
    value = msgspec.json.encode(_Value(published.claim.processes, published.exact, topics))
    return NewRecord(OWNERS, 0, _key(published.claim), value, (("schema", SCHEMA),))


def _decoded(record: Record) -> Published:
    """:raises LogError: the record is none of this version."""
    try:
        flow, process, epoch = record.key.decode().removeprefix(_PREFIX).rsplit("/", 2)
        value = msgspec.json.decode(record.value, type=_Value)
        claim = Claim(flow, int(process), value.processes, int(epoch))
    except ValueError as error:
        raise LogError(
            f"{OWNERS}/0 offset {record.offset} does not say where markers are: it was written by a newer version, or"
            " is damaged; start the newer version"
        ) from error
    offsets = {
        (topic, number): offset
        for topic, numbers in value.topics.items()
        for number, offset in enumerate(numbers)
        if offset is not None
    }
    return Published(claim, value.exact, offsets)


class Publications:
    """What `owners` says of markers, as of the last question; any thread may ask."""

    def __init__(self, log: MarkedLog) -> None:
        self._log, self._lock = log, threading.Lock()
        self._read_to: int | None = None
        self._known: dict[bytes, Published] = {}

    def all(self) -> list[Published]:
        """Everything as of now.

        :raises LogError: `owners` cannot be read.
        """
        with self._lock:
            if self._log.knows(OWNERS):
                self._read_on()
            return list(self._known.values())

    def below(self, starts: Mapping[TopicPartition, int]) -> dict[TopicPartition, list[Marker]]:
        """The markers before these places.

        :raises LogError: they cannot be found.
        """
        wanted = {place: at for place, at in starts.items() if at > 0 and place[0] != OWNERS}
        if not wanted:
            return {}
        found: dict[TopicPartition, list[Marker]] = {}
        bounds: dict[TopicPartition, int] = {}
        for published in self.all():
            for place in published.offsets.keys() & wanted.keys():
                offset = published.offsets[place]
                if published.exact and offset < wanted[place]:
                    found.setdefault(place, []).append(Marker(offset, published.claim))
                elif offset < wanted[place]:
                    bounds[place] = min(offset, bounds.get(place, offset))
        for place, marker in search(self._log, {place: range(at, wanted[place]) for place, at in bounds.items()}):
            found.setdefault(place, []).append(marker)
        return found

    def _read_on(self) -> None:
        place = (OWNERS, 0)
        if self._read_to is None:
            self._read_to = self._log.begin_offsets([place])[place]
        end = self._log.end_offsets([place])[place]
        for record in _read(self._log, {place: range(self._read_to, end)}):
            if record.key.startswith(_PREFIX.encode()):
                self._take(record)
        self._read_to = max(self._read_to, end)

    def _take(self, record: Record) -> None:
        if record.value:
            self._known[record.key] = _decoded(record)
        else:
            self._known.pop(record.key, None)


def search(log: MarkedLog, spans: Mapping[TopicPartition, range]) -> Iterator[tuple[TopicPartition, Marker]]:
    """The markers among the offsets, as far as they are retained.

    :raises LogUnavailableError: nothing could be read for some seconds.
    """
    if not spans:
        return
    begins = log.begin_offsets(list(spans))
    retained = {place: range(max(span.start, begins[place]), span.stop) for place, span in spans.items()}
    for record in _read(log, retained):
        claim = read_marker(record.headers, record.value)
        if claim is not None:
            yield (record.topic, record.partition), Marker(record.offset, claim)


def _read(log: MarkedLog, spans: Mapping[TopicPartition, range]) -> Iterator[Record]:
    spans = {place: span for place, span in spans.items() if span}
    if not spans:
        return
    with closing(log.raw_reader({place: span.start for place, span in spans.items()})) as reader:
        ends = {place: span.stop for place, span in spans.items()}
        for records in read_to_ends(reader, ends, deadline=_DEADLINE):
            yield from (record for record in records if record.offset < ends[record.topic, record.partition])


def lay_markers(
    log: MarkedLog, claim: Claim, topics: Sequence[str], *, reached: Callable[[str], None] = lambda _step: None
) -> None:
    """Void what earlier owners of the place append from now on; see the module.

    `reached` is called with each step's name when it is done: `bounds`, `markers`, `exact`.

    :raises LogError: the log cannot be read or written; nothing may be appended under the claim then.
    """
    places = [(topic, number) for topic in topics for number in range(log.partitions(topic))]
    if not places:
        return
    before = Publications(log).all()
    log.append([_publication(Published(claim, False, log.end_offsets(places)))])
    reached("bounds")
    offsets = dict(zip(places, log.append(marker_records(claim, places)), strict=True))
    reached("markers")
    mine = Published(claim, True, offsets)
    log.append([_publication(mine)])
    reached("exact")
    _clear_up(log, mine, before)


def _clear_up(log: MarkedLog, mine: Published, before: Sequence[Published]) -> None:
    """Publish what others left half done, and remove what nobody needs any more."""
    ended = [p for p in before if ends(mine.claim, OwnerHeader(p.claim.flow, p.claim.process, p.claim.epoch))]
    settled = [_settled(log, p, mine) for p in ended if not p.exact and p.offsets.keys() <= mine.offsets.keys()]
    exact = [p for p in before if p.exact and p.claim.flow == mine.claim.flow]
    replaced = [p for p in exact if any(_may_replace(later, p) for later in exact)]
    removed: list[Published] = []
    if replaced:
        begins = log.begin_offsets(sorted({place for p in exact for place in p.offsets if log.knows(place[0])}))
        gone = [p for p in exact if all(offset < begins.get(place, offset + 1) for place, offset in p.offsets.items())]
        removed = [p for p in replaced if any(_may_replace(later, p) for later in gone)]
    records = [_publication(p) for p in settled]
    records += [NewRecord(OWNERS, 0, _key(p.claim), b"") for p in removed]
    if records:
        log.append(records)


def _settled(log: MarkedLog, left: Published, mine: Published) -> Published:
    spans = {place: range(bound, mine.offsets[place]) for place, bound in left.offsets.items()}
    found: dict[TopicPartition, int] = {}
    for place, marker in search(log, spans):
        if marker.claim == left.claim:
            found.setdefault(place, marker.offset)
    return Published(left.claim, True, found)


def _may_replace(later: Published, earlier: Published) -> bool:
    newer = later.claim.epoch > earlier.claim.epoch
    return newer and covers(later.claim, earlier.claim) and earlier.offsets.keys() <= later.offsets.keys()
