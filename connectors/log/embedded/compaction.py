"""Retention and compaction of one partition of the embedded log.

Retention removes whole frames from the front, and `begin_offset` follows. Compaction keeps the newest record of each
key:

1. Read the keys of the frames not compacted yet, up to `keys_max` of them, into a map from key to highest offset.
2. Go through all frames up to there, oldest first, and rewrite those that hold a record which the map supersedes.
3. Remember how far that was (`clean_to`).

Step 2 costs a pass over the partition's keys, so a run waits until the new part is `dirty_ratio` of the clean one.
Older records go before newer ones, so that a crash between two transactions never brings a superseded value back. Each
rewrite is one short transaction: writers wait for a frame, not for the run. Tombstones stay for `tombstone_retention`,
so that a reader who is behind sees them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from connectors.log.embedded.frames import Frame, decode_keys, decode_offsets, keep
from connectors.log.embedded.partition import PartitionFile
from state.model.durations import in_ms

_FRAMES_PER_READ = 256
_NONE = timedelta()
_WITHOUT_BODY = """
SELECT last_offset, first_offset, timestamp_ms, tombstones, offsets, keys, x'' FROM frames
WHERE last_offset >= ? AND last_offset < ? ORDER BY last_offset LIMIT ?"""


@dataclass(frozen=True, slots=True)
class CompactionOptions:
    """When compaction runs and what it leaves."""

    lag: timedelta = timedelta(minutes=1)
    """Records younger than this are left alone, so that a live reader sees every one of them. Default: a minute."""
    dirty_ratio: float = 0.5
    """A run starts when the records not compacted yet are at least this share of the compacted ones. Default: half."""
    tombstone_retention: timedelta = timedelta(days=1)
    """How long an empty value stays readable before its key disappears. Default: a day."""
    keys_max: int = 500_000
    """Keys that one run holds in memory; the rest waits for the next run. Default: 500 000, about 80 MB."""


def retain(file: PartitionFile, oldest_ms: int, needed_from: int | None = None, patience: timedelta = _NONE) -> int:
    """Remove the frames older than the time; gives the number of offsets removed.

    Records from `needed_from` on are kept longer, by `patience`.
    """
    begin, _ = file.bounds()
    moved_to = file.offset_at(oldest_ms)
    if needed_from is not None and needed_from < moved_to:
        spared = min([needed_from, *(frame.first_offset for frame in file.frames(needed_from, 1))])  # whole frames only
        moved_to = max(spared, file.offset_at(oldest_ms - in_ms(patience)))
    moved_to = max(begin, moved_to)
    # First the offset, so that a kill in between leaves frames that the next run removes.
    if moved_to > begin:
        file.change("UPDATE log SET begin_offset = max(begin_offset, ?)", (moved_to,))
    if file.query("SELECT 1 FROM frames WHERE last_offset < ? LIMIT 1", (moved_to,)):
        file.change("DELETE FROM frames WHERE last_offset < ?", (moved_to,))
    return moved_to - begin


def compact(file: PartitionFile, now_ms: int, options: CompactionOptions) -> int:
    """Remove superseded records and expired tombstones; gives how many records went."""
    clean_to, clean_records = file.query("SELECT clean_to, clean_records FROM log")[0]
    newest, clean_end = _newest_keys(file, clean_to, now_ms - in_ms(options.lag), options.keys_max)
    if clean_end == clean_to or clean_end - clean_to < options.dirty_ratio * clean_records:
        return 0
    expired_ms = now_ms - in_ms(options.tombstone_retention)
    removed = kept = 0
    for frame in _frames(file, 0, clean_end):
        names = decode_keys(frame.keys)
        stale = frame.tombstones > 0 and frame.timestamp_ms < expired_ms
        if stale or _may_hold_superseded(names, newest, frame.last_offset):
            left = _rewrite(file, frame.last_offset, newest, stale=stale)
            removed, kept = removed + len(names) - left, kept + left
        else:
            kept += len(names)
    file.change("UPDATE log SET clean_to = ?, clean_records = ?", (clean_end, kept))
    return removed


def _newest_keys(file: PartitionFile, start: int, until_ms: int, keys_max: int) -> tuple[dict[bytes, int], int]:
    """Map keys to their highest offset from `start` on; the second value is the offset at which the map ends."""
    newest: dict[bytes, int] = {}
    end = start
    limit = min(file.offset_at(until_ms), _newest_frame(file))
    for frame in _frames(file, start, limit):
        newest.update(zip(decode_keys(frame.keys), decode_offsets(frame), strict=True))
        end = frame.last_offset + 1
        if len(newest) >= keys_max:
            break
    return newest, end


def _newest_frame(file: PartitionFile) -> int:
    """The last offset of the newest frame, which compaction leaves alone; 0 if there is none."""
    return int(file.query("SELECT coalesce(max(last_offset), 0) FROM frames")[0][0])


def _frames(file: PartitionFile, start: int, end: int) -> Iterator[Frame]:
    """Go through the frames that end in [start, end), without reading their bodies."""
    while rows := file.query(_WITHOUT_BODY, (start, end, _FRAMES_PER_READ)):
        yield from map(Frame._make, rows)
        start = rows[-1][0] + 1


def _may_hold_superseded(names: list[bytes], newest: dict[bytes, int], last: int) -> bool:
    """Whether a frame that ends at `last` can hold an older record of a key; also true for a key twice in the frame."""
    return any(newest.get(name, -1) > last for name in names) or len(set(names)) < len(names)


def _rewrite(file: PartitionFile, last: int, newest: dict[bytes, int], *, stale: bool) -> int:
    """Drop from one frame what is superseded, and tombstones if `stale`; gives how many records stay."""

    def wanted(offset: int, key: bytes, value: bytes) -> bool:
        return newest.get(key, -1) <= offset and not (stale and not value)

    with file.transaction():
        frames = [frame for frame in file.frames(last, 1) if frame.last_offset == last]
        return sum(_replace(file, frame, keep(frame, wanted)) for frame in frames)


def _replace(file: PartitionFile, old: Frame, new: Frame) -> int:
    left = len(decode_offsets(new))
    if not left:
        file.execute("DELETE FROM frames WHERE last_offset = ?", (old.last_offset,))
    elif new.keys != old.keys:
        file.put(new)
    return left
