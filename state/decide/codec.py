"""Bytes of decide's checkpoint, one row kind per section. Every value begins with one version byte (1; U: 5; M: 2
where the group has rows of kind H, 3 where it has rows of kind C, 4 where it has rows of kind A or B, so that a program
that would not read them refuses the group), then MessagePack.

Key: kind byte (a letter), group byte, then what follows. Integers in keys are big-endian, so rows of a kind and group
are neighbours.

- M: the group's meta. No rest. [next_offset, now, next_timer, registry_version, totals (resolved, emitted, inbox
  items), counted (terms of the last counts record), control_version, active switches [[scope, value]], registry tables
  or null, and where the log says so: what providers reach; where there are channels of other packages, their names
  besides, in the order of their bits in U; where the log says so, from how many recipients on columns decide].
- U: users. Rest: chunk u32, rows chunk*256 and following. [ids utf-8 one behind the other, their lengths, distinct
  documents, document number per row, known flags (one byte each), preference versions i64, endpoint versions i64,
  addresses one behind the other, how many bytes of these are of each row (0: it has none), per row [locale, name] or
  null (an empty array: no row has one), hashes u64, tags u64, usable channels (one byte each), active push devices i64,
  whether what is sent to is exactly what is registered (one byte each)]. A row's addresses are their length u32, then
  MessagePack of [[channel, id, platform, address (one in hex as its bytes), active, registered_at, place]]. Lengths,
  document numbers and sizes are columns as in H. Version 4 has ids as texts, document numbers in an array, and
  addresses per row as bytes or null, each without its length; version 3 has all addresses as text besides, and version
  2 lacks the last column, which follows from the rest.
- D: a user who changed since the chunk was written, in place of his row there. Rest: row u32. As U, for that one row.
- G: an open or held group. Rest: row u32, digest of its key 16 bytes. [kind, type, object, place (of the key), row,
  place, state, due, timer, own_wait, items [[event place, joined_at, waited_ms, inbox, cap_hour, cap_day,
  follower_age_ms, waits_from]]].
- H: a batch: recipients of one event who are held together. Rest: its number u64. [event place, due, own_wait,
  joined_at, waited_ms, waits_from, follower_age_ms, and of each member: rows (differences), inbox (bits, lowest first),
  cap_hour, cap_day]. Columns of numbers take as many bytes each as their largest needs: 1, 2 or 4.
- h: members who left a batch since it was written. Rest: its number u64, number u32. Rows i32.
- V: the event of pending items. Rest: place u64. JSON as in topic `events`.
- E: counted emissions. Rest: bucket u64, entries number bucket*1024 and following. [first number, times i64, rows
  i32, entries of each time i32]; without the last there is a time for each.
- C: the same of campaigns with a dedicated slot.
- A, B: blocks of neighbouring small sets, of followers and of segments. Rest: block u32, in whose order the sets are
  numbered. [names utf-8 one behind the other, their lengths, their hashes u64, rows one behind the other, how many each
  set has]. Columns of numbers as in H.
- a, b: a set that changed since its block was written, in place of what it has there. Rest: number of the set u32. Rows
  i32, ascending.
- F, S: the same for a large set, or one in no block yet. Rest: name utf-8. Rows i32, ascending.
- f, s: what changed of a large F or S since that was written. Rest: name utf-8, number u32, in whose order they apply.
  [rows i32, members (one byte each)].
- X: a record of `work` that the group skipped as poison. Rest: offset u64. Its dead letter as in topic `dead_letters`.
- Y: an open or held group that was given up, since handling it raised an error when its time came. Rest: offset u64 of
  the record of `work` that moved the time, number u32 among its groups. [user, kind, type, object, place (of the key),
  error]. Of a batch, whose members are then handled alone: no user, kind `batch`, its number in place of the place.

Arrays of numbers are little-endian bytes.

A later version decodes every earlier one (golden files in tests/golden).
"""

import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from state.decide.audience import NamedSets
from state.decide.held import HeldBatch, HeldMembers, Numbers, Wait
from state.decide.packed_texts import TextStretch, encoded, stretch_of
from state.decide.packed_values import ValueStretch, stretch_of_values
from state.decide.pending import GivenUp, Item, PendingGroup, PendingKey
from state.decide.users import UserTable
from state.disk.packing import VERSION, pack, unpack
from state.model.errors import StateDamagedError
from state.model.event import Event

