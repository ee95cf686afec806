"""Slices in the table of an inbox store, as both the owner and readers look them up (`state/inbox/slices.py`).

A look-up costs one seek for each block of the group. So blocks are folded: never is anything written for each user.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby, islice

from connectors.inbox import keys
from connectors.inbox.interface import RowPosition
from connectors.inbox.table import InboxTable, TableBatch, in_parts, value_of
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
_EVENTS_AT_ONCE = 24
"""A little more than a page."""
_CHUNKS_AT_ONCE = 500


def group_slices(table: InboxTable, group: int) -> GroupSlices:
    """What is known of a group's slices."""
    return known_slices(value_of(table, keys.slices_key(group)))


def known_slices(value: bytes | None) -> GroupSlices:
    """What a row says of a group's slices; no row: there never were any."""
    return GroupSlices() if value is None else decode_group_slices(value)


def slice_numbers(table: InboxTable, user: str, slices: GroupSlices, above: int) -> list[int]:
    """The kept slices that a user is in, above this number, in order; `slices` are those of his group."""
    return _numbers_of_each(table, [(user, slices, above)])[0]


def _numbers_of_each(table: InboxTable, wanted: Sequence[tuple[str, GroupSlices, int]]) -> list[list[int]]:
    """The same for some users, each with the slices of his group and a number."""
    places: list[tuple[int, SliceBlock, bytes, bytes]] = []
    for index, (user, slices, above) in enumerate(wanted):
        group, name, least = key_group(user), name_of(user), _least(slices, above)
        places += [
            (index, block, name, keys.block_prefix(group, block)) for block in slices.blocks if block.last >= least
        ]
    found: list[list[int]] = [[] for _ in wanted]
    for part in in_parts(places, _CHUNKS_AT_ONCE):
        chunks = table.firsts([(prefix, prefix + name) for _, _, name, prefix in part])  # that end there or behind
        for (index, block, name, _), chunk in zip(part, chunks, strict=True):
            found[index] += chunk_slices(block, chunk, name)
    return [
        numbers[bisect_left(numbers, _least(slices, above)) :]
        for numbers, (_, slices, above) in zip(found, wanted, strict=True)
    ]


def _least(slices: GroupSlices, above: int) -> int:
    return max(above + 1, slices.range.kept_from)


def slices_of_each(table: InboxTable, above: Mapping[str, int]) -> dict[tuple[str, int], list[SliceEvent]]:
    """By (user, number) as given: the kept slices that the user is in, above the number, in order."""
    groups = sorted({key_group(user) for user in above})
    known = dict(zip(groups, map(known_slices, table.values([*map(keys.slices_key, groups)])), strict=True))
    wanted = [(user, known[key_group(user)], number) for user, number in above.items()]
    numbers = _numbers_of_each(table, wanted)
    places = {(key_group(user), each) for (user, _, _), found in zip(wanted, numbers, strict=True) for each in found}
    values = table.values([keys.slice_event_key(*place) for place in places]) if places else []
    events = {place: decode_slice_event(_present(value, table)) for place, value in zip(places, values, strict=True)}
    return {
        (user, number): [events[key_group(user), each] for each in found]
        for (user, _, number), found in zip(wanted, numbers, strict=True)
    }


def slice_events(table: InboxTable, group: int, numbers: Sequence[int]) -> list[SliceEvent]:
    """The events of slices."""
    values = table.values([keys.slice_event_key(group, number) for number in numbers])
    return [decode_slice_event(_present(value, table)) for value in values]


def _present(value: bytes | None, table: InboxTable) -> bytes:
    if value is None:
        raise StateDamagedError(f"{table.name}: the event of a slice is missing; restore the store")
    return value


def fresh_rows(
    table: InboxTable, group: int, numbers: Sequence[int], next_number: int, before: RowPosition | None
) -> Iterator[tuple[RowPosition, StoredRow]]:
    """The rows that these slices bring to a user who has so many of his own; newest first, behind `before`."""

    def position(index: int) -> RowPosition:
        (event,) = slice_events(table, group, [numbers[index]])
        return RowPosition(event.at, next_number + index)

    end = len(numbers)
    if before is not None:  # `at` never falls as numbers rise
        end = bisect_left(range(end), before, key=position)
    for last in range(end, 0, -_EVENTS_AT_ONCE):
        first = max(0, last - _EVENTS_AT_ONCE)
        events = slice_events(table, group, numbers[first:last])
        for number, event in reversed([*enumerate(events, start=next_number + first)]):
            yield RowPosition(event.at, number), event.row(number)


