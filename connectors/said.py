"""What records of preferences, endpoints and events say of users, as far as it matters to what is under way to them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from connectors.log.interface import Record
from state.model.addresses import Served, canonical
from state.model.errors import MalformedRecordError
from state.model.event import EVENT
from state.model.settings import ENDPOINT, PREFERENCE, EndpointRecord
from state.model.topics import ENDPOINTS, EVENTS, PREFERENCES

TOPICS = (PREFERENCES, ENDPOINTS, *EVENTS.values())
_OF_ONE_ACTION_MAX = 50
_RETRACTS = b'"retracts":true'
_logger = structlog.get_logger(__name__)
K = TypeVar("K")
V = TypeVar("V")


class Action(NamedTuple):
    """What an event says that somebody did."""

    type: str
    object: str | None
    actor: str | None


class Retraction(NamedTuple):
    """An event that takes an action back, as far as it names which (RULES 3.F)."""

    at: int
    """When it came in, in milliseconds."""
    target: str | None
    parent_event_id: str | None


class Wanted(Protocol):
    """What is kept, where not everything is."""

    def user(self, name: str) -> bool: ...

    def address(self, channel: str, address: str) -> bool: ...

    def action(self, action: Action) -> bool: ...


class Said:
    """See the module. One thread takes records; any thread may ask."""

    def __init__(
        self, served: Served | None, since_ms: int, *, wanted: Wanted | None = None, kept_max: int | None = None
    ) -> None:
        """:param since_ms: the time from which on records are given.
        :param wanted: what is kept of them; None: everything.
        :param kept_max: of each kind, the newest; None: all.
        """
        self._served, self._since_ms, self._wanted = served, since_ms, wanted
        self._documents = _Newest[str, dict[str, Any]](kept_max)
        self._endpoints = _Newest[tuple[str, str, str], EndpointRecord](kept_max)
        self._owners = _Newest[tuple[str, str], str](kept_max)
        self._retractions = _Newest[Action, list[Retraction]](kept_max)
        self._kinds = self._documents, self._endpoints, self._owners, self._retractions
        self.newest_ms = since_ms
        """The time of the newest record that was taken."""

    @property
    def version(self) -> int:
        """It grows with whatever is taken."""
        return sum([kind.written for kind in self._kinds])

    @property
    def complete_since(self) -> int:
        """What was written after this time is known, in milliseconds."""
        return max(self._since_ms, *(kind.lost_ms for kind in self._kinds))

    def is_silent(self, user: str, channel: str, endpoint_id: str, address: str) -> bool:
        """Whether `document`, `endpoint` and `owner` have nothing to tell."""
        return (
            user not in self._documents
            and (user, channel, endpoint_id) not in self._endpoints
            and (channel, address) not in self._owners
        )

    def document(self, user: str) -> dict[str, Any] | None:
        """The newest document of the user's preferences."""
        return self._documents.value(user)

    def endpoint(self, user: str, channel: str, endpoint_id: str) -> EndpointRecord | None:
        """The newest of what a person or an application wrote of it."""
        return self._endpoints.value((user, channel, endpoint_id))

    def owner(self, channel: str, address: str) -> str | None:
        """Who registered it last."""
        return self._owners.value((channel, address))

    def retractions(self, action: Action) -> Sequence[Retraction]:
        """The newest, in the order of acceptance."""
        return self._retractions.value(action) or ()

    def take(self, records: Sequence[Record]) -> None:
        """Records of `TOPICS`, those of a partition in order; a malformed one says nothing."""
        for record in records:
            try:
                self._take_one(record)
            except (MalformedRecordError, ValueError):  # or a key that is no text
                _logger.warning("change_malformed", topic=record.topic, offset=record.offset)
        self.newest_ms = max(self.newest_ms, max((record.timestamp_ms for record in records), default=0))

    def _take_one(self, record: Record) -> None:
        if record.topic == PREFERENCES:
            user = record.key.decode("utf-8", "surrogatepass")
            if self._wanted is None or self._wanted.user(user):
                document = PREFERENCE.decode(record.value).doc if record.value else {}
                self._documents.put(user, document, record.timestamp_ms)
        elif record.topic == ENDPOINTS:
            self._take_endpoint(record)
        elif _RETRACTS in record.value:
            self._take_retraction(record)

    def _take_endpoint(self, record: Record) -> None:
        if not record.value:
            user, channel, endpoint_id = record.key.decode("utf-8", "surrogatepass").split("\0")[:3]
            new = EndpointRecord(user, channel, endpoint_id, state="invalid")
        else:
            new = ENDPOINT.decode(record.value)
            if new.gone_at is not UNSET:
                return  # a provider's verdict: the sender that heard it acts on it
        new = replace(new, address=canonical(self._served, new.channel, new.platform, new.address))
        theirs = self._wanted is None or self._wanted.user(new.user)
        if theirs:
            self._endpoints.put((new.user, new.channel, new.id), new, record.timestamp_ms)
        if new.state == "active" and new.address:
            place = new.channel, new.address
            if theirs or place in self._owners or self._wanted is None or self._wanted.address(*place):
                self._owners.put(place, new.user, record.timestamp_ms)

    def _take_retraction(self, record: Record) -> None:
        event = EVENT.decode(record.value)
        action = Action(event.type, event.object, event.actor)
        if self._wanted is None or self._wanted.action(action):
            taken = Retraction(event.ingested_at, event.target, event.parent_event_id)
            newest = [*self.retractions(action), taken][-_OF_ONE_ACTION_MAX:]
            self._retractions.put(action, newest, record.timestamp_ms)


class _Newest(OrderedDict[K, tuple[V, int]]):
    """A bounded number of entries; the one that was not written for the longest time goes."""

    def __init__(self, kept_max: int | None) -> None:
        super().__init__()
        self._kept_max = kept_max
        self.lost_ms = 0
        """What went was written at this time or before."""
        self.written = 0
        """How often something was."""

    def value(self, key: K) -> V | None:
        """What was written last; None: nothing."""
        found = self.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V, at: int) -> None:
        """Write an entry, at a time in milliseconds."""
        self[key] = value, at
        self.move_to_end(key)
        self.written += 1
        if self._kept_max is not None and len(self) > self._kept_max:
            _, (_, lost) = self.popitem(last=False)
            self.lost_ms = max(self.lost_ms, lost)
