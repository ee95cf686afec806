"""How audiences are kept in decide's checkpoint: small sets in blocks, with those that changed since beside them.

A row for each set would make a start slow: a key group of 40 000 users has 120 000 followees. A block loads as columns,
and to write all its 1 024 sets when one changes would be much. So a set that changed gets a row of its own, and when a
block has `BESIDE_MAX` of them, it is written again. New sets wait outside of the blocks until there are so many. Sets
are numbered in the order of the blocks, then as they come.

A large set is a row of its own, and rows of what changed since. Otherwise one new follower of a star would rewrite all
the star's followers of that key group: 170 kB where the star has ten million. The changes are merged into the whole
when they come to a sixteenth of it.

Releases that knew no blocks kept every set in such a row. Its sets are in no block yet, and `collect` makes blocks of
them.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

import numpy as np
import xxhash

from state.decide import codec
from state.decide.audience import PACKED_MAX, Audience, NamedSets
from state.decide.packed_texts import TextStretch, encoded, stretch_of
from state.disk.packing import pack, u32, unpack
from state.model.errors import StateDamagedError

FOLD_SHARE = 1 / 16
BLOCK_SETS = 1024
BESIDE_MAX = 64
"""Sets beside a block, and in none: at most a sixteenth load one by one."""
BLOCKS_OF = {b"F": b"A", b"S": b"B"}
_ROW_BYTES = 4
_LARGE_BYTES = _ROW_BYTES * PACKED_MAX
StoredAudienceRows = Iterable[tuple[bytes, bytes]]
_Put = Callable[[bytes, bytes], None]
_Delete = Callable[[bytes], None]


class AudienceRows:
    """What is stored of the audiences of one kind and key group."""

    def __init__(self, kind: bytes, group: int, *, block_sets: int = BLOCK_SETS, beside_max: int = BESIDE_MAX) -> None:
        self._kind, self._group = kind, group
        self._block_sets, self._beside_max = block_sets, beside_max
        self._firsts: list[int] = []
        """Number of the first set of each block."""
        self._beside = bytearray()
        """Of each set in a block: whether it has a row of its own beside it."""
        self._known = 0
        """So many sets are stored."""
        self._wholes: dict[int, list[int]] = {}
        """Of sets in a row by their name, the sizes of its stored changes, in their order."""

    @property
    def has_blocks(self) -> bool:
        """Whether anything is in rows that releases without blocks do not read."""
        return bool(self._firsts)

    def load(self, audience: Audience, rows_of: Callable[[bytes], StoredAudienceRows]) -> None:
        """Fill an empty audience; `rows_of` gives the stored rows of a kind.

        :raises StateDamagedError: rows do not decode.
        """
        block_kind = BLOCKS_OF[self._kind]
        blocks = [codec.decode_sets(value) for _, value in rows_of(block_kind)]
        beside = {int.from_bytes(key[2:], "big"): unpack(value, "rows") for key, value in rows_of(block_kind.lower())}
        wholes = {_name(key[2:]): unpack(value, "rows") for key, value in rows_of(self._kind)}
        self._note_blocks([len(block.sizes) for block in blocks], beside)
        audience.fill(_with(_joined(blocks), beside) if blocks else _in_columns(wholes))
        self._wholes.clear()
        for name, rows in wholes.items():
            number = audience.restore(name, rows) if blocks or len(rows) > _LARGE_BYTES else audience.number(name)
            self._wholes[number] = []
            audience.mark_stored(number)
        self._load_changes(audience, rows_of(self._kind.lower()))
        self._known = len(audience)
        audience.changed.clear()

    def _note_blocks(self, sizes: list[int], beside: Iterable[int]) -> None:
        self._firsts = list(accumulate(sizes[:-1], initial=0)) if sizes else []
        self._beside = bytearray(sum(sizes))
        for number in beside:
            if number >= len(self._beside):
                raise StateDamagedError(f"sets: no block has number {number}; rebuild the state from the log")
            self._beside[number] = True

    def _load_changes(self, audience: Audience, changes: StoredAudienceRows) -> None:
        for key, value in changes:
            name, changed = _name(key[2:-4]), codec.decode_changes(value)
            for row, member in changed.items():
                (audience.add if member else audience.discard)(name, row)
            self._wholes.setdefault(audience.number(name), []).append(len(changed))
            audience.mark_stored(audience.number(name))

    def collect(self, audience: Audience, put: _Put, delete: _Delete) -> None:
        """Write the sets that changed; too many beside a block, or outside of all, become part of it or of new ones."""
        due = self._take_in(audience, delete)
        changed: dict[int, list[int]] = {}
        for number in sorted(audience.changed):
            if audience.is_large(number) or number >= len(self._beside):
                self._put_whole(audience, number, put, delete)
                self._forget_beside(number, delete)
            else:
                self._forget_whole(audience, number, delete)
                changed.setdefault(bisect_right(self._firsts, number) - 1, []).append(number)
        for block, numbers in changed.items():
            if block not in due and not self._put_beside(audience, block, numbers, put):
                due.add(block)
        for block in sorted(due):
            self._put_block(audience, block, put, delete)
        self._known = len(audience)
        audience.changed.clear()

    def _take_in(self, audience: Audience, delete: _Delete) -> set[int]:
        """Let sets outside of all blocks be in blocks if they are many; gives the blocks that become longer or new."""
        first, count = len(self._beside), len(audience)
        if count - first <= self._beside_max:
            return set()
        for number in range(first, self._known):
            if not audience.is_large(number):
                self._forget_whole(audience, number, delete)
        self._wholes = {**self._wholes}  # a dictionary keeps the room of what was removed
        if self._firsts and first - self._firsts[-1] < self._block_sets:
            first = self._firsts.pop()
        blocks = len(self._firsts)
        self._firsts += range(first, count, self._block_sets)
        self._beside.extend(bytes(count - len(self._beside)))
        return set(range(blocks, len(self._firsts)))

    def _put_whole(self, audience: Audience, number: int, put: _Put, delete: _Delete) -> None:
        """By itself, or what changed of it."""
        name, sizes = audience.name(number), self._wholes.setdefault(number, [])
        unstored = audience.unstored(number, FOLD_SHARE, sum(sizes))
        if unstored is not None:
            put(self._change_key(name, len(sizes)), codec.encode_changes(unstored))
            sizes.append(len(unstored))
        else:
            put(self._whole_key(name), pack(audience.stored(number)))
            self._forget_changes(audience, number, delete)
        audience.mark_stored(number)

    def _put_beside(self, audience: Audience, block: int, numbers: list[int], put: _Put) -> bool:
        """Beside their block; false: there would be too many."""
        new = sum(not self._beside[number] for number in numbers)
        if self._beside.count(1, *self._bounds(block)) + new > self._beside_max:
            return False
        for number in numbers:
            put(self._beside_key(number), pack(audience.stored(number)))
            self._beside[number] = True
        return True

    def _put_block(self, audience: Audience, block: int, put: _Put, delete: _Delete) -> None:
        part = slice(*self._bounds(block))
        key = codec.checkpoint_key(BLOCKS_OF[self._kind], self._group, u32(block))
        put(key, codec.encode_sets(audience.stretch(part)))
        for number in np.flatnonzero(np.frombuffer(self._beside[part], np.bool_)).tolist():
            self._forget_beside(part.start + number, delete)

    def _bounds(self, block: int) -> tuple[int, int]:
        """The first number of a block, and that behind its last."""
        following = self._firsts[block + 1 : block + 2]
        return self._firsts[block], following[0] if following else len(self._beside)

    def _forget_beside(self, number: int, delete: _Delete) -> None:
        if number < len(self._beside) and self._beside[number]:
            delete(self._beside_key(number))
            self._beside[number] = False

    def _forget_whole(self, audience: Audience, number: int, delete: _Delete) -> None:
        if number in self._wholes:
            self._forget_changes(audience, number, delete)
            delete(self._whole_key(audience.name(number)))
            del self._wholes[number]

    def _forget_changes(self, audience: Audience, number: int, delete: _Delete) -> None:
        for change in range(len(self._wholes[number])):
            delete(self._change_key(audience.name(number), change))
        self._wholes[number] = []

    def _whole_key(self, name: str) -> bytes:
        return codec.checkpoint_key(self._kind, self._group, encoded(name))

    def _change_key(self, name: str, number: int) -> bytes:
        return codec.checkpoint_key(self._kind.lower(), self._group, encoded(name) + u32(number))

    def _beside_key(self, number: int) -> bytes:
        return codec.checkpoint_key(BLOCKS_OF[self._kind].lower(), self._group, u32(number))


def _name(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")


def _joined(blocks: list[NamedSets]) -> NamedSets:
    """As one block."""
    names, rows, sizes = zip(*blocks, strict=True)
    contents, lengths, hashes = zip(*names, strict=True)
    joined = TextStretch(b"".join(contents), np.concatenate(lengths), np.concatenate(hashes))
    return NamedSets(joined, np.concatenate(rows), np.concatenate(sizes))


def _with(sets: NamedSets, others: Mapping[int, bytes]) -> NamedSets:
    """With other rows in some sets; of ascending numbers."""
    if not others:
        return sets
    changed = np.zeros(len(sets.sizes), np.bool_)
    changed[list(others)] = True
    kept, sizes = sets.rows[np.repeat(~changed, sets.sizes)], sets.sizes.copy()
    sizes[changed] = [len(rows) // _ROW_BYTES for rows in others.values()]
    rows, is_new = np.empty(sizes.sum(), np.int32), np.repeat(changed, sizes)
    rows[is_new], rows[~is_new] = np.frombuffer(b"".join(others.values()), "<i4"), kept
    return NamedSets(sets.names, rows, sizes)


def _in_columns(wholes: Mapping[str, bytes]) -> NamedSets:
    """Sets as releases without blocks kept them; large ones are empty here."""
    hashes = np.fromiter((xxhash.xxh3_64_intdigest(encoded(name)) for name in wholes), np.uint64, len(wholes))
    small = [b"" if len(rows) > _LARGE_BYTES else rows for rows in wholes.values()]
    sizes = np.fromiter(map(len, small), np.int32, len(small)) // _ROW_BYTES
    return NamedSets(stretch_of(list(wholes), hashes), np.frombuffer(b"".join(small), "<i4").astype(np.int32), sizes)
