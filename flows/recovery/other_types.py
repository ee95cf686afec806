"""A stretch of the decision log decided by other types than those that held: what a change would have done.

The code is that of the running system, and so is the state before the stretch; what it writes is thrown away. Records
that say which types hold say the others. An event's class and ttl are of its acceptance: where they are what its type
said then, those of the other type are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from connectors.log.interface import NewRecord, Record
from connectors.types import Tables
from flows.recovery.stretch import PartitionReplay
from flows.steps.decide.group import stamp_of
from operators.payload_schema import schema_errors
from state.model.errors import MalformedRecordError
from state.model.event import event_class
from state.model.registry import Registry, load_registry, names_type, registry_of
from state.model.work import EventWork, SliceWork, VersionsWork, Work, decode_work, encode_work, is_versions


class OtherTypes:
    """Types that take the place of those that held, and what they met."""

    def __init__(self, names: tuple[str, ...], tables: Callable[[Tables], Tables]) -> None:
        """`names` are those of the types that differ; `tables` makes all tables of those that held."""
        self._names, self._tables = names, tables
        self._marks = [name.removesuffix("*").encode() for name in names]
        self._then = self._other = Registry([])
        self.events = self.refused = self.since = 0
        """Records of these types; those of them whose payload their schema refuses; when the stretch begins."""

    def decide(
        self, replay: PartitionReplay, first: int, end: int, advanced: Callable[[int], None]
    ) -> Iterator[tuple[int, NewRecord]]:
        """What `PartitionReplay.decide` gives, of the records from `first` on."""
        for _ in replay.decide(first, advanced):
            pass
        self._hold(replay.registry)
        replay.use_types(self._other)
        yield from replay.decide(end, advanced, self._changed)

    def _hold(self, then: Registry) -> None:
        self._then, self._other = then, registry_of(self._tables(then.tables))

    def _changed(self, record: Record) -> Record:
        self.since = self.since or stamp_of(record.value)
        if not is_versions(record.value) and not any(mark in record.value for mark in self._marks):
            return record
        try:
            work = decode_work(record.value)
        except MalformedRecordError:
            return record
        return record._replace(value=encode_work(self._changed_work(work)))

    def _changed_work(self, work: Work) -> Work:
        if isinstance(work, VersionsWork):
            self._hold(load_registry(work.types, version=work.registry))
            tables = {name: dict(table) for name, table in self._other.tables.items()}
            return msgspec.structs.replace(work, registry=self._other.version, types=tables)
        if not isinstance(work, EventWork | SliceWork):
            return work
        event = work.event
        if not any(names_type(name, event.type) for name in self._names):
            return work
        before, profile = self._then.profile(event.type), self._other.profile(event.type)
        self.events += 1
        self.refused += not event.retracts and bool(schema_errors(profile.schema, event.payload))
        klass = profile.klass if event.priority == before.klass else event_class(event.priority, profile)
        ttl_ms = profile.ttl_ms if event.ttl_ms == before.ttl_ms else event.ttl_ms
        return msgspec.structs.replace(work, event=msgspec.structs.replace(event, priority=klass, ttl_ms=ttl_ms))
