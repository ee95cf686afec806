"""Columns over the users of one key group: settings, endpoints and mutes, one row per user that was ever named.

Preference documents repeat, so each distinct one (without mutes) is compiled once and a row holds its number
(`state.decide.preferences`). Ids and registrations are in one buffer each (`state.decide.packed_texts`,
`state.decide.packed_values`), the latter decoded when needed. So a user costs his id, some 60 bytes of columns, and
what he has set. Row numbers are stable; rows are never removed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from state.decide.packed_texts import PackedTexts, encoded, grown
from state.decide.packed_values import PackedValues
from state.decide.preferences import EMPTY, PreferenceTable
from state.model.addresses import CHANNEL_BIT, Served, canonical
from state.model.delivery import DeviceAddress
from state.model.keys import user_tag
from state.model.load import DORMANT_AFTER_MS
from state.model.preference import Preference, muted_names

NO_VERSION = -1
_pack = msgspec.msgpack.Encoder().encode


class Endpoint(NamedTuple):
    """A stored registration; `place` is the offset in `work` that set it."""

    channel: str
    id: str
    platform: str | None
    address: str | None
    active: bool
    registered_at: int
    place: int


_unpack = msgspec.msgpack.Decoder(list[Endpoint]).decode
_unpack_many = msgspec.msgpack.Decoder(list[list[Endpoint]]).decode
_NONE = _pack([])


class Mutes(NamedTuple):
    """What one user muted."""

    actors: frozenset[str]
    objects: frozenset[str]


NO_MUTES = Mutes(frozenset(), frozenset())


def mutes_of(document: Mapping[str, Any]) -> Mutes:
    """What a preference document mutes."""
    if "muted" not in document:
        return NO_MUTES
    return Mutes(muted_names(document, "actors"), muted_names(document, "objects"))


_ZEROED = ("preference", "usable", "push_devices", "known", "tag")
_VERSIONS = ("preference_version", "endpoint_version")


class UserTable:
    """The columns; `changed` collects rows whose stored form is stale."""

    def __init__(self, preferences: PreferenceTable) -> None:
        self.preferences = preferences
        self.served: Served | None = None
        """What providers reach; None: every active registration counts."""
        self.ids = PackedTexts()
        self.preference: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self.usable: npt.NDArray[np.uint8] = np.zeros(64, np.uint8)
        self.push_devices: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self.known: npt.NDArray[np.bool_] = np.zeros(64, np.bool_)
        self.preference_version: npt.NDArray[np.int64] = np.full(64, NO_VERSION, np.int64)
        self.endpoint_version: npt.NDArray[np.int64] = np.full(64, NO_VERSION, np.int64)
        self.tag: npt.NDArray[np.uint64] = np.zeros(64, np.uint64)
        self.endpoints = PackedValues(none=_NONE)
        self.mutes: dict[int, Mutes] = {}
        self.actor_muted_by: dict[str, set[int]] = {}
        self.object_muted_by: dict[str, set[int]] = {}
        self.profiles: dict[int, tuple[str | None, str | None]] = {}
        self.changed: set[int] = set()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def hash(self) -> npt.NDArray[np.uint64]:
        """`state.model.keys.user_hash` of each row."""
        return self.ids.hash

    def row(self, user: str) -> int:
        """The row of a user; a user not seen before gets the next one."""
        known = len(self.ids)
        row = self.ids.add(user)
        if row == known:
            if row == len(self.preference):
                self._grow(row + 1)
            self.tag[row] = int.from_bytes(user_tag(user), "little")
            self.changed.add(row)
        return row

    def extend(self, ids: list[str], hashes: npt.NDArray[np.uint64], tags: npt.NDArray[np.uint64]) -> None:
        """Rows for users not seen before, with what was derived of their ids."""
        first = len(self.ids)
        self.ids.extend([encoded(user) for user in ids], hashes)
        if len(self.ids) > len(self.preference):
            self._grow(len(self.ids))
        self.tag[first : len(self.ids)] = tags
        self.changed.update(range(first, len(self.ids)))

    def _grow(self, wanted: int) -> None:
        size = len(self.preference)
        for name in _ZEROED:
            setattr(self, name, grown(getattr(self, name), size, wanted))
        for name in _VERSIONS:
            column = grown(getattr(self, name), size, wanted)
            column[size:] = NO_VERSION
            setattr(self, name, column)

    def preference_of(self, row: int) -> Preference:
        """The compiled document of a row."""
        return self.preferences.compiled[int(self.preference[row])]

    def set_preference(self, user: str, document: Mapping[str, Any], place: int) -> int:
        """Replace the user's whole document (RULES 6); returns the row."""
        row = self.row(user)
        self.assign_document(row, document)
        self.preference_version[row] = place
        self.known[row] = True
        self.changed.add(row)
        return row

    def assign_document(self, row: int, document: Mapping[str, Any]) -> None:
        """Let the row use a document in place of its last one."""
        before = int(self.preference[row])
        self.preference[row] = self.preferences.acquire(document)
        self.preferences.release(before)
        self._set_mutes(row, mutes_of(document))

    def assign_documents(self, first: int, documents: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> None:
        """Let rows from `first` on use the documents of these numbers in the list; those before lose users."""
        chosen = np.array(numbers, np.int64)
        uses = np.bincount(chosen, minlength=len(documents)).tolist()
        known = [self.preferences.acquire(document, uses[number]) for number, document in enumerate(documents)]
        part = slice(first, first + len(numbers))
        for before in self.preference[part][self.preference[part] != EMPTY].tolist():
            self.preferences.release(before)
        self.preference[part] = np.array(known, np.int32)[chosen]
        mutes = [mutes_of(document) for document in documents]
        for row, number in enumerate(numbers, first):
            if mutes[number] != NO_MUTES or row in self.mutes:
                self._set_mutes(row, mutes[number])

    def _set_mutes(self, row: int, mutes: Mutes) -> None:
        before = self.mutes.pop(row, NO_MUTES)
        for index, old, new in (
            (self.actor_muted_by, before.actors, mutes.actors),
            (self.object_muted_by, before.objects, mutes.objects),
        ):
            _move(index, row, old - new, new - old)
        if mutes.actors or mutes.objects:
            self.mutes[row] = mutes

    def endpoints_of(self, row: int) -> list[Endpoint]:
        """The registrations of a row."""
        packed = self.endpoints.get(row)
        return [] if packed is None else _unpack(packed)

    def set_endpoint(self, user: str, endpoint: Endpoint) -> int:
        """Latest per user, channel and id; returns the row."""
        row = self.row(user)
        name = endpoint[:2]
        kept = [each for each in self.endpoints_of(row) if each[:2] != name]
        self.assign_endpoints(row, _pack([*kept, endpoint]))
        self.endpoint_version[row] = endpoint.place
        self.known[row] = True
        self.changed.add(row)
        return row

    def assign_endpoints(self, row: int, packed: bytes) -> None:
        """Take over the registrations of a row as they are stored."""
        self.endpoints.put(row, packed)
        self._judge(row, packed)

    def _judge(self, row: int, packed: bytes) -> None:
        """Which channels reach the user."""
        reached = [endpoint.channel for endpoint in _unpack(packed) if self._is_reached(endpoint)]
        self.usable[row] = sum(CHANNEL_BIT.get(channel, 0) for channel in set(reached))
        self.push_devices[row] = reached.count("push")

    def serve(self, served: Served | None) -> None:
        """From here on providers reach this; what is on file stays, and counts as far as it is reached."""
        if served == self.served:
            return
        self.served = served
        for row, packed in self.endpoints.items():
            before = self.usable[row], self.push_devices[row]
            self._judge(row, packed)
            if before != (self.usable[row], self.push_devices[row]):
                self.changed.add(row)

    def _is_reached(self, endpoint: Endpoint) -> bool:
        return endpoint.active and (self.served is None or self.address_of(endpoint) is not None)

    def address_of(self, endpoint: Endpoint) -> str | None:
        """The registration's address in the form in which it is sent to."""
        return canonical(self.served, endpoint.channel, endpoint.platform, endpoint.address)

    def retire_endpoint(self, user: str, channel: str, endpoint_id: str, gone_at: int, place: int) -> None:
        """A provider's verdict: inactive unless registered after it (RULES 4, Token)."""
        row = self.ids.find(user)
        for endpoint in self.endpoints_of(row) if row is not None else ():
            if endpoint[:2] == (channel, endpoint_id) and endpoint.registered_at <= gone_at:
                self.set_endpoint(user, endpoint._replace(active=False, place=place))

    def set_profile(self, user: str, locale: str | None, name: str | None) -> None:
        """Locale and display name, for rendering."""
        row = self.row(user)
        self.profiles[row] = (locale, name)
        self.changed.add(row)

    def devices(self, row: int, channel: str) -> tuple[DeviceAddress, ...]:
        """Where a channel reaches the user: every active push device, else the address registered last."""
        return self._devices(self.endpoints_of(row), channel)

    def devices_of(self, rows: npt.NDArray[np.int32], channel: str) -> list[tuple[DeviceAddress, ...]]:
        """The same for many users."""
        return [self._devices(each, channel) for each in self._endpoints_of_all(rows)]

    def _endpoints_of_all(self, rows: npt.NDArray[np.int32]) -> list[list[Endpoint]]:
        array = b"\xdd" + len(rows).to_bytes(4, "big")  # the head of a MessagePack array: all are read in one call
        return _unpack_many(array + self.endpoints.joined(rows))

    def _devices(self, endpoints: list[Endpoint], channel: str) -> tuple[DeviceAddress, ...]:
        if len(endpoints) == 1:  # as nearly all users have
            (only,) = endpoints
            address = only.address if self.served is None else self.address_of(only)
            if only.channel != channel or not only.active or (address is None and self.served is not None):
                return ()
            return (DeviceAddress(only.id, only.platform, address, only.registered_at),)
        found = [each for each in endpoints if each.channel == channel and each.active]
        if self.served is not None:
            found = [each._replace(address=address) for each in found if (address := self.address_of(each)) is not None]
        if len(found) > 1:
            found = sorted(found) if channel == "push" else [max(found, key=lambda each: (each.place, each.id))]
        return tuple([DeviceAddress(each.id, each.platform, each.address, each.registered_at) for each in found])

    def dormant(self, rows: npt.NDArray[np.int32], now_ms: int) -> npt.NDArray[np.bool_]:
        """Who has active phones, all of them registered longer than DORMANT_AFTER_MS ago."""
        latest = [
            max([each.registered_at for each in endpoints if each.channel == "push" and each.active], default=now_ms)
            for endpoints in self._endpoints_of_all(rows)
        ]
        return np.array(latest, np.int64) < now_ms - DORMANT_AFTER_MS

    def deliveries(self, rows: npt.NDArray[np.int32], channels: tuple[str, ...]) -> npt.NDArray[np.int64]:
        """Number of addresses that channels which can reach each of the rows come to: every push device, else one."""
        others = np.full(len(rows), sum(channel != "push" for channel in channels), np.int64)
        return others + self.push_devices[rows] if "push" in channels else others


def _move(index: dict[str, set[int]], row: int, removed: frozenset[str], added: frozenset[str]) -> None:
    for name in removed:
        index[name].discard(row)
        if not index[name]:
            del index[name]
    for name in added:
        index.setdefault(name, set()).add(row)