def untaken(table: InboxTable, group: int) -> Iterator[tuple[SliceEvent, int]]:
    """The kept slices in order, and how many members do not have them in their own rows."""
    taken = {key[2:]: _count(value) for key, value in table.rows(keys.taken_prefix(group))}
    for key, value in table.rows(keys.slice_event_prefix(group)):
        event = decode_slice_event(value)
        yield event, event.members - taken.get(key[2:], 0)


def _count(value: bytes | None) -> int:
    return int.from_bytes(value or b"", "big")


def slice_users(table: InboxTable, group: int, after: str | None, limit: int) -> list[str]:
    """Up to `limit` members of a group's slices in byte order, behind `after`."""
    least, found = b"" if after is None else name_of(after), set[bytes]()
    for block in group_slices(table, group).blocks:
        found.update(islice(_names_behind(table, group, block, least), limit))
    return [user_of_name(name) for name in sorted(found)[:limit]]


def _names_behind(table: InboxTable, group: int, block: SliceBlock, least: bytes) -> Iterator[bytes]:
    prefix = keys.block_prefix(group, block)
    for _, chunk in table.rows(prefix, prefix + least):
        yield from (name for name in chunk_names(block, chunk)[1:-1].split(b"\0") if name > least)


def write_slices(
    batch: TableBatch, table: InboxTable, changes: SliceChanges, chunk_names_max: int
) -> dict[int, GroupSlices]:
    """What changed, into the batch of a commit; gives the groups of which there are other slices now."""
    changed = sorted({*(new.group for new in changes.new), *changes.retired})
    before = table.values([keys.slices_key(group) for group in changed]) if changed else []
    groups = {group: known_slices(value) for group, value in zip(changed, before, strict=True)}
    for group, new in groupby(changes.new, key=lambda each: each.group):
        groups[group] = _add(batch, groups[group], list(new), chunk_names_max)
    taken = [keys.taken_key(*each) for each in changes.taken]
    for key, had, count in zip(taken, table.values(taken) if taken else [], changes.taken.values(), strict=True):
        batch.put(key, (_count(had) + count).to_bytes(4, "big"))
    for group, last in changes.retired.items():
        groups[group] = _retire(batch, group, groups[group], last)
    for group, slices in groups.items():
        batch.put(keys.slices_key(group), encode_group_slices(slices))
    return groups


def _add(batch: TableBatch, slices: GroupSlices, new: list[NewSlice], chunk_names_max: int) -> GroupSlices:
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


def _retire(batch: TableBatch, group: int, slices: GroupSlices, last: int) -> GroupSlices:
    """Without the slices up to `last`; a block stays until all of its slices are gone."""
    for number in range(slices.range.kept_from, last + 1):
        batch.delete(keys.slice_event_key(group, number))
        batch.delete(keys.taken_key(group, number))
    gone = [block for block in slices.blocks if block.last <= last]
    for block in gone:
        batch.delete_prefix(keys.block_prefix(group, block))
    return GroupSlices(slices.range._replace(kept_from=last + 1), slices.blocks[len(gone) :])


def fold_blocks(table: InboxTable, groups: Mapping[int, GroupSlices], bounds: BlockBounds) -> None:
    """Fold what is due after a commit, of these groups. Not synced: what is lost is folded at the next commit."""
    for group, slices in groups.items():
        while due := _due(slices.blocks, bounds):
            slices = _fold(table, group, slices, due, bounds.chunk_names)  # noqa: PLW2901 - one after the other


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


def _fold(table: InboxTable, group: int, slices: GroupSlices, due: list[SliceBlock], names_max: int) -> GroupSlices:
    from state.inbox.folding import StoredBlock, fold  # with NumPy and pyarrow

    batch, prefixes = TableBatch(), [keys.block_prefix(group, block) for block in due]
    stored = [
        StoredBlock(block, [chunk for _, chunk in rows])
        for block, rows in zip(due, table.rows_of_each(prefixes), strict=True)
    ]
    folded, chunks = fold(stored, slices.range.kept_from, names_max)
    for prefix in prefixes:
        batch.delete_prefix(prefix)
    for last, chunk in chunks:
        batch.put(keys.block_prefix(group, folded) + last, chunk)
    at = slices.blocks.index(due[0])
    after = slices._replace(blocks=(*slices.blocks[:at], folded, *slices.blocks[at + len(due) :]))
    batch.put(keys.slices_key(group), encode_group_slices(after))
    table.write(batch, synced=False)
    return after
