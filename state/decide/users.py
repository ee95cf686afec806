"""Columns over the users of one key group: settings, endpoints and mutes, one row per user that was ever named.

Preference documents repeat, so each distinct one (without mutes) is compiled once and a row holds its number
(`state.decide.preferences`). Ids and registrations are in one buffer each (`state.decide.packed_texts`,
`state.decide.packed_values`), the latter decoded when needed. So a user costs his id, some 60 bytes of columns, and
what he has set. Row numbers are stable; rows are never removed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from state.decide.packed_texts import PackedTexts, TextStretch, grown
from state.decide.packed_values import AnyRows, PackedValues
from state.decide.preferences import EMPTY, PreferenceTable
from state.model.addresses import Served, canonical, moved_places
from state.model.channels import CHANNEL_BIT
from state.model.delivery import (
    DeviceAddress,
    Endpoint,
    PackedEndpoint,
    addresses_of,
    pack_endpoints,
    packed_endpoints,
    unpack_endpoints,
)
from state.model.keys import user_tag
from state.model.load import DORMANT_AFTER_MS
from state.model.preference import Preference, muted_names

if TYPE_CHECKING:
    from state.model.arrow import Column

NO_VERSION = -1
_unpack_many = msgspec.msgpack.Decoder(list[list[PackedEndpoint]]).decode
_NONE = pack_endpoints([])
_NOT_JUDGED, _AS_STORED, _DERIVED = 0, 1, 2
"""Of a row: whether what is sent to is exactly what is stored."""


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


_ZEROED = ("preference", "usable", "push_devices", "reached", "known", "tag")
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
        self.reached: npt.NDArray[np.uint8] = np.zeros(64, np.uint8)
        """Whether what is sent to is in `endpoints` or in `_derived`; 0: not known yet."""
        self.known: npt.NDArray[np.bool_] = np.zeros(64, np.bool_)
        self.preference_version: npt.NDArray[np.int64] = np.full(64, NO_VERSION, np.int64)
        self.endpoint_version: npt.NDArray[np.int64] = np.full(64, NO_VERSION, np.int64)
        self.tag: npt.NDArray[np.uint64] = np.zeros(64, np.uint64)
        self.endpoints = PackedValues(none=_NONE)
        self._derived = PackedValues(none=_NONE)
        """Of rows of which not all is sent to, or in another spelling."""
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
        known = self.ids.count
        row = self.ids.add(user)
        if row == known:
            if row == len(self.preference):
                self._grow(row + 1)
            self.tag[row] = int.from_bytes(user_tag(user), "little")
            self.changed.add(row)
        return row

    def tag_hex(self, row: int) -> str:
        """A row's part of the identity of emissions (`state.model.keys.emission_id`)."""
        return int(self.tag[row]).to_bytes(8, "little").hex()

    def extend(self, ids: TextStretch, tags: npt.NDArray[np.uint64]) -> None:
        """Rows for users not seen before, with what was derived of their ids."""
        first = len(self.ids)
        self.ids.extend(ids)
        if len(self.ids) > len(self.preference):
            self._grow(len(self.ids))
        self.tag[first : len(self.ids)] = tags

    def reserve(self, rows: int) -> None:
        """Room for so many rows, at once: what grows step by step leaves holes in memory."""
        self.ids.reserve(rows)
        if rows > len(self.preference):
            self._grow(rows)

    def trim(self) -> None:
        """Give back room that was taken for more."""
        self.ids.trim()
        self.endpoints.trim()

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
        return self.preferences.compiled[self.preference.item(row)]

    def set_preference(self, user: str, document: Mapping[str, Any], place: int) -> int:
        """Replace the user's whole document (RULES 6); returns the row."""
        row = self.row(user)
        before = int(self.preference[row])
        self.preference[row] = self.preferences.acquire(document)
        self.preferences.release(before)
        self._set_mutes(row, mutes_of(document))
        self.preference_version[row] = place
        self.known[row] = True
        self.changed.add(row)
        return row

    def assign_documents(self, first: int, stored: Sequence[bytes], numbers: npt.NDArray[np.int32]) -> None:
        """Let rows from `first` on use the documents of these numbers in the list; those before lose users."""
        uses = np.bincount(numbers, minlength=len(stored)).tolist()
        known = [self.preferences.acquire_stored(document, uses[number]) for number, document in enumerate(stored)]
        part = slice(first, first + len(numbers))
        for before in self.preference[part][self.preference[part] != EMPTY].tolist():
            self.preferences.release(before)
        self.preference[part] = np.array(known, np.int32)[numbers]
        mutes = [mutes_of(orjson.loads(document)) if b'"muted"' in document else NO_MUTES for document in stored]
        if not self.mutes and mutes.count(NO_MUTES) == len(mutes):
            return
        for row, number in enumerate(numbers.tolist(), first):
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
        return [] if packed is None else unpack_endpoints(packed)

    def set_endpoint(self, user: str, endpoint: Endpoint) -> int:
        """Latest per user, channel and id; returns the row."""
        row = self.row(user)
        name = endpoint[:2]
        kept = [each for each in self.endpoints_of(row) if each[:2] != name]
        self.assign_endpoints(row, pack_endpoints(sorted([*kept, endpoint])))
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
        channels = [endpoint.channel for endpoint in self._note_reached(row, packed)]
        self.usable[row] = sum(CHANNEL_BIT.get(channel, 0) for channel in set(channels))
        self.push_devices[row] = channels.count("push")

    def _note_reached(self, row: int, packed: bytes) -> list[Endpoint]:
        stored = unpack_endpoints(packed)
        reached = self._reached(stored)
        self.reached[row] = _AS_STORED if reached == stored else _DERIVED
        if reached != stored:
            self._derived.put(row, pack_endpoints(reached))
        return reached

    def _reached(self, endpoints: list[Endpoint]) -> list[Endpoint]:
        """What is sent to: every active push device, of other channels the address registered last; in one order."""
        found = [each for each in endpoints if each.active]
        if self.served is not None:
            found = [each._replace(address=known) for each in found if (known := self._address_of(each)) is not None]
        latest: dict[str, Endpoint] = {}
        for each in found:
            if each.channel != "push":
                latest[each.channel] = max(each, latest.get(each.channel, each), key=lambda one: (one.place, one.id))
        return sorted([*(each for each in found if each.channel == "push"), *latest.values()])

    def _address_of(self, endpoint: Endpoint) -> str | None:
        """The registration's address in the form in which it is sent to."""
        return canonical(self.served, endpoint.channel, endpoint.platform, endpoint.address)

    def serve(self, served: Served | None) -> None:
        """From here on providers reach this; what is on file stays, and counts as far as it is reached.

        Where a provider comes to others, only those whom it concerns are judged again: that takes five times as long
        as to see whom it concerns, and no event is decided meanwhile.
        """
        if served != self.served:
            earlier, self.served = self.served, served
            self.judge_all(moved_places(earlier, served) if earlier is not None and served is not None else None)

    def judge_all(self, concerned: Callable[[str, str | None], bool] | None = None) -> None:
        """Work out again which channels reach each user; `concerned`: only of whom a registration's channel and
        platform are.
        """
        for row, packed in self.endpoints.items():
            if concerned and not any(concerned(each.channel, each.platform) for each in packed_endpoints(packed)):
                continue
            before = self.usable[row], self.push_devices[row], self.reached[row]
            self._judge(row, packed)
            if before != (self.usable[row], self.push_devices[row], self.reached[row]):
                self.changed.add(row)

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
        if self.reached[row] == _NOT_JUDGED:
            self._note_reached(row, self.endpoints.get(row) or _NONE)
        packed = (self._derived if self.reached[row] == _DERIVED else self.endpoints).get(row)
        return () if packed is None else addresses_of(packed_endpoints(packed), channel)

    def reached_of(self, rows: AnyRows) -> "Column":
        """Where users are reached on any channel: of each, MessagePack of a list of endpoints."""
        self._know_reached(rows)
        derived = self.reached[rows] == _DERIVED
        if not np.count_nonzero(derived):
            return self.endpoints.column(rows)
        import pyarrow as pa  # heavy, and needed by large fan-outs alone

        from state.model.arrow_stream import arrow_column

        parts = self.endpoints.column(rows[~derived]), self._derived.column(rows[derived])
        both = pa.concat_arrays(list(map(arrow_column, parts)))
        return both.take(np.argsort(np.argsort(derived, kind="stable")))

    def as_stored(self, part: slice) -> npt.NDArray[np.bool_]:
        """Of neighbouring rows: whether what is sent to is exactly what is registered."""
        self._know_reached(np.arange(part.start, part.stop, dtype=np.int32))
        as_stored: npt.NDArray[np.bool_] = self.reached[part] == _AS_STORED
        return as_stored

    def set_as_stored(self, part: slice, as_stored: npt.NDArray[np.bool_]) -> None:
        """What `as_stored` gave; of others it is looked up when it is needed."""
        self.reached[part] = np.where(as_stored, _AS_STORED, _NOT_JUDGED)

    def _know_reached(self, rows: AnyRows) -> None:
        """Of rows as they were loaded."""
        for row in rows[self.reached[rows] == _NOT_JUDGED].tolist():
            self._note_reached(row, self.endpoints.get(row) or _NONE)

    def _endpoints_of_all(self, rows: AnyRows) -> list[list[PackedEndpoint]]:
        from state.model.arrow_stream import arrow_column

        values = arrow_column(self.endpoints.column(rows)).buffers()[2]
        array = b"\xdd" + len(rows).to_bytes(4, "big")  # the head of a MessagePack array: all are read in one call
        return _unpack_many(array + (b"" if values is None else values))

    def dormant(self, rows: AnyRows, now_ms: int) -> npt.NDArray[np.bool_]:
        """Who has active phones, all of them registered longer than DORMANT_AFTER_MS ago."""
        latest = [
            max([each.registered_at for each in endpoints if each.channel == "push" and each.active], default=now_ms)
            for endpoints in self._endpoints_of_all(rows)
        ]
        return np.array(latest, np.int64) < now_ms - DORMANT_AFTER_MS

    def deliveries(self, rows: AnyRows, channels: tuple[str, ...]) -> npt.NDArray[np.int64]:
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
