"""Published types: topic `registry`, followed by every process that asks what a type may do.

Decisions of P1 and P2 do not ask here: for them a type counts from the record `versions` of the decision log that
`sequence` writes when it has read what was published.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import structlog

from connectors.log.following import Following, LogFollower, Positions
from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_records
from state.model.admission import AdmissionRules, FieldError
from state.model.errors import ConfigurationError, LogUnavailableError, MalformedRecordError
from state.model.registry import Registry, TypeProfile, load_registry
from state.model.topics import REGISTRY
from state.model.type_record import TYPE, TypeRecord, taken_back, with_published

Tables = Mapping[str, Mapping[str, Any]]
_PLACE = (REGISTRY, 0)
_DIGEST = "digest"
_TABLES_BYTES_MAX = 1 << 20
"""Of all types: each change writes them whole to every partition of the decision log, as one record each."""
_READ_DEADLINE = timedelta(seconds=10)
_logger = structlog.get_logger(__name__)


def type_publication(record: TypeRecord) -> NewRecord:
    """What is appended to publish, or to take back."""
    return NewRecord(*_PLACE, f"type/{record.type}".encode(), TYPE.encode(record), TYPE.headers)


def types_in_force(log: Log, configured: Tables, *, reader: bool = False) -> Registry:
    """The registry at this moment, for who needs it once; `reader` as in `load_registry`.

    :raises LogError: the log cannot be read.
    """
    published = {name: record.table for name, record in type_records(log, reader=reader).items()}
    return with_published(configured, published, reader=reader)


def type_records(log: Log, *, reader: bool = False) -> dict[str, TypeRecord]:
    """The newest record of every type, also where it was taken back.

    :raises LogError: the log cannot be read.
    """
    records = stored_records(log, {_PLACE: log.begin_offset(*_PLACE)})
    return {each.type: each for each in _decoded(records, reader=reader)}


def written_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A schema may come as JSON; it is kept as its text."""
    schema = table.get("schema")
    return {**table, "schema": msgspec.json.encode(schema).decode()} if isinstance(schema, dict) else dict(table)


def changed_type(
    rules: AdmissionRules, configured: Tables, published: Mapping[str, TypeRecord], name: str,
    table: Mapping[str, Any] | None,
) -> TypeProfile | list[FieldError]:  # fmt: skip
    """What a type would be with a table or, None, without what is published of it; or what keeps it from that."""
    errors = list(rules.text_errors("type", name))
    if name == _DIGEST:
        errors.append(FieldError("type", "is what collected mails are called", "choose another name"))
    if "*" in name[:-1]:
        errors.append(FieldError("type", "has a star before its end", "write what the names begin with, then *"))
    tables = {each: record.table for each, record in published.items()}
    known = with_published(configured, tables | {name: None}).profile(name)
    if not errors and (table is not None or known.registered):
        proposed = configured.get(name, {}) if table is None else table
        errors += rules.type_errors(name, proposed, taken_back(published.get(name)))
    if errors or table is None:
        return errors or known
    after = with_published(configured, {**tables, name: table})
    if len(msgspec.json.encode(after.tables)) > _TABLES_BYTES_MAX:
        problem = f"makes all types together larger than {_TABLES_BYTES_MAX} bytes"
        return [FieldError("table", problem, "shorten its schema, or take types back that nobody sends")]
    return after.profile(name)


class PublishedTypes(Following):
    """Follows the topic in a daemon thread; `current` answers from memory and may be asked by any thread."""

    def __init__(self, log: Log, configured: Tables) -> None:
        self._log, self.configured = log, configured
        """The tables of the file, which hold where nothing is published."""
        self.published: Mapping[str, TypeRecord] = {}
        """The newest record of every type, also where it was taken back."""
        self._registry, self._offset = with_published(configured, {}), -1
        self._follower = LogFollower(log, [_PLACE], self._take, name="types", moved=self._moved)

    @property
    def current(self) -> Registry:
        """The registry in force."""
        return self._registry

    def up_to_date(self) -> Registry:
        """The registry with everything that was published before this call.

        :raises LogUnavailableError: the topic was not read to its end in time.
        """
        return self.up_to(self._log.end_offset(*_PLACE))

    def up_to(self, end: int) -> Registry:
        """The registry with everything that is below this offset of the topic's partition.

        :raises LogUnavailableError: the topic was not read so far in time.
        """
        give_up = time.monotonic() + _READ_DEADLINE.total_seconds()
        while self._offset < end:
            if time.monotonic() > give_up:
                raise LogUnavailableError(f"{REGISTRY}: what was published is not read to its end")
            time.sleep(0.005)
        return self._registry

    def _take(self, records: Sequence[Record]) -> None:
        found = {record.type: record for record in _decoded(records)}
        if found:
            self.published = {**self.published, **found}
            tables = {name: record.table for name, record in self.published.items()}
            self._registry = with_published(self.configured, tables)

    def _moved(self, positions: Positions) -> None:
        self._offset = positions[_PLACE]


def _decoded(records: Iterable[Record], *, reader: bool = False) -> Iterable[TypeRecord]:
    """What this release can use: a table that another one took may have keys that are none here."""
    for record in records:
        if not record.value or dict(record.headers).get("schema") != TYPE.json:
            continue
        try:
            found = TYPE.decode(record.value)
            load_registry({} if found.table is None else {found.type: found.table}, reader=reader)
        except (MalformedRecordError, ConfigurationError) as error:
            _logger.warning("type_record_unusable", offset=record.offset, error=str(error))
        else:
            yield found
