r"""Members of slices, sorted by name and searchable without decoding more than a small part of them.

Names are user ids in UTF-8, sorted by bytes, with a zero byte before, between and behind them: `\0ann\0bob\0`. So
whether somebody is a member is one search for his name between zero bytes. No id has a zero byte in it: a record with
such ids is never made a slice (`state/model/inbox_slice.py`).

A block holds the members of the slices `first` to `last`, in chunks. A block of tier 0 is one slice. Some blocks of a
tier are folded into one of the next (`connectors/inbox/slices.py`), so few chunks say which slices a user is in.
Integers are little-endian.

| value | bytes |
|---|---|
| slices of a group | version byte, MessagePack: the fields of `SliceRange`, then `[[tier, first, last, entries], ..]` |
| event of a slice | version byte, MessagePack: the fields of `SliceEvent` in order |
| chunk, tier 0 | names |
| chunk, other tiers | u32 bytes of names; names; u16 slices of each name; u16 their numbers less `first` |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from state.disk.packing import pack, unpack
from state.inbox.values import SliceEvent, SliceRange
from state.model.errors import StateDamagedError

_DAMAGED = "restore the store or rebuild it from the log"


@dataclass(frozen=True, slots=True)
class BlockBounds:
    """What a look-up costs, and what keeping it so costs."""

    fold: int = 16
    """Blocks of a tier that become one. More: more seeks for a look-up. Fewer: each name is written more often."""
    entries_max: int = 1_000_000
    """Members of the slices of a folded block: all of it is in memory while it is folded, some 100 bytes each."""
    chunk_names: int = 256
    """Names in a chunk, at most: what is read and searched for one user."""


class SliceBlock(NamedTuple):
    """Members of the slices `first` to `last`, stored together."""

    tier: int
    first: int
    last: int
    entries: int
    """Members of all of them together."""


class GroupSlices(NamedTuple):
    """The slices of a key group."""

    range: SliceRange = SliceRange()
    blocks: tuple[SliceBlock, ...] = ()
    """In the order of their slices."""


def name_of(user: str) -> bytes:
    """A user's id as bytes."""
    return user.encode("utf-8", "surrogatepass")


def user_of_name(name: bytes) -> str:
    """The id of a name."""
    return name.decode("utf-8", "surrogatepass")


def encode_group_slices(slices: GroupSlices) -> bytes:
    """What is known of a group's slices."""
    return pack([*slices.range, slices.blocks])


def decode_group_slices(value: bytes) -> GroupSlices:
    """:raises StateDamagedError: the bytes are none. :raises StateVersionError: they are of a newer program."""
    try:
        *fields, blocks = unpack(value, "inbox slices")
        return GroupSlices(SliceRange(*fields), tuple(SliceBlock(*block) for block in blocks))
    except (TypeError, ValueError) as error:
        raise StateDamagedError(f"inbox slices: {error}; {_DAMAGED}") from error


def encode_slice_event(event: SliceEvent) -> bytes:
    """The event of a slice."""
    return pack(event)


def decode_slice_event(value: bytes) -> SliceEvent:
    """Raises as `decode_group_slices`."""
    try:
        return msgspec.convert(unpack(value, "inbox slice"), SliceEvent)
    except msgspec.ValidationError as error:
        raise StateDamagedError(f"inbox slice: {error}; {_DAMAGED}") from error


def split_names(names: bytes, size: int) -> list[tuple[bytes, bytes]]:
    """(last name, names) of the chunks of a slice."""
    members = names[1:-1].split(b"\0")
    parts = (members[first : first + size] for first in range(0, len(members), size))
    return [(part[-1], b"\0" + b"\0".join(part) + b"\0") for part in parts]


def chunk_names(block: SliceBlock, chunk: bytes) -> bytes:
    """The names in a chunk."""
    return chunk if block.tier == 0 else chunk[4 : 4 + _names_bytes(chunk)]


def chunk_slices(block: SliceBlock, chunk: bytes, name: bytes) -> Sequence[int]:
    """The numbers of the slices that a name is a member of, by the chunk that may have it; ascending."""
    names = chunk_names(block, chunk)
    found = names.find(b"\0" + name + b"\0")
    if found < 0:
        return ()
    if block.tier == 0:
        return (block.first,)
    index, count = names.count(b"\0", 0, found), names.count(b"\0") - 1
    numbers = memoryview(chunk[4 + len(names) :]).cast("H")
    begin = count + sum(numbers[:index])
    return [block.first + number for number in numbers[begin : begin + numbers[index]]]


def _names_bytes(chunk: bytes) -> int:
    return int.from_bytes(chunk[:4], "little")
