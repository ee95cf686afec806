"""The outputs of decide as records of its topics (TOPICS.md): the same bytes whenever the same record is decided
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

from connectors.log import NewRecord
from connectors.log.topics import deliver_partition
from state.model.delivery import WITHDRAWAL, ChannelAddresses, DigestItem, ToDeliver, Withdrawal, named_actor
from state.model.envelope import seq_of
from state.model.event import Event
from state.model.inbox import INBOX
from state.model.keys import KEY_GROUPS
from state.model.ledger import COUNTS, DECISION, EMISSION, CountsRecord, EmissionRecord
from state.model.records import Emission, Outputs
from state.model.topics import DELIVER

if TYPE_CHECKING:
    from flows.steps.decide.slice_outputs import SliceRecord
    from state.decide.group import GroupState  # with columns, which are heavy: transactional writes the same records

_encode = msgspec.json.Encoder().encode
SOURCE = "d"
ITEMS_MAX = 1_000
"""Of a notification that is no digest: as exact as inbox rows are (RULES 3.G)."""
DIGEST_ITEMS_MAX = 4_000
DIGEST_PAYLOADS_MAX_BYTES = 3 << 20
"""Of all payloads of a digest as JSON: with the items themselves it stays below what the log takes as one record."""
_SLICE_ORDINALS = 1 << 20
"""Ordinal of the first batch of a work record: above those of its single records."""
_BEHIND_SLICES = 1 << 29
"""Of single records of the ledger where a hold of many ended."""


class OutputWriter:
    """Encodes the outputs of one key group, numbering those of one work record per topic."""

    def __init__(self, group: int, partitions: int) -> None:
        self._group = group
        self._partition = group * partitions // KEY_GROUPS
        self._partitions = partitions
        self._key = str(group).encode()
        self._seq = seq_of(SOURCE, group)

    def encode(
        self, state: GroupState, out: Outputs, offset: int, encoded: Sequence[SliceRecord | None] | None = None
    ) -> list[NewRecord]:
        """Every output of the work record at `offset`; `encoded`: what its only slice leaves behind, where known."""
        others = [
            self._record("inbox", self._partition, each.user.encode(), _encode(each), INBOX.json, offset, ordinal)
            for ordinal, each in enumerate(out.inbox)
        ]
        if out.emissions or out.withdrawals:
            others += self._deliveries(out, offset, state.ahead)
        if out.slices:
            others += self._slices(state, out, offset, encoded)
        if not out.slices or all(part.is_new for part in out.slices):
            return self._ledger(out, offset, 0) + others
        # Who was held again in a slice may have ended alone since; never the other way round.
        return others + self._ledger(out, offset, _BEHIND_SLICES)

    def _ledger(self, out: Outputs, offset: int, first: int) -> list[NewRecord]:
        records = [
            self._record("ledger", self._partition, each.user.encode(), _encode(each), DECISION.json, offset, ordinal)
            for ordinal, each in enumerate(out.decisions, first)
        ]
        for ordinal, emission in enumerate(out.emissions, first + len(records)):
            value, key = _encode(emission_record(emission)), emission.user.encode()
            records.append(self._record("ledger", self._partition, key, value, EMISSION.json, offset, ordinal))
        return records

    def counts(self, terms: tuple[int, ...], offset: int) -> NewRecord:
        """The running totals of decide as of `offset`; a tick has no other output to the ledger after it."""
        resolved, held, aggregating, emitted, inbox_items = terms
        counts = CountsRecord(
            owner="decide", group=self._group, offset=offset, resolved=resolved, held=held, aggregating=aggregating,
            emitted=emitted, inbox_items=inbox_items,
        )  # fmt: skip
        return self._record("ledger", self._partition, self._key, _encode(counts), COUNTS.json, offset, 1 << 30)

    def _slices(
        self, state: GroupState, out: Outputs, offset: int, encoded: Sequence[SliceRecord | None] | None
    ) -> list[NewRecord]:
        """Batches, numbered from the middle of the ordinals on: single records come before them."""
        from flows.steps.decide.slice_outputs import slice_records  # with pyarrow: transactional has none

        slices = [slice_records(state, part) for part in out.slices] if encoded is None else [encoded]
        pairs = zip(out.slices, slices, strict=True)
        numbered = [(record, part.event.priority) for part, written in pairs for record in written]
        records = []
        for ordinal, (each, priority) in enumerate(numbered, start=_SLICE_ORDINALS):
            if each is None:
                continue
            in_lane = each.topic not in ("ledger", "inbox")
            partition = deliver_partition(priority, self._partition, self._partitions) if in_lane else self._partition
            record = self._record(each.topic, partition, self._key, each.value, each.schema.encode(), offset, ordinal)
            records.append(record)
        return records

    def _deliveries(self, out: Outputs, offset: int, ahead: int) -> list[NewRecord]:
        ordinals: dict[str, int] = {}
        records = []
        for emission in out.emissions:
            priority = emission.event.priority if emission.type != "digest" else "P1"
            for entry in emission.devices:
                topic = DELIVER[entry.channel]
                ordinal = ordinals[topic] = ordinals.get(topic, -1) + 1
                partition = deliver_partition(priority, self._partition, self._partitions)
                value = _encode(to_deliver(emission, entry, priority, ahead))
                record = self._record(topic, partition, emission.user.encode(), value, EMISSION.json, offset, ordinal)
                headers = *record.headers, ("lane", priority.lower().encode())
                records.append(NewRecord(topic, partition, record.key, value, headers))
        withdrawals = [msgspec.structs.replace(each, decided_at=each.decided_at - ahead) for each in out.withdrawals]
        return records + self._withdrawals(withdrawals, offset, ordinals.get(DELIVER["push"], -1) + 1)

    def _withdrawals(self, withdrawals: list[Withdrawal], offset: int, first: int) -> list[NewRecord]:
        """Behind the emissions that came before them."""
        return [
            self._record(
                DELIVER["push"], deliver_partition(each.priority, self._partition, self._partitions),
                each.user.encode(), _encode(each), WITHDRAWAL.json, offset, ordinal,
            )
            for ordinal, each in enumerate(withdrawals, start=first)
        ]  # fmt: skip

    def _record(
        self, topic: str, partition: int, key: bytes, value: bytes, schema: bytes, offset: int, ordinal: int
    ) -> NewRecord:
        return NewRecord(topic, partition, key, value, (("schema", schema), ("seq", self._seq % (offset, ordinal))))


def emission_record(emission: Emission) -> EmissionRecord:
    """The emission on the ledger."""
    return EmissionRecord(
        emission_id=emission.emission_id, first_event_id=emission.first_event_id, user=emission.user,
        type=emission.type, object=emission.object, count=emission.count, actors=emission.actors,
        channels=emission.channels, decided_at=emission.decided_at, deliveries=emission.deliveries,
    )  # fmt: skip


def _digest_items(events: list[Event]) -> tuple[DigestItem, ...]:
    """The items as far as a record of the log can hold them: the first many, and the first of these with payload."""
    items, left = [], DIGEST_PAYLOADS_MAX_BYTES
    for event in events[:DIGEST_ITEMS_MAX]:
        left -= len(_encode(event.payload))
        payload = event.payload if left >= 0 else None
        items.append(DigestItem(event.event_id, event.type, event.actor, event.object, payload))
    return tuple(items)


def _items(emission: Emission) -> tuple[tuple[str, str | None], ...] | UnsetType:
    """What tells deliver whether all of it was taken back (RULES 3.F)."""
    if emission.type == "digest" or not 1 < emission.count <= ITEMS_MAX:
        return UNSET
    return tuple((event.event_id, event.actor) for event in emission.items)


def _names(emission: Emission) -> tuple[str | None, ...] | UnsetType:
    """For the text of those that are left when some are taken back: of payloads it has the first one's alone."""
    if emission.type == "digest" or not 1 < emission.count <= ITEMS_MAX:
        return UNSET
    names = tuple(named_actor(event.payload) for event in emission.items)
    return names if any(names) else UNSET


