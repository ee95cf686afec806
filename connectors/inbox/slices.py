"""Slices in an inbox store on RocksDB, as both the owner and readers look them up (`state/inbox/slices.py`).

A look-up costs one seek for each block of the group. So blocks are folded: never is anything written for each user.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, islice

from rocksdict import Rdict, RdictIter, WriteBatch

from connectors.inbox import keys
from connectors.inbox.interface import RowPosition
from state.disk.rocksdb import named_damage, prefixed_rows, stored_row, stored_rows
from state.inbox.slices import (
    BlockBounds,
    GroupSlices,
    SliceBlock,
    chunk_names,
    chunk_slices,
    decode_group_slices,
    decode_slice_event,
    encode_group_slices,
    encode_slice_event,
    name_of,
    split_names,
    user_of_name,
)
from state.inbox.values import NewSlice, SliceChanges, SliceEvent, StoredRow
from state.model.errors import StateDamagedError
from state.model.keys import key_group

_NUMBERS_MAX = 0xFFFF


def group_slices(database: Rdict, group: int) -> GroupSlices:
    """What is known of a group's slices."""
    value = stored_row(database, keys.slices_key(group))
    return GroupSlices() if value is None else decode_group_slices(value)


def slice_numbers(database: Rdict, user: str, above: int) -> list[int]:
    """The kept slices that a user is in, above this number, in order."""
    group, name = key_group(user), name_of(user)
    slices = group_slices(database, group)
    least = max(above + 1, slices.range.kept_from)
    blocks = [block for block in slices.blocks if block.last >= least]
    if not blocks:
        return []
    found: list[int] = []
    with named_damage(database.path()):
        cursor: RdictIter = database.iter()
        for block in blocks:
            found += chunk_slices(block, _chunk(cursor, keys.block_prefix(group, block), name), name)
    return found[bisect_left(found, least) :]


def _chunk(cursor: RdictIter, prefix: bytes, name: bytes) -> bytes:
    """The chunk of a block that has the name if any has: the first that ends with it, or behind it."""
    cursor.seek(prefix + name)
    if not cursor.valid():
        cursor.status()
        return b""
    key: bytes = cursor.key()
    value: bytes = cursor.value()
    return value if key.startswith(prefix) else b""


def slice_events(database: Rdict, group: int, numbers: Sequence[int]) -> list[SliceEvent]:
    """The events of slices."""
    values = stored_rows(database, [keys.slice_event_key(group, number) for number in numbers])
    return [decode_slice_event(_present(value, database)) for value in values]


def _present(value: bytes | None, database: Rdict) -> bytes:
    if value is None:
        raise StateDamagedError(f"{database.path()}: the event of a slice is missing; restore the store")
    return value


def fresh_rows(
    database: Rdict, group: int, numbers: Sequence[int], next_number: int, before: RowPosition | None
) -> Iterator[tuple[RowPosition, StoredRow]]:
    """The rows that these slices bring to a user who has so many of his own; newest first, behind `before`."""

    def row(index: int) -> tuple[RowPosition, StoredRow]:
        (event,) = slice_events(database, group, [numbers[index]])
        number = next_number + index
        return RowPosition(event.at, number), event.row(number)

    end = len(numbers)
    if before is not None:  # `at` never falls as numbers rise
        end = bisect_left(range(end), before, key=lambda index: row(index)[0])
    for index in range(end - 1, -1, -1):
        yield row(index)


def untaken(database: Rdict, group: int) -> Iterator[tuple[SliceEvent, int]]:
    """The kept slices in order, and how many members do not have them in their own rows."""
    for key, value in prefixed_rows(database, keys.slice_event_prefix(group)):
        event = decode_slice_event(value)
        yield event, event.members - _taken(database, keys.taken_key(group, int.from_bytes(key[2:], "big")))


def _taken(database: Rdict, key: bytes) -> int:
    return int.from_bytes(stored_row(database, key) or b"", "big")


def slice_users(database: Rdict, group: int, after: str | None, limit: int) -> list[str]:
    """Up to `limit` members of a group's slices in byte order, behind `after`."""
    least, found = b"" if after is None else name_of(after), set[bytes]()
    for block in group_slices(database, group).blocks:
        found.update(islice(_names_behind(database, group, block, least), limit))
    return [user_of_name(name) for name in sorted(found)[:limit]]


