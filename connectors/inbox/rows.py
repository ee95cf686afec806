"""Users' own rows in the table of an inbox store, as its owner looks them up and writes them.

A row has its place in the order of pages, where it lies, and one among the rows of its subject, which says where that
is (`connectors/inbox/keys.py`). So what happens to a subject costs the same however many other rows the user has.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from connectors.inbox import keys
from connectors.inbox.interface import RowPosition
from connectors.inbox.table import InboxTable, TableBatch
from state.inbox.codec import decode_head, decode_row, encode_head, encode_row
from state.inbox.values import InboxHead, StoredRow, Subject, UserChanges
from state.model.errors import StateDamagedError


def decoded_head(value: bytes | None) -> InboxHead:
    """A user's head; that of an unknown one is empty."""
    return InboxHead() if value is None else decode_head(value)


def heads_of(table: InboxTable, users: Sequence[str]) -> dict[str, InboxHead]:
    """The heads of users, whose rows have places from now on."""
    values = table.values([keys.head_key(user) for user in users])
    heads = {user: decoded_head(value) for user, value in zip(users, values, strict=True)}
    earlier = {user: head for user, head in heads.items() if head.oldest is None and head.rows}
    if earlier:
        _place_rows(table, earlier)
    return heads


def _place_rows(table: InboxTable, heads: Mapping[str, InboxHead]) -> None:
    """Rows of layouts before 4 get their places. Not synced: what is lost is done again."""
    batch, prefixes = TableBatch(), [keys.rows_prefix(user) for user in heads]
    for (user, head), prefix, found in zip(heads.items(), prefixes, table.rows_of_each(prefixes), strict=True):
        for _, value in found:  # the oldest comes last
            row = _stored(value)
            head.oldest = row.at
            batch.put(keys.place_key(prefix, row), keys.encode_place(row))
        batch.put(keys.head_key(user), encode_head(head))
    table.write(batch, synced=False)


def rows_in_order(table: InboxTable, user: str, *, oldest_first: bool) -> Iterator[StoredRow]:
    """A user's rows, newest first, or the other way round."""
    return (_stored(value) for _, value in table.rows(keys.rows_prefix(user), backwards=oldest_first))


def subject_rows(table: InboxTable, user: str, subject: Subject) -> list[StoredRow]:
    """A user's rows of a subject."""
    prefix = keys.rows_prefix(user)
    places = [keys.decode_place(value) for _, value in table.rows(keys.subject_prefix(prefix, *subject))]
    rows = _rows_at(table, [(prefix, place) for place in places])
    return [row for row in rows if (row.type, row.object) == subject]


def newest_windowed(table: InboxTable, user: str, subject: Subject) -> StoredRow | None:
    """The latest of a user's windowed rows of a subject, by number."""
    prefix = keys.rows_prefix(user)
    for _, value in table.rows(keys.subject_prefix(prefix, *subject, windowed=True)):
        (row,) = _rows_at(table, [(prefix, keys.decode_place(value))])
        if (row.type, row.object) == subject:
            return row
    return None


def newest_windowed_of_each(
    table: InboxTable, wanted: Collection[tuple[str, Subject]]
) -> dict[tuple[str, Subject], StoredRow | None]:
    """The same for some (user, subject); those are left out of which another subject has the hash."""
    rows = [keys.rows_prefix(user) for user, _ in wanted]
    prefixes = [
        keys.subject_prefix(prefix, *subject, windowed=True) for prefix, (_, subject) in zip(rows, wanted, strict=True)
    ]
    places = table.firsts([(prefix, prefix) for prefix in prefixes])
    there = [(prefix, keys.decode_place(place)) for prefix, place in zip(rows, places, strict=True) if place]
    found = iter(_rows_at(table, there))
    newest = {each: next(found) if place else None for each, place in zip(wanted, places, strict=True)}
    return {each: row for each, row in newest.items() if row is None or (row.type, row.object) == each[1]}


def write_user(batch: TableBatch, user: str, changes: UserChanges) -> None:
    """Put into a batch what makes his rows those of the changes."""
    prefix, rows = keys.rows_prefix(user), batch.rows
    rows[keys.head_key_beside(prefix)] = encode_head(changes.head)
    for row in changes.removed:
        if row.stored_at is not None:
            batch.delete(keys.inbox_row_key(prefix, RowPosition(row.stored_at, row.number)))
            batch.delete(keys.place_key(prefix, row))
    for row in changes.written:
        if row.stored_at not in (None, row.at):
            batch.delete(keys.inbox_row_key(prefix, RowPosition(row.stored_at or 0, row.number)))
        if row.stored_at != row.at:
            rows[keys.place_key(prefix, row)] = keys.encode_place(row)
        rows[keys.inbox_row_key(prefix, (row.at, row.number))] = encode_row(row)


def _rows_at(table: InboxTable, places: Sequence[tuple[bytes, RowPosition]]) -> list[StoredRow]:
    values = table.values([keys.inbox_row_key(*place) for place in places]) if places else []
    return [_stored(value, table.name) for value in values]


def _stored(value: bytes | None, name: str = "") -> StoredRow:
    if value is None:
        raise StateDamagedError(f"{name}: a row is missing; restore the store")
    row = decode_row(value)
    row.stored_at = row.at
    return row
