"""What a lane without a store takes over from the ledger, so that nothing is decided or sent a second time.

A decision on the ledger is final for its event, whatever today's settings would say. Totals go on from the last counts
of each group. Deliveries without an end on the ledger are resumed if `attempts` names them, with addresses read again
from `endpoints`. The others stay in flight in the counts: see `lost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import stored_records
from flows.steps.transactional.outputs import SOURCE
from operators.attempts import DeliveryHistory
from state.model.delivery import ChannelAddresses, DeviceAddress, ToDeliver, delivery_key
from state.model.envelope import header, parse_output_header
from state.model.keys import groups_of_partition, partition_of_group
from state.model.ledger import CountsRecord, Decision, DeliveryRecord, EmissionRecord, decode_ledger
from state.transactional.store import TransactionalTotals

_NO_COUNTS = CountsRecord(owner="transactional", group=-1, offset=-1)
_SENDS = "p"
_PREFIXES = (f"{SOURCE}:".encode(), f"{_SENDS}:".encode())


@dataclass(slots=True)
class _LedgerOfGroup:
    """One key group on the ledger: the last counts, and the records behind them."""

    counts: CountsRecord = _NO_COUNTS
    resolved: dict[tuple[int, int], bool] = field(default_factory=dict)
    """Decisions behind the counts by offset and ordinal: whether with an inbox item."""
    emitted: dict[tuple[int, int], int] = field(default_factory=dict)
    furthest: int = -1
    ended: int = 0
    """Deliveries that ended behind the counts."""

    def count(self, counts: CountsRecord) -> None:
        self.counts, self.ended = counts, 0
        self.resolved = {place: inbox for place, inbox in self.resolved.items() if place[0] > counts.offset}
        self.emitted = {place: number for place, number in self.emitted.items() if place[0] > counts.offset}

    def totals(self) -> TransactionalTotals:
        counts = self.counts
        return TransactionalTotals(
            resolved=(counts.resolved or 0) + len(self.resolved),
            emitted=(counts.emitted or 0) + sum(self.emitted.values()),
            inbox_items=(counts.inbox_items or 0) + sum(self.resolved.values()),
            fallbacks=(counts.fallbacks or 0) + max(0, -self._in_flight()),
            furthest=max(counts.offset, self.furthest),
        )

    def lost(self) -> int:
        return max(0, self._in_flight())

    def _in_flight(self) -> int:
        """Negative where fallbacks began, and ended, behind the counts."""
        return (self.counts.in_flight or 0) + sum(self.emitted.values()) - self.ended


@dataclass(slots=True)
class LedgerHistory:
    """What the ledger says of the events of one lane."""

    decided: set[int] = field(default_factory=set)
    """Their offsets in `events.p0`."""
    totals: dict[int, TransactionalTotals] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)
    """Deliveries of each group without an end on the ledger."""
    unsettled: dict[int, int] = field(default_factory=dict)
    """Decisions, by offset, with such deliveries that `attempts` knows; and when they were decided."""
    ended: set[str] = field(default_factory=set)
    """Keys of deliveries that have their end on the ledger."""

    def to_resume(self, emission: ToDeliver, histories: Mapping[str, DeliveryHistory]) -> list[ToDeliver]:
        """Of an emission that was made again, the deliveries that `attempts` knows and the ledger does not."""
        channels = [(emission.channel, emission.devices), *((each.channel, each.devices) for each in emission.rest)]
        found: list[ToDeliver] = []
        fresh = True  # nothing of it has ended: what follows may still be fallen back to
        for position, (channel, devices) in enumerate(channels):
            keys = [delivery_key(emission.emission_id, emission.user, channel, each.id) for each in devices]
            fresh = fresh and not any(key in self.ended for key in keys)
            known = tuple(
                each for each, key in zip(devices, keys, strict=True) if key in histories and key not in self.ended
            )
            if known:
                found.append(_on(emission, channel, known, emission.rest[position:] if fresh else ()))
        if len(found) > 1:
            return [_on(each, each.channel, each.devices, ()) for each in found]
        return found


def _on(
    emission: ToDeliver, channel: str, devices: tuple[DeviceAddress, ...], rest: tuple[ChannelAddresses, ...]
) -> ToDeliver:
    return msgspec.structs.replace(emission, channel=channel, devices=devices, rest=rest)


def read_ledger_history(log: Log, topic: str, number: int, histories: Mapping[str, DeliveryHistory]) -> LedgerHistory:
    """Read the ledger of a lane's key groups to its present end.

    :raises LogError: it cannot be read; nothing may be decided without it.
    :raises MalformedRecordError: a record of this flow has no proper `seq`.
    """
    mine = groups_of_partition(number, log.partitions(topic))
    count = log.partitions("ledger")
    places = [("ledger", each) for each in sorted({partition_of_group(group, count) for group in mine})]
    reading = _Reading(mine, {key.partition("/")[0] for key in histories})
    for record in stored_records(log, {place: log.begin_offset(*place) for place in places}):
        reading.take(record)
    return reading.result(histories)


class _Reading:
    def __init__(self, mine: range, known: set[str]) -> None:
        self._mine, self._known = mine, known
        self._taken = LedgerHistory()
        self._groups: dict[int, _LedgerOfGroup] = {}
        self._emissions: dict[str, tuple[int, int]] = {}

    def take(self, record: Record) -> None:
        sequence = header(record.headers, "seq")
        if sequence is None or not sequence.startswith(_PREFIXES):
            return
        _, group_number, offset, ordinal = parse_output_header(sequence)
        if group_number not in self._mine:
            return
        group = self._groups.setdefault(group_number, _LedgerOfGroup())
        match decode_ledger(record.value):
            case Decision() as decision:
                self._taken.decided.add(offset)
                group.furthest = max(group.furthest, offset)
                if offset > group.counts.offset:
                    group.resolved[offset, ordinal] = decision.inbox
                if decision.emission_id in self._known:
                    self._emissions[decision.emission_id] = (offset, decision.decided_at)
            case EmissionRecord() as emission if offset > group.counts.offset:
                group.emitted[offset, ordinal] = emission.deliveries
            case DeliveryRecord() as ended:
                key = delivery_key(ended.emission_id, ended.user, ended.channel, ended.device)
                group.ended += key not in self._taken.ended
                self._taken.ended.add(key)
            case CountsRecord(owner="transactional") as counts:
                group.count(counts)

    def result(self, histories: Mapping[str, DeliveryHistory]) -> LedgerHistory:
        taken = self._taken
        taken.totals = {number: group.totals() for number, group in self._groups.items()}
        taken.lost = {number: group.lost() for number, group in self._groups.items() if group.lost()}
        for key in histories.keys() - taken.ended:
            found = self._emissions.get(key.partition("/")[0])
            if found is not None:
                taken.unsettled[found[0]] = found[1]
        return taken