USERS_VERSION = b"\x05"
_USERS_EARLIER = b"\x02", b"\x03", b"\x04"
META_BATCHES_VERSION = b"\x02"
META_SLOTS_VERSION = b"\x03"
META_BLOCKS_VERSION = b"\x04"
KINDS = range(ord("A"), ord("z") + 1)
"""Where kind bytes are."""
CHUNK_ROWS = 256
BUCKET_ENTRIES = 1024


def checkpoint_key(kind: bytes, group: int, rest: bytes = b"") -> bytes:
    """Key of a row."""
    return kind + bytes((group,)) + rest


def encode_meta(meta: list[Any], *, batches: bool, slots: bool, blocks: bool) -> bytes:
    """The group's meta; `batches`, `slots`, `blocks`: whether it has any rows of these kinds."""
    needs = ((blocks, META_BLOCKS_VERSION), (slots, META_SLOTS_VERSION), (batches, META_BATCHES_VERSION))
    return pack(meta, next((version for has, version in needs if has), VERSION))


def decode_meta(value: bytes) -> list[Any]:
    """:raises StateVersionError: written by a later version."""
    known = value[:1] in (META_BATCHES_VERSION, META_SLOTS_VERSION, META_BLOCKS_VERSION)
    version = value[:1] if known else VERSION
    meta: list[Any] = unpack(value, "meta", version)
    return meta


def encode_chunk(users: UserTable, chunk: int) -> bytes:
    """The rows of one chunk."""
    return encode_users(users, range(chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, len(users))))


def encode_users(users: UserTable, rows: range) -> bytes:
    """Neighbouring rows."""
    part = slice(rows.start, rows.stop)
    documents: dict[bytes, int] = {}
    numbers = [documents.setdefault(_document(users, row), len(documents)) for row in rows]
    ids, addresses = [encoded(users.ids[row]) for row in rows], [users.endpoints.stored(row) for row in rows]
    profiles = [users.profiles.get(row) for row in rows] if users.profiles else []
    columns = [
        b"".join(ids),
        _encode_few([*map(len, ids)]),
        list(documents),
        _encode_few(numbers),
        users.known[part].tobytes(),
        users.preference_version[part].astype("<i8").tobytes(),
        users.endpoint_version[part].astype("<i8").tobytes(),
        b"".join(addresses),
        _encode_few([*map(len, addresses)]),
        profiles if any(profiles) else [],
        users.hash[part].astype("<u8").tobytes(),
        users.tag[part].astype("<u8").tobytes(),
        users.usable[part].tobytes(),
        users.push_devices[part].astype("<i8").tobytes(),
        users.as_stored(part).tobytes(),
    ]
    return pack(columns, USERS_VERSION)


def _document(users: UserTable, row: int) -> bytes:
    """The stored document with its mutes, canonical."""
    content = users.preferences.documents[int(users.preference[row])]
    mutes = users.mutes.get(row)
    if mutes is None:
        return content
    document = orjson.loads(content)
    document["muted"] = {"actors": sorted(mutes.actors), "objects": sorted(mutes.objects)}
    return orjson.dumps(document)


def decode_users(users: UserTable, first: int, value: bytes) -> None:
    """Put rows from `first` on into the table: behind those that it has, or one in place of what it has there.

    :raises StateDamagedError: rows before them are missing.
    """
    if first > len(users):
        raise StateDamagedError(f"users: row {len(users)} is missing; rebuild the state from the log")
    ids, documents, numbers, addresses, profiles, columns = (
        _users_of_earlier(value) if value[:1] in _USERS_EARLIER else _users_of(value)
    )
    known, preference_versions, endpoint_versions, tags, usable, push_devices, as_stored = columns
    part = slice(first, first + len(ids.lengths))
    if first == len(users):
        users.extend(ids, np.frombuffer(tags, "<u8"))
        users.endpoints.extend(first, addresses)
    else:
        users.endpoints.replace(first, addresses)
    users.assign_documents(first, documents, numbers)
    users.usable[part] = np.frombuffer(usable, np.uint8)
    users.push_devices[part] = np.frombuffer(push_devices, "<i8")
    users.set_as_stored(part, np.frombuffer(as_stored, np.bool_))
    if profiles.count(None) < len(profiles):
        users.profiles.update((row, tuple(profile)) for row, profile in enumerate(profiles, first) if profile)
    users.known[part] = np.frombuffer(known, np.bool_)
    users.preference_version[part] = np.frombuffer(preference_versions, "<i8")
    users.endpoint_version[part] = np.frombuffer(endpoint_versions, "<i8")


