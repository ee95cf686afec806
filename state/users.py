"""Columns over the users of one key group: settings, endpoints and mutes, one row per user that was ever named.

Preference documents repeat, so each distinct one (without mutes) is compiled once and a row holds its number. Row
numbers are stable. Columns grow by doubling; rows are never removed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from state.model.keys import user_hash
from state.model.preference import Preference, compile_preference, muted_names
from state.model.records import Device

CHANNEL_BIT = {"push": 1, "sms": 2, "email": 4, "webhook": 8, "chat": 16}
NO_VERSION = -1


class Endpoint(NamedTuple):
    """A stored registration; `place` is the offset in `work` that set it."""

    platform: str | None
    address: str | None
    active: bool
    registered_at: int
    place: int


class PreferenceTable:
    """Distinct preference documents by number; number 0 is the empty document."""

    def __init__(self) -> None:
        self.compiled: list[Preference] = []
        self.documents: list[bytes] = []
        self._number: dict[bytes, int] = {}
        self.intern({})

    def intern(self, document: Mapping[str, Any]) -> int:
        """The number of a document, its mutes left out."""
        content = {key: value for key, value in document.items() if key != "muted"}
        key = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        number = self._number.get(key)
        if number is None:
            number = self._number[key] = len(self.compiled)
            self.compiled.append(compile_preference(content))
            self.documents.append(key)
        return number


class Mutes(NamedTuple):
    """What one user muted."""

    actors: frozenset[str]
    objects: frozenset[str]


NO_MUTES = Mutes(frozenset(), frozenset())


class UserTable:
    """The columns; `changed` collects rows whose stored form is stale."""

    def __init__(self) -> None:
        self.preferences = PreferenceTable()
        self.ids: list[str] = []
        self.row_of: dict[str, int] = {}
        self.preference: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self.usable: npt.NDArray[np.uint8] = np.zeros(64, np.uint8)
        self.known: npt.NDArray[np.bool_] = np.zeros(64, np.bool_)
        self.preference_version: npt.NDArray[np.int64] = np.full(64, NO_VERSION, np.int64)
        self.endpoint_version: npt.NDArray[np.int64] = np.full(64, NO_VERSION, np.int64)
        self.hash: npt.NDArray[np.uint64] = np.zeros(64, np.uint64)
        self.endpoints: dict[int, dict[tuple[str, str], Endpoint]] = {}
        self.mutes: dict[int, Mutes] = {}
        self.actor_muted_by: dict[str, set[int]] = {}
        self.object_muted_by: dict[str, set[int]] = {}
        self.profiles: dict[int, tuple[str | None, str | None]] = {}
        self.changed: set[int] = set()

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, user: str) -> int:
        """The row of a user; a user not seen before gets the next one."""
        row = self.row_of.get(user)
        if row is None:
            row = len(self.ids)
            self.row_of[user] = row
            self.ids.append(user)
            if row == len(self.preference):
                self._grow()
            self.hash[row] = user_hash(user)
            self.changed.add(row)
        return row

    def _grow(self) -> None:
        size = len(self.preference)
        for name in ("preference", "usable", "known", "hash"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros(size, column.dtype)]))
        for name in ("preference_version", "endpoint_version"):
            setattr(self, name, np.concatenate([getattr(self, name), np.full(size, NO_VERSION, np.int64)]))

    def preference_of(self, row: int) -> Preference:
        """The compiled document of a row."""
        return self.preferences.compiled[int(self.preference[row])]

    def set_preference(self, user: str, document: Mapping[str, Any], place: int) -> int:
        """Replace the user's whole document (RULES 6); returns the row."""
        row = self.row(user)
        self.preference[row] = self.preferences.intern(document)
        self.preference_version[row] = place
        self.known[row] = True
        self.set_mutes(row, Mutes(muted_names(document, "actors"), muted_names(document, "objects")))
        self.changed.add(row)
        return row

    def set_mutes(self, row: int, mutes: Mutes) -> None:
        """Replace what the user muted, and the inverted index."""
        before = self.mutes.pop(row, NO_MUTES)
        for index, old, new in (
            (self.actor_muted_by, before.actors, mutes.actors),
            (self.object_muted_by, before.objects, mutes.objects),
        ):
            _move(index, row, old - new, new - old)
        if mutes.actors or mutes.objects:
            self.mutes[row] = mutes

    def set_endpoint(self, user: str, key: tuple[str, str], endpoint: Endpoint) -> int:
        """Latest per user, channel and id; returns the row."""
        row = self.row(user)
        self.endpoints.setdefault(row, {})[key] = endpoint
        self._refresh_usable(row)
        self.endpoint_version[row] = endpoint.place
        self.known[row] = True
        self.changed.add(row)
        return row

    def restore_endpoints(self, row: int, endpoints: dict[tuple[str, str], Endpoint]) -> None:
        """Take over the stored registrations of a row."""
        if endpoints:
            self.endpoints[row] = endpoints
            self._refresh_usable(row)

    def _refresh_usable(self, row: int) -> None:
        bits = 0
        for (channel, _), endpoint in self.endpoints.get(row, {}).items():
            if endpoint.active:
                bits |= CHANNEL_BIT.get(channel, 0)
        self.usable[row] = bits

    def retire_endpoint(self, user: str, key: tuple[str, str], gone_at: int, place: int) -> None:
        """A provider's verdict: inactive unless registered after it (RULES 4, Token)."""
        row = self.row_of.get(user)
        endpoint = self.endpoints.get(row, {}).get(key) if row is not None else None
        if endpoint is not None and endpoint.registered_at <= gone_at:
            self.set_endpoint(user, key, endpoint._replace(active=False, place=place))

    def set_profile(self, user: str, locale: str | None, name: str | None) -> None:
        """Locale and display name, for rendering."""
        row = self.row(user)
        self.profiles[row] = (locale, name)
        self.changed.add(row)

    def devices(self, row: int, channel: str) -> list[Device]:
        """Where a channel reaches the user: every active push device, else the address registered last."""
        active = [
            (endpoint.place, Device(device, endpoint.platform, endpoint.address, endpoint.registered_at))
            for (name, device), endpoint in self.endpoints.get(row, {}).items()
            if name == channel and endpoint.active
        ]
        if channel == "push":
            return sorted(device for _, device in active)
        return [max(active, key=lambda entry: (entry[0], entry[1].id))[1]] if active else []


def _move(index: dict[str, set[int]], row: int, removed: frozenset[str], added: frozenset[str]) -> None:
    for name in removed:
        index[name].discard(row)
        if not index[name]:
            del index[name]
    for name in added:
        index.setdefault(name, set()).add(row)
