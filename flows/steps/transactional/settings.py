"""The settings of the users of one P0 lane, read to their ends before a batch is decided (RULES 6; DECISIONS, P0 shares
nothing).

A preference or endpoint that was acknowledged before an event was accepted is in its topic before the event is read. So
the topics' ends are asked for after the batch was read, and everything below them is taken over before it is decided.
"""

from __future__ import annotations

import msgspec
import structlog

from connectors.control import DOOR, KILL_SCHEMA, Kill
from connectors.log.interface import Log, Reader, Record
from connectors.log.read_to_ends import read_to_ends
from operators.transactional import Setting
from state.model.envelope import schema_of
from state.model.errors import UNDECODABLE
from state.model.event import Exact
from state.model.work import EndpointWork, PreferenceWork, ProfileWork
from state.transactional.store import Place, StoredSetting, TransactionalStore

SETTING_TOPICS = ("preferences", "endpoints", "profiles")
_logger = structlog.get_logger(__name__)


class _Preference(msgspec.Struct):
    user: str
    doc: dict[str, object]


class _Endpoint(msgspec.Struct):
    user: str
    channel: str
    id: str
    platform: str | None = None
    address: str | None = None
    state: str = "active"
    registered_at: Exact = 0
    gone_at: Exact | None = None


class _Profile(msgspec.Struct):
    user: str
    locale: str | None = None
    name: str | None = None


_preference = msgspec.json.Decoder(_Preference)
_endpoint = msgspec.json.Decoder(_Endpoint)
_profile = msgspec.json.Decoder(_Profile)
_kill = msgspec.json.Decoder(Kill)


class LaneSettings:
    """The look-up store of one lane, kept up to date on demand; for one thread at a time."""

    def __init__(self, log: Log, store: TransactionalStore, partition: int) -> None:
        """Continue at the store's offsets, and read to the present ends."""
        self._log, self._store = log, store
        places: list[Place] = [*((topic, partition) for topic in SETTING_TOPICS), ("control", 0)]
        known = store.places()
        start = {place: max(known.get(place, 0), log.begin_offset(*place)) for place in places}
        self._reader: Reader = log.reader(start)
        self._places = places
        self.catch_up()

    def catch_up(self) -> dict[Place, int]:
        """Take over everything up to the present ends; gives the offsets up to which it read.

        :raises LogError: a topic cannot be read; nothing may be decided without it.
        """
        ends = {place: self._log.end_offset(*place) for place in self._places}
        for records in read_to_ends(self._reader, ends):
            self._store_records(records)
        return self._reader.position()

    def of(self, user: str) -> list[Setting]:
        """What is on file for a user, oldest first."""
        return [setting for stored in self._store.settings_of(user) if (setting := _decoded(stored)) is not None]

    def switches(self) -> dict[tuple[str, str], int]:
        """Kill switches that are on."""
        return self._store.switches()

    def close(self) -> None:
        """Free the reader."""
        self._reader.close()

    def _store_records(self, records: list[Record]) -> None:
        settings = [_row(record) for record in records if record.topic != "control"]
        switches = [row for record in records if record.topic == "control" and (row := _switch_row(record))]
        self._store.put_settings(settings, switches, self._reader.position())


def _row(record: Record) -> tuple[str, str, str, bytes | None, int]:
    user, _, name = record.key.decode("utf-8", "replace").partition("\0")
    return user, record.topic, name, record.value or None, record.offset


def _switch_row(record: Record) -> tuple[str, str, bool, int] | None:
    if not record.value or schema_of(record.headers).encode() not in (b"", KILL_SCHEMA):
        return None
    try:
        kill = _kill.decode(record.value)
    except UNDECODABLE:
        _logger.warning("control_record_malformed", offset=record.offset)
        return None
    if kill.scope == DOOR:  # concerns the gateways alone
        return None
    return kill.scope, "" if kill.scope == "all" else (kill.value or ""), kill.on, record.offset


def _decoded(stored: StoredSetting) -> Setting | None:
    """A stored record as decide knows it; one that does not decode counts as absent, as in `sequence`."""
    try:
        if stored.topic == "preferences":
            preference = _preference.decode(stored.value)
            return Setting(PreferenceWork(stamp=0, user=preference.user, doc=preference.doc), stored.place)
        if stored.topic == "endpoints":
            endpoint = _endpoint.decode(stored.value)
            return Setting(EndpointWork(stamp=0, **msgspec.structs.asdict(endpoint)), stored.place)
        profile = _profile.decode(stored.value)
        work = ProfileWork(stamp=0, user=profile.user, locale=profile.locale, name=profile.name)
        return Setting(work, stored.place)
    except UNDECODABLE:
        _logger.warning("setting_malformed", topic=stored.topic, offset=stored.place)
        return None