def _names_behind(database: Rdict, group: int, block: SliceBlock, least: bytes) -> Iterator[bytes]:
    prefix = keys.block_prefix(group, block)
    for _, chunk in prefixed_rows(database, prefix, prefix + least):
        yield from (name for name in chunk_names(block, chunk)[1:-1].split(b"\0") if name > least)


def write_slices(batch: WriteBatch, database: Rdict, changes: SliceChanges, chunk_names_max: int) -> None:
    """What changed, into the write batch of a commit."""
    groups: dict[int, GroupSlices] = {}
    for group, new in groupby(changes.new, key=lambda each: each.group):
        before = groups.get(group) or group_slices(database, group)
        groups[group] = _add(batch, before, list(new), chunk_names_max)
    for (group, number), count in changes.taken.items():
        key = keys.taken_key(group, number)
        batch.put(key, (_taken(database, key) + count).to_bytes(4, "big"))
    for group, last in changes.retired.items():
        groups[group] = _retire(batch, group, groups.get(group) or group_slices(database, group), last)
    for group, slices in groups.items():
        batch.put(keys.slices_key(group), encode_group_slices(slices))


def _add(batch: WriteBatch, slices: GroupSlices, new: list[NewSlice], chunk_names_max: int) -> GroupSlices:
    kept, blocks = slices.range, [*slices.blocks]
    for group, event, names in new:
        block = SliceBlock(0, event.number, event.number, event.members)
        prefix = keys.block_prefix(group, block)
        for last, chunk in split_names(names, chunk_names_max):
            batch.put(prefix + last, chunk)
        batch.put(keys.slice_event_key(group, event.number), encode_slice_event(event))
        blocks.append(block)
        kept = kept._replace(newest=event.number, newest_at=event.at, now_ms=event.now_ms)
    return GroupSlices(kept, tuple(blocks))


def _retire(batch: WriteBatch, group: int, slices: GroupSlices, last: int) -> GroupSlices:
    """Without the slices up to `last`; a block stays until all of its slices are gone."""
    for number in range(slices.range.kept_from, last + 1):
        batch.delete(keys.slice_event_key(group, number))
        batch.delete(keys.taken_key(group, number))
    gone = [block for block in slices.blocks if block.last <= last]
    for block in gone:
        _delete_block(batch, group, block)
    return GroupSlices(slices.range._replace(kept_from=last + 1), slices.blocks[len(gone) :])


def _delete_block(batch: WriteBatch, group: int, block: SliceBlock) -> None:
    """All chunks of a block."""
    prefix = keys.block_prefix(group, block)
    batch.delete_range(prefix, prefix + b"\xff")  # no name begins with this byte: it is not in UTF-8


def fold_blocks(database: Rdict, changes: SliceChanges, bounds: BlockBounds) -> None:
    """Fold what is due after a commit of these changes. Not synced: what is lost is folded at the next commit."""
    for group in {group for group, _, _ in changes.new}:
        while due := _due(group_slices(database, group).blocks, bounds):
            _fold(database, group, due, bounds.chunk_names)


def _due(blocks: Sequence[SliceBlock], bounds: BlockBounds) -> list[SliceBlock]:
    """The oldest of the latest tier, as soon as it has enough blocks: as many as may become one."""
    tier = blocks[-1].tier if blocks else 0
    latest = [block for block in blocks if block.tier == tier]
    if len(latest) < bounds.fold:
        return []
    entries = accumulate(block.entries for block in latest)
    fitting = [
        block
        for block, together in zip(latest, entries, strict=True)
        if together <= bounds.entries_max and block.last - latest[0].first <= _NUMBERS_MAX
    ]
    return fitting or latest[:1]


def _fold(database: Rdict, group: int, due: list[SliceBlock], names_max: int) -> None:
    from state.inbox.folding import StoredBlock, fold  # with NumPy and pyarrow

    slices, batch = group_slices(database, group), WriteBatch(raw_mode=True)
    stored = [
        StoredBlock(block, [chunk for _, chunk in prefixed_rows(database, keys.block_prefix(group, block))])
        for block in due
    ]
    folded, chunks = fold(stored, slices.range.kept_from, names_max)
    prefix = keys.block_prefix(group, folded)
    for last, chunk in chunks:
        batch.put(prefix + last, chunk)
    for block in due:
        _delete_block(batch, group, block)
    at = slices.blocks.index(due[0])
    blocks = (*slices.blocks[:at], folded, *slices.blocks[at + len(due) :])
    batch.put(keys.slices_key(group), encode_group_slices(slices._replace(blocks=blocks)))
    database.write(batch)
