"""Campaigns on their way: schedule orders chunks in the topic `campaigns`, and releases what was ordered there.

An order counts by its place in the topic (`state.schedule.campaigns`), so it is written first and carried out when it
is read. What a crash keeps from being carried out is carried out at the next start: a chunk's event has the same id
each time, and sequence takes it once. That it was carried out is said when the event is in the log: the sink of the
flow may write the word first, or alone. All that is kept is the topic.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

from connectors.campaigns import PLACE, act_record
from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_records
from flows.recovery.rebuild import releases_carried_out
from operators.campaigns import chunk_event, draft_event, next_chunks, part_event
from state.model.campaign import (
    CAMPAIGN_CHUNK,
    CAMPAIGN_ORDER,
    CAMPAIGN_RELEASED,
    CampaignAct,
    CampaignChunk,
    CampaignOrder,
    CampaignReleased,
    campaign_key,
    chunk_event_id,
)
from state.model.event import EVENT, Event, event_key
from state.model.keys import key_group, partition_of_group
from state.model.registry import TypesToDate
from state.model.topics import EVENTS
from state.schedule.campaign import Campaign
from state.schedule.campaigns import CampaignBook
from state.schedule.rollouts import Rollout

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
        self._forgotten: set[bytes] = set()
        """Keys of records of rollouts of which the same is true."""

    @property
    def next_offset(self) -> int:
        """Where to read on."""
        return self._next_offset

    def take(self, record: Record) -> None:
        """A record of the topic; one that was taken before changes nothing.

        :raises MalformedRecordError: it does not fit; it changes nothing.
        """
        if record.offset < self._next_offset:
            return
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

    def unread(self) -> list[Record]:
        """What the topic holds beyond the place to read on."""
        return list(stored_records(self._log, {PLACE: self._next_offset}, {PLACE: self._log.end_offset(*PLACE)}))

    def work(self, position: int) -> list[NewRecord]:
        """Carry out what was ordered, and give the word of it; `position` is where the reader of the topic is.

        :raises LogError: the events could not be appended.
        """
        self._next_offset = max(self._next_offset, position)
        if not self._has_begun:
            if self._next_offset < self._begin_at:
                return []
            self._has_begun = True
            self._drop_what_was_carried_out()
        orders, self._open = self._open, {}
        done = [made for order in orders.values() if (made := self._carried_out(order)) is not None]
        self._log.append([event for event, _ in done])
        return [released for _, released in done]

    def due(self) -> list[NewRecord]:
        """Orders for what is due, and the end of what is never released."""
        if not self._has_begun:
            return []
        now = self._clock()
        orders = [order for campaign in self.book.campaigns.values() for order in self._orders(campaign, now)]
        garbage = set(self.book.garbage())
        dropped, self._dropped = sorted(garbage - self._dropped), garbage
        emptied = [*map(_chunk_key, dropped), *self._forget(now)]
        return [*map(_order, orders), *(NewRecord(*PLACE, key, b"", ()) for key in emptied)]

    def _forget(self, now: int) -> list[bytes]:
        """The keys of rollouts that nobody asks for any more, also of a begin that came when the others had gone."""
        before, self._forgotten = self._forgotten, set()
        forgotten = []
        for rollout in self.book.forgettable(now):
            self._asked.pop(rollout.name, None)
            forgotten += [key for key in rollout.record_keys() if key not in before]
            self._forgotten.update(rollout.record_keys())
        return forgotten

    def retract(self, retraction: Event) -> list[NewRecord]:
        """The ends of the rollouts that it cancels. Read again after a crash, it may say so once more, in a record of
        its own: the first counts, also after compaction.
        """
        return [act_record(_cancel(retraction, rollout)) for rollout in self.book.retracted_by(retraction)]

    def _orders(self, campaign: Campaign, now: int) -> Iterator[CampaignOrder]:
        if campaign.state != "running" or campaign.audience is None or self._asked.get(campaign.name):
            return
        for number in self._next(campaign, now):
            self._asked.setdefault(campaign.name, set()).add(number)
            yield CampaignOrder(campaign.name, campaign.audience.generation, number, now)

    def _next(self, campaign: Campaign, now: int) -> Iterable[int]:
        if not isinstance(campaign, Rollout):
            return next_chunks(campaign, self.book.chunks(campaign), now)
        at = campaign.next_at()
        return () if at is None or at > now else (len(campaign.ordered),)

    def _drop_what_was_carried_out(self) -> None:
        """A process that died may have handed events on without saying so; sequence knows those of the last day."""
        now = self._clock()
        old = {chunk: order for chunk, order in self._open.items() if now - order.at > _REMEMBERED_MS}
        if old:
            carried_out = releases_carried_out(self._log, now - self._retention // timedelta(milliseconds=1))
            for chunk, order in old.items():
                if carried_out.includes(chunk_event_id(*chunk), order.at):
                    del self._open[chunk]

    def _carried_out(self, order: CampaignOrder) -> tuple[NewRecord, NewRecord] | None:
        """The event, and the word that it was handed on; None: it was released before."""
        rollout = self.book.campaigns.get(order.campaign)
        made = self._part(rollout, order) if isinstance(rollout, Rollout) else self._chunk(order)
        if made is None:
            return None
        event, recipients = made
        released = CampaignReleased(order.campaign, order.generation, order.number, order.at, recipients)
        key = _chunk_key((order.campaign, order.generation, order.number))
        word = NewRecord(*PLACE, key, CAMPAIGN_RELEASED.encode(released), CAMPAIGN_RELEASED.headers)
        return self._record(event), word

    def _part(self, rollout: Rollout, order: CampaignOrder) -> tuple[Event, int] | None:
        if order.number in rollout.released:
            return None
        part = rollout.part(order.number)
        return part_event(rollout, order.number, order.at), part.end - part.begin

    def _chunk(self, order: CampaignOrder) -> tuple[Event, int] | None:
        place = self.book.ordered_chunk(order)
        if place is None:
            return None
        (record,) = stored_records(self._log, {PLACE: place.offset}, {PLACE: place.offset + 1})
        chunk = CAMPAIGN_CHUNK.decode(record.value)
        return self._event(chunk, order), chunk.recipients

    def _event(self, chunk: CampaignChunk, order: CampaignOrder) -> Event:
        test, types = self.book.tests.get((order.campaign, order.generation)), self._types.up_to_date()
        if test is not None and test.draft is not None:
            return draft_event(chunk, test, order.at, types)
        return chunk_event(self.book.campaigns[order.campaign], chunk, order.at, types, test)

    def _record(self, event: Event) -> NewRecord:
        topic, key = EVENTS[event.priority], event_key(event)
        partition = partition_of_group(key_group(key), self._log.partitions(topic))
        headers = (*EVENT.headers, ("lane", event.priority.lower().encode()))
        return NewRecord(topic, partition, key.encode(), EVENT.encode(event), headers)


def _chunk_key(chunk: ChunkId) -> bytes:
    campaign, generation, number = chunk
    return campaign_key(campaign, "chunk", generation, number)


def _cancel(retraction: Event, rollout: Rollout) -> CampaignAct:
    return CampaignAct(
        id=secrets.token_hex(8), campaign=rollout.name, revision=rollout.revision, verb="cancel",
        by=retraction.sender_id, at=retraction.ingested_at,
    )  # fmt: skip


def _order(order: CampaignOrder) -> NewRecord:
    key = campaign_key(order.campaign, "order", order.generation, order.number)
    return NewRecord(*PLACE, key, CAMPAIGN_ORDER.encode(order), CAMPAIGN_ORDER.headers)
