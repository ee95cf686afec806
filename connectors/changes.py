"""What users and their addresses became lately, out of band: asked before a send that may come late.

Decide's word on an emission is of the moment of the emission. What the topics say since is followed by every process
that sends, in a thread of its own, and kept in memory: documents of preferences, addresses, retractions. A process
reads back for `LOOK_BACK` when it starts. Kept are the newest `KEPT_MAX` of each kind; older ones count as unchanged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Self, TypeVar

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from connectors.log.following import LogFollower
from connectors.log.interface import Log, Record
from state.model.addresses import Served, canonical
from state.model.errors import MalformedRecordError
from state.model.event import EVENT
from state.model.settings import ENDPOINT, PREFERENCE, EndpointRecord
from state.model.topics import ENDPOINTS, EVENTS, PREFERENCES

LOOK_BACK = timedelta(hours=1)
KEPT_MAX = 50_000
_OF_ONE_OBJECT_MAX = 50
_RETRACTS = b'"retracts":true'
_logger = structlog.get_logger(__name__)
K = TypeVar("K")
V = TypeVar("V")


class Retraction(NamedTuple):
    """An event that takes others back, as far as it names them (RULES 3.F)."""

    at: int
    """When it came in, in milliseconds."""
    target: str | None
    actor: str | None
    parent_event_id: str | None


class Changes:
    """See the module. Answers from memory, for any thread."""

    def __init__(self, log: Log, *, now_ms: int, served: Served | None = None) -> None:
        """`served`: what providers reach, and so the form in which addresses are kept and asked for."""
        self._served = served
        self._documents = _Newest[str, dict[str, Any]]()
        self._endpoints = _Newest[tuple[str, str, str], EndpointRecord]()
        self._owners = _Newest[tuple[str, str], str]()
        self._retractions = _Newest[tuple[str, str | None], list[Retraction]]()
        topics = (PREFERENCES, ENDPOINTS, *EVENTS.values())
        places = [(topic, partition) for topic in topics for partition in range(log.partitions(topic))]
        since_ms = now_ms - LOOK_BACK // timedelta(milliseconds=1)
        self._follower = LogFollower(log, places, self._take, name="changes", since_ms=since_ms)

    def start(self) -> Self:
        """Read back, and follow from then on.

        :raises LogError: the log cannot be read.
        """
        self._follower.start()
        return self

    def close(self) -> None:
        """End the thread."""
        self._follower.close()

    def document(self, user: str) -> dict[str, Any] | None:
        """The preference document that the user stored lately; None: no change."""
        return self._documents.get(user)

    def endpoint(self, user: str, channel: str, endpoint_id: str) -> EndpointRecord | None:
        """The endpoint as it was written lately; None: no change."""
        return self._endpoints.get((user, channel, endpoint_id))

    def owner(self, channel: str, address: str) -> str | None:
        """Who registered the address lately; None: nobody."""
        return self._owners.get((channel, address))

    def retractions(self, type_name: str, object_name: str | None) -> Sequence[Retraction]:
        """What was taken back lately of this type and object, in the order of acceptance."""
        return self._retractions.get((type_name, object_name)) or ()

    def _take(self, records: Sequence[Record]) -> None:
        for record in records:
            try:
                self._take_one(record)
            except MalformedRecordError:
                _logger.warning("change_malformed", topic=record.topic, offset=record.offset)

    def _take_one(self, record: Record) -> None:
        if record.topic == PREFERENCES:
            document = PREFERENCE.decode(record.value).doc if record.value else {}
            self._documents.put(record.key.decode("utf-8", "surrogatepass"), document)
        elif record.topic == ENDPOINTS:
            self._take_endpoint(record)
        elif _RETRACTS in record.value:
            event = EVENT.decode(record.value)
            key = event.type, event.object
            taken = Retraction(event.ingested_at, event.target, event.actor, event.parent_event_id)
            self._retractions.put(key, [*self.retractions(*key), taken][-_OF_ONE_OBJECT_MAX:])

    def _take_endpoint(self, record: Record) -> None:
        if not record.value:
            user, channel, endpoint_id = record.key.decode("utf-8", "surrogatepass").split("\0")[:3]
            new = EndpointRecord(user, channel, endpoint_id, state="invalid")
        else:
            new = ENDPOINT.decode(record.value)
            if new.gone_at is not UNSET:
                return  # a provider's verdict: the sender that heard it acts on it
        new = replace(new, address=canonical(self._served, new.channel, new.platform, new.address))
        self._endpoints.put((new.user, new.channel, new.id), new)
        if new.state == "active" and new.address:
            self._owners.put((new.channel, new.address), new.user)


class _Newest(OrderedDict[K, V]):
    """At most KEPT_MAX entries; the one that was not written for the longest time goes."""

    def put(self, key: K, value: V) -> None:
        """Write an entry."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > KEPT_MAX:
            self.popitem(last=False)
