"""The bytes of a frame, in which the embedded log keeps what one append stored in one partition.

A frame is one row of the table `frames` (see `connectors.log.embedded.partition`). Its blobs are msgpack:

    keys     array of bin                             one per record
    body     array [values, headers]
             values    array of bin                   one per record; empty is a tombstone
             headers   array of array of [str, bin]   one per record, or empty if no record has any
    offsets  array of int, or NULL                    one per record; NULL: every offset from the first to the last

All records of a frame carry the frame's time. Only compaction writes `offsets`. Columns instead of a row per record:
one step of SQLite then moves thousands of records, and gives up the interpreter lock once, not once per record.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple, cast

import msgspec
import xxhash

from connectors.log.interface import RECORD_MAX_BYTES, Headers, NewRecord, Record
from state.model.errors import LogError

RECORDS_MAX = 4096
VALUES_MAX_BYTES = 900_000
"""Of several records. Larger blobs are mapped and unmapped by themselves (`flows.process.memory`), at each of three
copies on their way into SQLite.
"""

_encode = msgspec.msgpack.Encoder().encode
_decode_keys = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_body = msgspec.msgpack.Decoder(tuple[list[bytes], list[Headers]]).decode
_decode_offsets = msgspec.msgpack.Decoder(list[int]).decode
_numbers = struct.Struct("<4q").pack
_record = cast(Callable[[Iterable[object]], Record], partial(tuple.__new__, Record))


class Block(NamedTuple):
    """Records packed for one frame that has no offsets yet."""

    records: int
    tombstones: int
    keys: bytes
    body: bytes


class Frame(NamedTuple):
    """One row of `frames`, in the order of its columns."""

    last_offset: int
    first_offset: int
    timestamp_ms: int
    tombstones: int
    offsets: bytes | None
    keys: bytes
    body: bytes


def pack_frames(records: Sequence[NewRecord]) -> Iterator[Block]:
    """Pack records of one partition in order, into as many blocks as the bounds of a frame demand."""
    values = [record.value for record in records]
    lengths = list(map(len, values))
    if max(lengths, default=0) > RECORD_MAX_BYTES:
        raise LogError(f"a record of {max(lengths)} bytes for {records[0].topic} is larger than {RECORD_MAX_BYTES}")
    if len(records) > 1 and (len(records) > RECORDS_MAX or sum(lengths) > VALUES_MAX_BYTES):
        half = len(records) // 2
        yield from pack_frames(records[:half])
        yield from pack_frames(records[half:])
    elif records:
        headers = [record.headers for record in records]
        keys = [record.key for record in records]
        body = (values, headers if any(headers) else ())
        yield Block(len(records), values.count(b""), _encode(keys), _encode(body))


def unpack_frame(topic: str, partition: int, frame: Frame) -> list[Record]:
    """Give the records of a frame in order."""
    keys = _decode_keys(frame.keys)
    values, headers = _decode_body(frame.body)
    columns = zip(
        repeat(topic),
        repeat(partition),
        decode_offsets(frame),
        repeat(frame.timestamp_ms),
        keys,
        values,
        headers or repeat(()),
        strict=False,
    )
    return list(map(_record, columns))


def checksum_of(frame: Frame) -> int:
    """Give xxh3_64 over the four integers as 64 bits little-endian, then offsets, keys and body, as a signed integer.

    SQLite has none for its pages: without it a flipped byte of a record would be read as if it had been written so.
    """
    digest = xxhash.xxh3_64(_numbers(*frame[:4]))
    digest.update(frame.offsets or b"")
    digest.update(frame.keys)
    digest.update(frame.body)
    value = digest.intdigest()
    return value - (1 << 64) if value >> 63 else value


def decode_offsets(frame: Frame) -> Sequence[int]:
    """Give the offset of each record of a frame."""
    if frame.offsets is None:
        return range(frame.first_offset, frame.last_offset + 1)
    return _decode_offsets(frame.offsets)


def decode_keys(blob: bytes) -> list[bytes]:
    """Decode a frame's column of keys."""
    return _decode_keys(blob)


def keep(frame: Frame, wanted: Callable[[int, bytes, bytes], bool]) -> Frame:
    """Give the frame without the records for which `wanted(offset, key, value)` is false; it spans the same offsets."""
    rows = [row for row in unpack_frame("", 0, frame) if wanted(row.offset, row.key, row.value)]
    values = [row.value for row in rows]
    headers = [row.headers for row in rows]
    return frame._replace(
        tombstones=values.count(b""),
        offsets=_encode([row.offset for row in rows]),
        keys=_encode([row.key for row in rows]),
        body=_encode((values, headers if any(headers) else ())),
    )
