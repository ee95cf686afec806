"""Keys of an inbox store. Integers are big-endian, so that byte order is the order meant.

| key | value |
|---|---|
| `v` | u8 version of this layout (4; in 3 rows had no key `s`, in 2 there were no languages, in 1 no slices either) |
| `o` | u64: offset of topic `inbox` that is read next |
| `m`, u8 group, source in ASCII | u64 offset, u64 ordinal of the last operation applied |
| `t`, u8 group | i64 items in rows, added, taken back, retired |
| `x`, u64 offset of topic `inbox` | i16 group (-1: unknown), u32 items: a record set aside, what it would have added |
| `g`, u8 group | slices of the group and their blocks (`state/inbox/slices.py`, as the three below) |
| `e`, u8 group, u64 number of a slice | its event |
| `k`, u8 group, u64 number of a slice | u32: members who have it in their own rows |
| `c`, u8 group, u8 tier, u64 last slice of a block, last name of the chunk | a chunk of the block's members |
| `h`, u8 group, user in UTF-8 | head (`state/inbox/codec.py`) |
| `r`, u8 group, u16 length of user, user in UTF-8, u64 of 2^63 - at, u64 of 2^63 - number | row |
| `s`, as `r` up to the user, u64 hash of type and object, u8 (0: windowed), u64 of 2^63 - number | i64 at, i64 number |

The complements make a user's rows be read newest first. A row has a key `s`, too: those of a subject are
found without the others. A head without `oldest` whose user has rows is of a layout before 4: his rows get their keys
`s` when he is next looked up.
"""

import struct

from connectors.inbox.interface import RowPosition
from state.inbox.slices import SliceBlock, name_of, user_of_name
from state.inbox.values import InboxTotals, Mark, SetAside, StoredRow, identity_hash
from state.model.keys import key_group

LAYOUT_VERSION = 4
EARLIER_LAYOUTS = (1, 2, 3)
"""Those before it, of which all that they have is as now."""
VERSION_KEY = b"v"
OFFSET_KEY = b"o"
_TOP = 1 << 63
_MARK = struct.Struct(">QQ")
_TOTALS = struct.Struct(">qqqq")
_POSITION = struct.Struct(">QQ")
_PLACE = struct.Struct(">qq")
_SET_ASIDE = struct.Struct(">hI")


def mark_key(source: str, group: int) -> bytes:
    """Key of the mark of a source in a group."""
    return b"m" + bytes([group]) + source.encode("ascii")


def parse_mark_key(key: bytes) -> tuple[str, int]:
    """(source, group) of a mark's key."""
    return key[2:].decode("ascii"), key[1]


def totals_key(group: int) -> bytes:
    """Key of a group's totals."""
    return b"t" + bytes([group])


def head_prefix(group: int) -> bytes:
    """What the heads of a group's users begin with."""
    return b"h" + bytes([group])


def head_key(user: str) -> bytes:
    """Key of a user's head."""
    return head_prefix(key_group(user)) + name_of(user)


def head_key_beside(rows: bytes) -> bytes:
    """The same, by `rows_prefix` of the user."""
    return b"h" + rows[1:2] + rows[4:]


def user_of_head(key: bytes) -> str:
    """The user of a head's key."""
    return user_of_name(key[2:])


def group_rows_prefix(group: int) -> bytes:
    """What the rows of a group begin with."""
    return b"r" + bytes([group])


def rows_prefix(user: str) -> bytes:
    """What the rows of a user begin with."""
    name = name_of(user)
    return b"r%c%b%b" % (key_group(user), len(name).to_bytes(2, "big"), name)


def subject_prefix(rows: bytes, type_name: str, object_id: str | None, *, windowed: bool | None = None) -> bytes:
    """What the places of a subject's rows begin with, or of those of one kind, by `rows_prefix` of their user."""
    hashed = identity_hash(f"{type_name}\0{object_id or ''}").to_bytes(8, "big")
    kind = b"" if windowed is None else b"\0" if windowed else b"\1"
    return b"s" + rows[1:] + hashed + kind


def place_key(rows: bytes, row: StoredRow) -> bytes:
    """Key of a row's place among those of its subject, by `rows_prefix` of its user."""
    prefix = subject_prefix(rows, row.type, row.object, windowed=row.windowed)
    return prefix + (_TOP - row.number).to_bytes(8, "big")


def encode_place(row: StoredRow) -> bytes:
    """A row's position."""
    return _PLACE.pack(row.at, row.number)


def decode_place(value: bytes) -> RowPosition:
    """The position of a value."""
    return RowPosition(*_PLACE.unpack(value))


def inbox_row_key(prefix: bytes, position: tuple[int, int]) -> bytes:
    """Key of a row, behind `rows_prefix` of its user."""
    at, number = position
    return prefix + _POSITION.pack(_TOP - at, _TOP - number)


def position_of_row(key: bytes) -> RowPosition:
    """Position of a row's key."""
    at, number = _POSITION.unpack(key[-_POSITION.size :])
    return RowPosition(_TOP - at, _TOP - number)


def slices_key(group: int) -> bytes:
    """Key of what is known of a group's slices."""
    return b"g" + bytes([group])


def slice_event_prefix(group: int) -> bytes:
    """What the events of a group's slices begin with."""
    return b"e" + bytes([group])


def slice_event_key(group: int, number: int) -> bytes:
    """Key of the event of a slice."""
    return slice_event_prefix(group) + number.to_bytes(8, "big")


def taken_prefix(group: int) -> bytes:
    """What the keys of `taken_key` begin with."""
    return b"k" + bytes([group])


def taken_key(group: int, number: int) -> bytes:
    """Key of the number of members who took a slice into their rows."""
    return taken_prefix(group) + number.to_bytes(8, "big")


def block_prefix(group: int, block: SliceBlock) -> bytes:
    """What the chunks of a block begin with."""
    return b"c" + bytes([group, block.tier]) + block.last.to_bytes(8, "big")


def encode_mark(mark: Mark) -> bytes:
    """A mark's value."""
    return _MARK.pack(*mark)


def decode_mark(value: bytes) -> Mark:
    """The mark of a value."""
    offset, ordinal = _MARK.unpack(value)
    return offset, ordinal


def set_aside_key(offset: int) -> bytes:
    """Key of a record that is set aside."""
    return b"x" + offset.to_bytes(8, "big")


def encode_set_aside(record: SetAside) -> bytes:
    """What is known of it."""
    return _SET_ASIDE.pack(*record)


def decode_set_aside(value: bytes) -> SetAside:
    """What is known of it."""
    return SetAside(*_SET_ASIDE.unpack(value))


def encode_totals(totals: InboxTotals) -> bytes:
    """A group's totals."""
    return _TOTALS.pack(totals.items, totals.added, totals.taken_back, totals.retired)


def decode_totals(value: bytes) -> InboxTotals:
    """The totals of a value."""
    return InboxTotals(*_TOTALS.unpack(value))