def to_deliver(emission: Emission, entry: ChannelAddresses, priority: str, ahead: int = 0) -> ToDeliver:
    """What the lane of one channel needs; `rest` are the channels to fall back to. Times are by the machine's clock, as
    the lane's are: it is behind those of decisions by `ahead`.
    """
    event = emission.event
    return ToDeliver(
        emission_id=emission.emission_id,
        user=emission.user,
        type=emission.type,
        object=emission.object,
        count=emission.count,
        actors=tuple(emission.actors),
        actor_count=emission.actor_count,
        first=emission.first,
        first_event_id=emission.first_event_id,
        priority=priority,
        sender_id=event.sender_id,
        campaign=event.object if event.fan_out_type in ("SEGMENT", "BROADCAST") else None,
        category=emission.category,
        channel=entry.channel,
        devices=entry.devices,
        rest=emission.rest,
        policy=emission.policy,
        payload=event.payload,
        locale=emission.locale,
        name=emission.name,
        decided_at=emission.decided_at - ahead,
        ingested_at=event.ingested_at,
        valid_until=emission.valid_until - ahead,
        digest_items=_digest_items(emission.items) if emission.type == "digest" else None,
        quiet=UNSET if priority == "P0" or emission.quiet is None else emission.quiet,
        items=_items(emission),
        names=_names(emission),
        draft=event.draft,
    )