class _StoredUsers(NamedTuple):
    ids: TextStretch
    documents: list[bytes]
    numbers: Numbers
    addresses: ValueStretch
    profiles: list[Any]
    columns: tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]
    """Known, preference versions, endpoint versions, tags, usable, push devices, whether as stored."""


def _users_of(value: bytes) -> _StoredUsers:
    (
        ids, lengths, documents, numbers, known, preference_versions, endpoint_versions, addresses, sizes, profiles,
        hashes, *others,
    ) = unpack(value, "users", USERS_VERSION)  # fmt: skip
    count = len(known)
    return _StoredUsers(
        TextStretch(ids, _decode_numbers(lengths, count), np.frombuffer(hashes, "<u8")), documents,
        _decode_numbers(numbers, count), ValueStretch(addresses, _decode_numbers(sizes, count)), profiles,
        (known, preference_versions, endpoint_versions, *others),
    )  # fmt: skip


def _users_of_earlier(value: bytes) -> _StoredUsers:
    (
        ids, documents, numbers, known, preference_versions, endpoint_versions, endpoints, profiles, hashes, tags,
        usable, push_devices, *as_stored,
    ) = unpack(value, "users", value[:1])  # fmt: skip
    (reached,) = as_stored or (bytes(len(ids)),)
    return _StoredUsers(
        stretch_of(ids, np.frombuffer(hashes, "<u8")), documents, np.array(numbers, np.int32),
        stretch_of_values(endpoints), profiles,
        (known, preference_versions, endpoint_versions, tags, usable, push_devices, reached),
    )  # fmt: skip


def group_digest(key: PendingKey) -> bytes:
    """16 bytes that name a group among those of its row."""
    return xxhash.xxh3_128_digest(msgspec.msgpack.encode(key))


def encode_group(group: PendingGroup) -> bytes:
    """An open or held group; its items name their events by place."""
    items = [
        [i.place, i.joined_at, i.waited_ms, i.inbox, i.cap_hour, i.cap_day, i.follower_age_ms, since]
        for i, since in zip(group.items, group.waits_from, strict=True)
    ]
    return pack([*group.key, group.row, group.place, group.state, group.due, group.timer, group.own_wait, items])


def _event_of(events: Mapping[int, Event], place: int) -> Event:
    if place not in events:
        raise StateDamagedError(f"group: no event is stored for place {place}; rebuild the state from the log")
    return events[place]


def decode_group(value: bytes, events: Mapping[int, Event]) -> PendingGroup:
    """:raises StateDamagedError: an item's event is missing."""
    kind, type_name, object_id, key_place, row, place, state, due, timer, own_wait, items = unpack(value, "group")
    group = PendingGroup(row, PendingKey(kind, type_name, object_id, key_place), place)
    group.state, group.due, group.timer, group.own_wait = state, due, timer, own_wait
    for event_place, joined_at, waited_ms, inbox, cap_hour, cap_day, age, since in items:
        item = Item(_event_of(events, event_place), event_place, joined_at, inbox=inbox, follower_age_ms=age)
        item.waited_ms, item.cap_hour, item.cap_day = waited_ms, cap_hour, cap_day
        group.items.append(item)
        group.waits_from.append(since)
    return group


def encode_batch(batch: HeldBatch) -> bytes:
    """A batch with those who are in it."""
    rows, inbox, hour, day = batch.members()
    steps = rows.copy()
    steps[1:] -= rows[:-1]
    columns = [
        _encode_numbers(steps),
        np.packbits(inbox, bitorder="little").tobytes(),
        _encode_numbers(hour),
        _encode_numbers(day),
    ]
    return pack([*batch.wait[1:], len(rows), *columns])


