"""What an inbox holds (RULES 3.G), as plain values: items, rows and the head of a user's inbox.

The rules that change them are in `operators/inbox.py`, the bytes in `state/inbox/codec.py`, the stores in
`connectors/inbox/`. Times are integer milliseconds UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import xxhash

ITEMS_EXACT_MAX = 1_000
"""Items of a row, latest joined, for which `actors`, `at` and retractions are exact (RULES 3.G)."""
IDENTITIES_MAX = 9_000
"""Older items of a row whose identity is remembered, so that only what was in the row lowers its count."""
PAYLOADS_MAX = 3
"""Latest items of a row whose payload is kept: the row shows the newest that is left."""


def identity_hash(text: str | None) -> int:
    """What is remembered of an actor or an event_id of long ago: xxh3_64 of it in UTF-8; 0 for none."""
    return 0 if text is None else xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


Subject = tuple[str, str | None]
"""Type and object: what items of windowed types are collected by."""


class RowItem(msgspec.Struct, array_like=True, gc=False):
    """One item of a row: an event that joined it."""

    place: int
    """Its place in the decision log."""
    event_id: str
    actor: str | None
    at: int
    payload: bytes | None = None
    """The event's payload as JSON; dropped once `PAYLOADS_MAX` newer items joined."""


class OlderItem(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of an item behind the last `ITEMS_EXACT_MAX`: enough to recognise it, nothing to show."""

    place: int
    actor_hash: int
    """`identity_hash` of the actor."""
    event_hash: int
    """The same of the event_id."""


class StoredRow(msgspec.Struct):
    """One row. `count` is at least `len(items) + len(older)`; of items beyond these only the number is known."""

    number: int
    """Serial number among the user's rows, from 0: with `at`, a row's place in the page."""
    type: str
    object: str | None
    windowed: bool
    first_event_id: str
    count: int = 0
    at: int = 0
    """Time of the latest item."""
    read: bool = False
    archived: bool = False
    """It is read then, and shown only where it is asked for."""
    reopened: bool = False
    """It was read, and marked unread: no further item joins it."""
    items: list[RowItem] = []
    """In the order in which they joined."""
    language: str | None = None
    """The user's language tag when the latest item joined; None: the first of the templates' languages."""
    older: list[OlderItem] = []
    stored_at: int | None = None
    """The `at` under which a store holds the row; None: it does not yet."""

    @property
    def payload(self) -> bytes | None:
        """The payload of the newest item that still has one."""
        return next((item.payload for item in reversed(self.items) if item.payload is not None), None)

    def actors(self) -> tuple[str, ...]:
        """The three latest distinct actors, not null, newest first."""
        found: dict[str, None] = {}
        for item in reversed(self.items):
            if item.actor is not None and item.actor not in found:
                found[item.actor] = None
                if len(found) == 3:
                    break
        return tuple(found)

    def actor_count(self) -> int:
        """Distinct actors, as far as they are remembered."""
        actors = {item.actor for item in self.items if item.actor is not None}
        if not self.older:
            return len(actors)
        hashes = {identity_hash(actor) for actor in actors} | {item.actor_hash for item in self.older}
        return len(hashes - {0})


@dataclass(slots=True)
class InboxHead:
    """What is known of a user's inbox as a whole."""

    next_number: int = 0
    unread: int = 0
    """Unread rows."""
    rows: int = 0
    read_up_to: int | None = None
    """The greatest `up_to` of a read that was applied."""
    merged: int = 0
    """Number of the latest slice of the key group that is in the rows; what later ones bring, readers add."""
    logged: int = -1
    """Offset in `reads` of the user's latest record that was applied."""
    oldest: int | None = None
    """No row's `at` is below it; None: there are no rows."""


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A row as others see it."""

    type: str
    object: str | None
    first_event_id: str
    count: int
    actors: tuple[str, ...]
    at: int
    read: bool
    payload: bytes | None = None
    actor_count: int = 0
    """Distinct actors, as far as they are remembered."""
    language: str | None = None
    """The tag by which its texts are found."""
    archived: bool = False


class UserChanges(NamedTuple):
    """What a store must do to hold a user's inbox as it is now."""

    head: InboxHead
    written: Sequence[StoredRow]
    removed: Sequence[StoredRow]


Mark = tuple[int, int]
"""(offset, ordinal) of header `seq`: what was applied last of one source in one key group."""


class InboxTotals(NamedTuple):
    """Running totals of one key group, in items."""

    items: int = 0
    """In rows now."""
    added: int = 0
    taken_back: int = 0
    retired: int = 0


class SetAside(NamedTuple):
    """A record of topic `inbox` that could not be applied: it may be given back, once."""

    group: int
    """Its key group; -1: it does not say."""
    items: int
    """Items that it would have added."""


class SliceEvent(msgspec.Struct, frozen=True, array_like=True):
    """A slice without its members: an event that starts a row for each of many users of one key group.

    It is stored once, and gets into a user's own rows when something else happens to these.
    """

    number: int
    """Serial number among the slices of the key group, from 1; `at` never falls as it rises."""
    type: str
    object: str | None
    event_id: str
    actor: str | None
    at: int
    place: int
    payload: bytes | None
    now_ms: int
    """The clock of retirement when it came."""
    members: int
    """Users that it is for."""
    language: str | None = None
    """Of these."""
    ordinal: int = 0
    """Of its event among those of the group, from 1: an event has a slice for each language. 0: an earlier release
    stored it, and `number` counts.
    """

    def row(self, number: int) -> StoredRow:
        """The row that it starts for a member."""
        item = RowItem(self.place, self.event_id, self.actor, self.at, self.payload)
        return StoredRow(
            number, self.type, self.object, windowed=False, first_event_id=self.event_id, count=1, at=self.at,
            items=[item], language=self.language,
        )  # fmt: skip


class SliceRange(NamedTuple):
    """Which slices of a key group are kept."""

    kept_from: int = 1
    """Number of the oldest."""
    newest: int = 0
    newest_at: int = 0
    now_ms: int = 0
    """The clock of retirement when the newest came."""


class NewSlice(NamedTuple):
    """A slice as it comes."""

    group: int
    event: SliceEvent
    names: bytes
    """Its members (`state/inbox/slices.py`)."""


class SliceChanges(NamedTuple):
    """What changed in the slices of a shard."""

    new: Sequence[NewSlice] = ()
    """In the order of their numbers."""
    taken: Mapping[tuple[int, int], int] = {}
    """(group, number) to the number of members who now have it in their own rows."""
    retired: Mapping[int, int] = {}
    """Group to the latest slice that is dropped, with all before it."""


@dataclass(frozen=True, slots=True)
class ShardCommit:
    """Everything that becomes true at once."""

    users: Mapping[str, UserChanges]
    marks: Mapping[tuple[str, int], Mark]
    """(source, group) to the last operation applied."""
    totals: Mapping[int, InboxTotals]
    offset: int
    """Offset in the partition of topic `inbox` that is read next."""
    set_aside: Mapping[int, SetAside | None] = field(default_factory=dict)
    """Offsets of records that are set aside from now on, or, with None, no more."""
    slices: SliceChanges = field(default_factory=SliceChanges)


def row_view(row: StoredRow) -> InboxRow:
    """The row as others see it."""
    return InboxRow(
        row.type, row.object, row.first_event_id, row.count, row.actors(), row.at, row.read, row.payload,
        row.actor_count(), row.language, row.archived,
    )  # fmt: skip
