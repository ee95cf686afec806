"""Published templates: topic `registry`, written by gateway, console and command line alike, and followed out of band
by every process that renders.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from connectors.audit_chain import AuditChain
from connectors.campaigns import Actor
from connectors.log.following import Following, LogFollower
from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_records
from state.model.audit import AuditRecord
from state.model.errors import MalformedRecordError, RefusedActError
from state.model.template import (
    TEMPLATE,
    TemplateRecord,
    TemplateSource,
    TextPlace,
    TypeTexts,
    texts_in_force,
)
from state.model.topics import REGISTRY

_SPOKEN = "en"
"""The locale of whoever has none, as the built-in texts have it."""
_FOUND_MAX = 10_000
_logger = structlog.get_logger(__name__)


class TemplateDesk:
    """Publishes and takes back. Methods block on the log; any thread may call them."""

    def __init__(self, log: Log, *, clock: Callable[[], int]) -> None:
        """`clock`: milliseconds since 1970. The log stays the caller's to close."""
        self._log, self._clock, self._lock, self._chain = log, clock, threading.Lock(), AuditChain(log)

    def published(self) -> dict[TextPlace, TemplateRecord]:
        """The newest record of every type and locale, also where the texts were taken back.

        :raises LogError: the log cannot be read.
        """
        begin = self._log.begin_offset(REGISTRY, 0)
        return {found.place: found for found in _decoded(stored_records(self._log, {(REGISTRY, 0): begin}))}

    def publish(
        self,
        actor: Actor,
        place: TextPlace,
        texts: Mapping[str, TemplateSource] | None,
        *,
        reason: str | None,
        seen: int | None = None,
    ) -> TemplateRecord:
        """Put texts in force for a type and a locale, or, None, take them back; it is noted first. `seen`: the version
        that he saw, 0: none; None: whichever there is.

        :raises RefusedActError: there is a newer version.
        :raises LogError: it was not acknowledged.
        """
        with self._lock:
            before = self.published().get(place)
            version = 0 if before is None else before.version
            if seen not in (None, version):
                raise RefusedActError(f"it is at version {version} meanwhile; look at that one first")
            given = None if texts is None else dict(texts)
            record = TemplateRecord(
                type=place[0], locale=place[1], version=version + 1, by=actor.name, reason=reason, texts=given
            )
            act = AuditRecord(
                at=self._clock(), by=actor.name, role=actor.role, act="template",
                about={"type": place[0], "locale": place[1], "version": str(record.version)}, reason=reason,
                before=None if before is None else before.texts, after=given,
            )  # fmt: skip
            self._log.append([self._chain.record(act), template_record(record)])
            return record

    def carry_out(
        self, by: str, place: TextPlace, texts: Mapping[str, TemplateSource] | None, *, reason: str | None, version: int
    ) -> bool:
        """Put in force as this version what is noted already, or see that it is. False: another one was published.

        Raises as `published`, and LogError if it was not acknowledged.
        """
        with self._lock:
            before = self.published().get(place)
            held = 0 if before is None else before.version
            given = None if texts is None else dict(texts)
            if held != version - 1:
                return before is not None and (held, before.texts) == (version, given)
            record = TemplateRecord(
                type=place[0], locale=place[1], version=version, by=by, reason=reason, texts=given
            )  # fmt: skip
            self._log.append([template_record(record)])
            return True


def template_record(record: TemplateRecord) -> NewRecord:
    """What is appended to publish, or to take back."""
    key = f"template/{record.type}/{record.locale}".encode()
    return NewRecord(REGISTRY, 0, key, TEMPLATE.encode(record), TEMPLATE.headers)


class PublishedTexts(Following):
    """Follows the topic in a daemon thread; `texts` answers from memory and may be called by any thread."""

    def __init__(self, log: Log) -> None:
        self._texts: dict[TextPlace, TypeTexts] = {}
        self._found: dict[TextPlace, TypeTexts | None] = {}
        self._follower = LogFollower(log, [(REGISTRY, 0)], self._take, name="templates")

    def texts(self, type_name: str, locale: str | None) -> TypeTexts | None:
        """The published texts for a reader's locale; None: the built-in ones hold."""
        if not self._texts:
            return None
        found, place = self._found, (type_name, locale or _SPOKEN)
        if place not in found:
            if len(found) >= _FOUND_MAX:  # names come from outside: the memo is bounded
                found.clear()
            found[place] = texts_in_force(self._texts, *place)
        return found[place]

    def _take(self, records: Sequence[Record]) -> None:
        texts = dict(self._texts)
        for found in _decoded(records):
            if found.texts is None:
                texts.pop(found.place, None)
            else:
                texts[found.place] = found.texts
        self._texts, self._found = texts, {}


def _decoded(records: Iterable[Record]) -> Iterable[TemplateRecord]:
    for record in records:
        if not record.value or dict(record.headers).get("schema") != TEMPLATE.json:
            continue
        try:
            yield TEMPLATE.decode(record.value)
        except MalformedRecordError:
            _logger.warning("template_record_malformed", offset=record.offset)