def decode_batch(value: bytes, number: int, events: Mapping[int, Event]) -> HeldBatch:
    """:raises StateDamagedError: its event is missing."""
    place, due, own_wait, joined_at, waited_ms, since, age, count, rows, inbox, hour, day = unpack(value, "batch")
    wait = Wait(_event_of(events, place), place, due, own_wait, joined_at, waited_ms, since, age)
    bits = np.unpackbits(np.frombuffer(inbox, np.uint8), count=count, bitorder="little")
    ascending = np.cumsum(_decode_numbers(rows, count), dtype=np.int32)
    members = HeldMembers(ascending, bits.astype(np.bool_), _decode_numbers(hour, count), _decode_numbers(day, count))
    return HeldBatch(wait, members, number)


def _encode_numbers(numbers: Numbers) -> bytes:
    """Not negative."""
    most = int(numbers.max(initial=0))
    return numbers.astype("<u1" if most < 1 << 8 else "<u2" if most < 1 << 16 else "<u4").tobytes()


def _encode_few(numbers: list[int]) -> bytes:
    """The same of a few, for which columns take longer."""
    most = max(numbers)
    column = array("B" if most < 1 << 8 else "H" if most < 1 << 16 else "I", numbers)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _decode_numbers(value: bytes, count: int) -> Numbers:
    return np.frombuffer(value, f"<u{len(value) // count}").astype(np.int32) if count else np.empty(0, np.int32)


def encode_rows(rows: Sequence[int]) -> bytes:
    """Rows in the order given."""
    return pack(np.array(rows, "<i4").tobytes())


def decode_rows(value: bytes) -> Numbers:
    """What `encode_rows` was given."""
    return np.frombuffer(unpack(value, "rows of a batch"), "<i4").astype(np.int32)


def encode_given_up(given_up: GivenUp) -> bytes:
    """The value of its row."""
    return pack([given_up.user, *given_up.key, given_up.error])


def decode_given_up(value: bytes) -> GivenUp:
    """:raises StateVersionError: written by a later version."""
    user, kind, type_name, object_id, place, error = unpack(value, "given up")
    return GivenUp(user, PendingKey(kind, type_name, object_id, place), error)


def encode_emissions(first: int, times: npt.NDArray[np.int64], rows: npt.NDArray[np.int32]) -> bytes:
    """Entries from number `first` on."""
    begins = np.ones(len(times) + 1, np.bool_)
    np.not_equal(times[1:], times[:-1], out=begins[1:-1])
    starts = begins.nonzero()[0]
    runs = starts[1:] - starts[:-1]
    counts = [] if 2 * len(runs) > len(times) else [runs.astype("<i4").tobytes()]
    stored = times[starts[:-1]] if counts else times
    return pack([first, stored.astype("<i8").tobytes(), rows.astype("<i4").tobytes(), *counts])


def decode_emissions(value: bytes) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """(first number, times, rows)."""
    first, times, rows, *counts = unpack(value, "emissions")
    entries = np.frombuffer(times, "<i8").astype(np.int64)
    if counts:
        entries = np.repeat(entries, np.frombuffer(counts[0], "<i4"))
    return first, entries, np.frombuffer(rows, "<i4").astype(np.int32)


def encode_sets(sets: NamedSets) -> bytes:
    """A block of sets."""
    (content, lengths, hashes), rows, sizes = sets
    numbers = [_encode_numbers(lengths), hashes.astype("<u8").tobytes(), _encode_numbers(rows), _encode_numbers(sizes)]
    return pack([content, *numbers])


def decode_sets(value: bytes) -> NamedSets:
    """What `encode_sets` was given."""
    content, lengths, hashes, rows, sizes = unpack(value, "sets")
    count = len(hashes) // 8
    each = _decode_numbers(sizes, count)
    names = TextStretch(content, _decode_numbers(lengths, count), np.frombuffer(hashes, "<u8"))
    return NamedSets(names, _decode_numbers(rows, int(each.sum())), each)


def encode_changes(changes: Mapping[int, bool]) -> bytes:
    """Rows that came to a set (true) or went."""
    return pack([np.array(list(changes), "<i4").tobytes(), bytes(changes.values())])


def decode_changes(value: bytes) -> dict[int, bool]:
    """What `encode_changes` was given."""
    rows, members = unpack(value, "changes of an audience")
    return dict(zip(np.frombuffer(rows, "<i4").tolist(), map(bool, members), strict=True))
