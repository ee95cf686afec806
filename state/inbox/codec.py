"""Bytes of inboxes. Every value starts with one version byte (1), then MessagePack.

| value | after the version byte |
|---|---|
| row | u32 little-endian: count (what an audit reads without decoding the rest), then the fields |
| fields of a row | `[number, type, object, flags, first_event_id, count, at, items, older]`, then a language if any |
| `flags` | bit 0: windowed, bit 1: read, bit 2: archived, bit 3: was read, and marked unread |
| `items` | array of `[place, event_id, actor, at, payload]`, in the order of joining; payload is bin or nil |
| `older` | bin: 24 bytes an item, little-endian: i64 place, u64 actor hash, u64 event hash; in the order of joining |
| head | `[next_number, unread, rows, read_up_to]`, then `merged`, `logged` and `oldest` up to the last that is set |
"""

import struct
from collections.abc import Iterable
from typing import Any

from state.disk.packing import VERSION, pack, unpack
from state.inbox.values import InboxHead, OlderItem, RowItem, StoredRow
from state.model.errors import StateDamagedError

_OLDER = struct.Struct("<qQQ")


def _older_bytes(older: Iterable[OlderItem]) -> bytes:
    return b"".join(_OLDER.pack(item.place, item.actor_hash, item.event_hash) for item in older)


def _row_fields(row: StoredRow) -> list[Any]:
    flags = int(row.windowed) | int(row.read) << 1 | int(row.archived) << 2 | int(row.reopened) << 3
    older = _older_bytes(row.older) if row.older else b""
    fields = [row.number, row.type, row.object, flags, row.first_event_id, row.count, row.at, row.items, older]
    return fields if row.language is None else [*fields, row.language]


def _row_of(fields: list[Any]) -> StoredRow:
    number, type_name, object_id, flags, first_event_id, count, at, items, older, *language = fields
    return StoredRow(
        number=number, type=type_name, object=object_id, windowed=bool(flags & 1), read=bool(flags & 2),
        archived=bool(flags & 4), reopened=bool(flags & 8),
        first_event_id=first_event_id, count=count, at=at, items=[RowItem(*item) for item in items],
        older=[OlderItem(*each) for each in _OLDER.iter_unpack(older)], language=language[0] if language else None,
    )  # fmt: skip


def _shaped(what: str, build: Any, fields: Any) -> Any:
    try:
        return build(fields)
    except (TypeError, ValueError, struct.error) as error:
        raise StateDamagedError(f"{what}: {error}; restore the store or rebuild it from the log") from error


def encode_row(row: StoredRow) -> bytes:
    """One row with all its items."""
    return pack(_row_fields(row), VERSION + row.count.to_bytes(4, "little"))


def row_count(value: bytes) -> int:
    """The items of an encoded row, without decoding it."""
    return int.from_bytes(value[1:5], "little")


def decode_row(value: bytes) -> StoredRow:
    """:raises StateDamagedError: the bytes are no row. :raises StateVersionError: they are of a newer program."""
    row: StoredRow = _shaped("inbox row", _row_of, unpack(value, "inbox row", start=5))
    return row


def encode_head(head: InboxHead) -> bytes:
    """The head of a user's inbox."""
    fields = [head.next_number, head.unread, head.rows, head.read_up_to, head.merged, head.logged, head.oldest]
    if head.oldest is None:
        del fields[6 if head.logged >= 0 else 5 if head.merged else 4 :]
    return pack(fields)


def decode_head(value: bytes) -> InboxHead:
    """:raises StateDamagedError: the bytes are no head. :raises StateVersionError: they are of a newer program."""
    head: InboxHead = _shaped("inbox head", lambda fields: InboxHead(*fields), unpack(value, "inbox head"))
    return head
