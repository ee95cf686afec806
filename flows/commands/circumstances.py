"""What decisions and deliveries used, found on the log by the places that their records name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from connectors.archive.ledger import HistoryState
from connectors.control import TOPIC as CONTROL
from connectors.control import switches_on
from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import stored_records
from operators.circumstances import Circumstances
from state.model.errors import MalformedRecordError, OffsetOutOfRangeError
from state.model.event import EVENT, Event
from state.model.keys import key_group, partition_of_group
from state.model.registry import Registry
from state.model.settings import PREFERENCE, SUPPRESS_NOTHING, SwitchOn
from state.model.topics import EVENTS, PREFERENCES
from state.model.work import EventWork, KillWork, PreferenceWork, SliceWork, Work, decode_work

_WAIT = timedelta(seconds=2)
_URGENT = "t"
_Decoded = TypeVar("_Decoded")


class Finder(NamedTuple):
    """Looks things up for one event and user."""

    log: Log
    registry: Registry

    def of_decision(self, state: HistoryState, arrived: int) -> Circumstances:
        """What a decision used; `arrived` is where the event is in the log of its source."""
        record, urgent = state.record, state.source == _URGENT
        profile = self.registry.profile(record["type"]) if record["registry_version"] == self.registry.version else None
        return Circumstances(
            document=self._document(record, urgent=urgent),
            switches=self._switches_of(record, urgent=urgent),
            profile=profile,
            event=self._event(record, arrived, urgent=urgent),
            cause=None if urgent or not state.source else self._work(record["user"], state.offset),
            urgent=urgent,
        )

    def of_delivery(self, record: Mapping[str, Any], decided: Circumstances) -> Circumstances:
        """What a send used: what its decision did, and the switches that were on when it ended."""
        on = self._switches(lambda each: each.timestamp_ms <= record["at"])
        return replace(decided, switches=on)

    def _document(self, record: Mapping[str, Any], *, urgent: bool) -> Mapping[str, Any] | None:
        user, offset = record["user"], record["preference_version"]
        if offset == -1:
            return {}
        if urgent:
            stored = self._at(PREFERENCES, user, offset, lambda found: PREFERENCE.decode(found.value))
            return stored.doc if stored is not None and stored.user == user else None
        work = self._work(user, offset)
        return work.doc if isinstance(work, PreferenceWork) and work.user == user else None

    def _event(self, record: Mapping[str, Any], offset: int, *, urgent: bool) -> Event | None:
        if urgent:
            event = self._at(EVENTS["P0"], record["user"], offset, lambda found: EVENT.decode(found.value))
        else:
            work = self._work(record["user"], offset)
            event = work.event if isinstance(work, EventWork | SliceWork) else None
        return event if event is not None and event.event_id == record["event_id"] else None

    def _switches_of(self, record: Mapping[str, Any], *, urgent: bool) -> Sequence[SwitchOn] | None:
        """Decide obeys `control` up to the record that the last change in its log came from; P0 as far as was read."""
        if record["control_version"] == -1:
            return ()
        change = None if urgent else self._work(record["user"], record["control_version"])
        if not isinstance(change, KillWork) or change.src is None:
            return self._switches(lambda each: each.timestamp_ms <= record["decided_at"])
        last = change.src[2]
        return self._switches(lambda each: each.offset <= last)

    def _switches(self, counts: Callable[[Record], bool]) -> Sequence[SwitchOn]:
        place = CONTROL, 0
        records = stored_records(self.log, {place: self.log.begin_offset(*place)}, deadline=_WAIT)
        on = switches_on(each for each in records if counts(each))
        return [switch for switch in on.values() if switch.scope not in SUPPRESS_NOTHING]

    def _work(self, user: str, offset: int) -> Work | None:
        return self._at("work", user, offset, lambda found: decode_work(found.value))

    def _at(self, topic: str, user: str, offset: int, decode: Callable[[Record], _Decoded]) -> _Decoded | None:
        """The record at a place of the user's partition; None where it is no longer there."""
        place = topic, partition_of_group(key_group(user), self.log.partitions(topic))
        if offset < self.log.begin_offset(*place) or offset >= self.log.end_offset(*place):
            return None
        try:
            found = next(stored_records(self.log, {place: offset}, {place: offset + 1}, deadline=_WAIT), None)
            return None if found is None or found.offset != offset else decode(found)
        except (OffsetOutOfRangeError, MalformedRecordError):
            return None
