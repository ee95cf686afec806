"""Published templates: topic `registry`, followed out of band by every process that renders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import structlog

from connectors.log.following import LogFollower
from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_records
from state.model.errors import MalformedRecordError
from state.model.template import TEMPLATE, TemplateRecord, TypeTexts, locale_chain
from state.model.topics import REGISTRY

_SPOKEN = "en"
"""The locale of whoever has none, as the built-in texts have it."""
_logger = structlog.get_logger(__name__)


def template_record(record: TemplateRecord) -> NewRecord:
    """What is appended to publish, or to take back."""
    key = f"template/{record.type}/{record.locale}".encode()
    return NewRecord(REGISTRY, 0, key, TEMPLATE.encode(record), TEMPLATE.headers)


def published_templates(log: Log) -> dict[tuple[str, str], TemplateRecord]:
    """The newest record of every type and locale, also where the texts were taken back.

    :raises LogError: the log cannot be read.
    """
    begin = log.begin_offset(REGISTRY, 0)
    return {found.place: found for found in _decoded(stored_records(log, {(REGISTRY, 0): begin}))}


class PublishedTexts:
    """Follows the topic in a daemon thread; `texts` answers from memory and may be called by any thread."""

    def __init__(self, log: Log) -> None:
        self._texts: dict[tuple[str, str], TypeTexts] = {}
        self._follower = LogFollower(log, [(REGISTRY, 0)], self._take, name="templates")

    def start(self) -> Self:
        """Read to the present end, and follow from then on.

        :raises LogError: it cannot be read.
        """
        self._follower.start()
        return self

    def texts(self, type_name: str, locale: str | None) -> TypeTexts | None:
        """The published texts for a reader's locale; None: the built-in ones hold."""
        if not self._texts:
            return None
        chain = locale_chain(locale or _SPOKEN)
        return next((found for each in chain if (found := self._texts.get((type_name, each)))), None)

    def close(self) -> None:
        """End the thread; a second call does nothing."""
        self._follower.close()

    def _take(self, records: Sequence[Record]) -> None:
        for found in _decoded(records):
            if found.texts is None:
                self._texts.pop(found.place, None)
            else:
                self._texts[found.place] = found.texts


def _decoded(records: Iterable[Record]) -> Iterable[TemplateRecord]:
    for record in records:
        if not record.value or dict(record.headers).get("schema") != TEMPLATE.json:
            continue
        try:
            yield TEMPLATE.decode(record.value)
        except MalformedRecordError:
            _logger.warning("template_record_malformed", offset=record.offset)
