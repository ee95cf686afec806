"""The settings of the users of one lane, read to their ends before a batch is decided (RULES 6; DECISIONS, P0 shares
nothing).

A preference or endpoint that was acknowledged before an event was accepted is in its topic before the event is read. So
the topics' ends are asked for after the batch was read, with one question, and everything below them is taken over
before it is decided. So are types (RULES 7).
"""

from __future__ import annotations

import structlog

from connectors.control import decode_kill
from connectors.log.interface import Log, Reader, Record
from connectors.log.read_to_ends import read_to_ends
from operators.transactional import CurrentSetting
from state.model.envelope import TopicPartition
from state.model.errors import MalformedRecordError
from state.model.registry import TypesToDate
from state.model.settings import SETTINGS, SUPPRESS_NOTHING
from state.model.topics import CONTROL, ENDPOINTS, PREFERENCES, PROFILES, REGISTRY
from state.model.work import work_of
from state.transactional.store import StoredSetting, TransactionalStore

SETTING_TOPICS = (PREFERENCES, ENDPOINTS, PROFILES)
_TYPES = (REGISTRY, 0)
_logger = structlog.get_logger(__name__)


class LaneSettings:
    """The look-up store of one lane, kept up to date on demand; for one thread at a time."""

    def __init__(self, log: Log, store: TransactionalStore, partition: int, types: TypesToDate) -> None:
        """Continue at the store's offsets, and read to the present ends."""
        self._log, self._store, self._types = log, store, types
        places: list[TopicPartition] = [*((topic, partition) for topic in SETTING_TOPICS), (CONTROL, 0)]
        known = store.places()
        start = {place: max(known.get(place, 0), log.begin_offset(*place)) for place in places}
        self._reader: Reader = log.reader(start)
        self._places = places
        self.registry = types.current
        """What types may do, as of the last `catch_up`."""
        self.catch_up()

    def catch_up(self) -> dict[TopicPartition, int]:
        """Take over everything up to the present ends; gives the offsets up to which it read.

        :raises LogError: a topic cannot be read; nothing may be decided without it.
        """
        ends = self._log.end_offsets([*self._places, _TYPES])
        self.registry = self._types.up_to(ends.pop(_TYPES))
        for records in read_to_ends(self._reader, ends):
            self._store_records(records)
        return self._reader.position()

    def of(self, user: str) -> list[CurrentSetting]:
        """What is on file for a user, oldest first."""
        return [setting for stored in self._store.settings_of(user) if (setting := _decoded(stored)) is not None]

    def switches(self) -> dict[tuple[str, str], int]:
        """Kill switches that are on."""
        return self._store.switches()

    def close(self) -> None:
        """Free the reader."""
        self._reader.close()

    def _store_records(self, records: list[Record]) -> None:
        settings = [row for record in records if record.topic != CONTROL and (row := _row(record))]
        switches = [switch for record in records if record.topic == CONTROL and (switch := _switch_row(record))]
        self._store.put_settings(settings, switches, self._reader.position())


def _row(record: Record) -> tuple[str, str, str, bytes | None, int] | None:
    """A record as it is stored; None for one that does not decode: what was true before it stays, as in `sequence`."""
    user, _, name = record.key.decode("utf-8", "replace").partition("\0")
    try:
        if record.value:
            SETTINGS[record.topic].decode(record.value)
    except MalformedRecordError:
        _logger.warning("setting_malformed", topic=record.topic, offset=record.offset)
        return None
    return user, record.topic, name, record.value or None, record.offset


def _switch_row(record: Record) -> tuple[str, str, bool, int] | None:
    try:
        kill = decode_kill(record)
    except MalformedRecordError:
        _logger.warning("control_record_malformed", offset=record.offset)
        return None
    if kill is None or kill.scope in SUPPRESS_NOTHING:
        return None
    return *kill.switch, kill.on, record.offset


def _decoded(stored: StoredSetting) -> CurrentSetting | None:
    """A stored record as decide knows it; None for one that an earlier version stored and that does not decode."""
    try:
        work = work_of(SETTINGS[stored.topic].decode(stored.value), 0)
    except MalformedRecordError:
        _logger.warning("setting_malformed", topic=stored.topic, offset=stored.place)
        return None
    return None if work is None else CurrentSetting(work, stored.place)
