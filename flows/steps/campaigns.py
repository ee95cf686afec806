"""Campaigns on their way: schedule orders chunks in the topic `campaigns`, and releases what was ordered there.

An order counts by its place in the topic (`state.schedule.campaigns`), so it is written first and carried out when it
is read. What a crash keeps from being carried out is carried out at the next start: a chunk's event has the same id
each time, and sequence takes it once. All that is kept is the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_records
from flows.recovery.rebuild import releases_carried_out
from operators.campaigns import chunk_event, draft_event, next_chunks
from state.model.campaign import (
    CAMPAIGN_CHUNK,
    CAMPAIGN_ORDER,
    CAMPAIGN_RELEASED,
    CampaignChunk,
    CampaignOrder,
    CampaignReleased,
    campaign_key,
    chunk_event_id,
)
from state.model.event import EVENT, event_key
from state.model.keys import key_group, partition_of_group
from state.model.registry import TypesToDate
from state.model.topics import CAMPAIGNS, EVENTS
from state.schedule.campaigns import Campaign, CampaignBook

PLACE = (CAMPAIGNS, 0)
_REMEMBERED_MS = 12 * 3_600_000
"""Of an order that is older than this, sequence may not know any more that it was carried out."""
ChunkId = tuple[str, int, int]


class CampaignRunner:
    """Used by the one owner of schedule. Until it has read what the topic held at the start, it only listens."""

    def __init__(self, log: Log, types: TypesToDate, clock: Callable[[], int], retention: timedelta) -> None:
        self.book = CampaignBook()
        self._log, self._types, self._clock, self._retention = log, types, clock, retention
        self._next_offset = log.begin_offset(*PLACE)
        self._begin_at = log.end_offset(*PLACE)
        self._has_begun = False
        self._open: dict[ChunkId, CampaignOrder] = {}
        """Orders that count and are not carried out."""
        self._asked: dict[str, set[int]] = {}
        """Orders in the topic that were not read yet, by campaign."""
        self._dropped: set[ChunkId] = set()
        """Chunks whose ends are in the topic and were not read yet."""

    @property
    def next_offset(self) -> int:
        """Where to read on."""
        return self._next_offset

    def take(self, record: Record) -> None:
        """A record of the topic.

        :raises MalformedRecordError: it does not fit; it changes nothing.
        """
        schema = dict(record.headers).get("schema", b"")
        self._next_offset = record.offset + 1
        order = self.book.take(schema, record.key, record.value, record.offset)
        if order is not None:
            self._open[order.campaign, order.generation, order.number] = order
        if not record.value:
            return
        if schema == CAMPAIGN_RELEASED.json:
            released = CAMPAIGN_RELEASED.decode(record.value)
            self._open.pop((released.campaign, released.generation, released.number), None)
        elif schema == CAMPAIGN_ORDER.json:
            read = CAMPAIGN_ORDER.decode(record.value)
            self._asked.get(read.campaign, set()).discard(read.number)

    def work(self, position: int) -> list[NewRecord]:
        """Carry out what was ordered; `position` is where the reader of the topic is."""
        self._next_offset = max(self._next_offset, position)
        if not self._has_begun:
            if self._next_offset < self._begin_at:
                return []
            self._has_begun = True
            self._drop_what_was_carried_out()
        orders, self._open = self._open, {}
        return [record for order in orders.values() for record in self._carry_out(order)]

    def due(self) -> list[NewRecord]:
        """Orders for what is due, and the end of what is never released."""
        if not self._has_begun:
            return []
        now = self._clock()
        orders = [order for campaign in self.book.campaigns.values() for order in self._orders(campaign, now)]
        garbage = set(self.book.garbage())
        dropped, self._dropped = sorted(garbage - self._dropped), garbage
        return [*map(_order, orders), *(NewRecord(*PLACE, _chunk_key(*chunk), b"", ()) for chunk in dropped)]

    def _orders(self, campaign: Campaign, now: int) -> Iterator[CampaignOrder]:
        asked = self._asked.setdefault(campaign.name, set())
        if campaign.state != "running" or campaign.audience is None or asked:
            return
        for number in next_chunks(campaign, self.book.chunks(campaign), now):
            asked.add(number)
            yield CampaignOrder(campaign.name, campaign.audience.generation, number, now)

    def _drop_what_was_carried_out(self) -> None:
        """A process that died may have handed events on without saying so; sequence knows those of the last day."""
        now = self._clock()
        old = {chunk: order for chunk, order in self._open.items() if now - order.at > _REMEMBERED_MS}
        if old:
            carried_out = releases_carried_out(self._log, now - self._retention // timedelta(milliseconds=1))
            for chunk, order in old.items():
                if carried_out.includes(chunk_event_id(*chunk), order.at):
                    del self._open[chunk]

    def _carry_out(self, order: CampaignOrder) -> Iterator[NewRecord]:
        place = self.book.ordered_chunk(order)
        if place is None:  # released before
            return
        (record,) = stored_records(self._log, {PLACE: place.offset}, {PLACE: place.offset + 1})
        chunk = CAMPAIGN_CHUNK.decode(record.value)
        yield self._event(chunk, order)
        released = CampaignReleased(order.campaign, order.generation, order.number, order.at, chunk.recipients)
        key = _chunk_key(order.campaign, order.generation, order.number)
        yield NewRecord(*PLACE, key, CAMPAIGN_RELEASED.encode(released), CAMPAIGN_RELEASED.headers)

    def _event(self, chunk: CampaignChunk, order: CampaignOrder) -> NewRecord:
        test, types = self.book.tests.get((order.campaign, order.generation)), self._types.up_to_date()
        if test is not None and test.draft is not None:
            event = draft_event(chunk, test, order.at, types)
        else:
            event = chunk_event(self.book.campaigns[order.campaign], chunk, order.at, types, test)
        topic, key = EVENTS[event.priority], event_key(event)
        partition = partition_of_group(key_group(key), self._log.partitions(topic))
        headers = (*EVENT.headers, ("lane", event.priority.lower().encode()))
        return NewRecord(topic, partition, key.encode(), EVENT.encode(event), headers)


def _chunk_key(campaign: str, generation: int, number: int) -> bytes:
    return campaign_key(campaign, "chunk", generation, number)


def _order(order: CampaignOrder) -> NewRecord:
    key = campaign_key(order.campaign, "order", order.generation, order.number)
    return NewRecord(*PLACE, key, CAMPAIGN_ORDER.encode(order), CAMPAIGN_ORDER.headers)
