"""What transactional writes for one event: records for ledger and inbox, and deliveries to make; as bytes and back.

`seq` is `t:group:offset:ordinal`, `offset` the event's own in `events.p0`: its decision log has the same numbers.
"""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.log.interface import NewRecord
from flows.steps.decide.outputs import emission_record, to_deliver
from state.model.delivery import ToDeliver
from state.model.envelope import output_headers
from state.model.keys import partition_of_group
from state.model.records import Outputs

_encode = msgspec.json.Encoder().encode
SOURCE = "t"


class _StoredRecord(msgspec.Struct, array_like=True):
    """A record of the log as it is stored beside its decision."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    schema: bytes
    seq: bytes


_records = msgspec.msgpack.Decoder(list[_StoredRecord])
_deliveries = msgspec.json.Decoder(list[ToDeliver])


def output_records(out: Outputs, group: int, offset: int, partitions: dict[str, int]) -> list[NewRecord]:
    """The records of one event, in the order in which consumers must see them."""
    ledger: list[tuple[str, Any, str]] = [("ledger", each, "decision/1+json") for each in out.decisions]
    ledger += [("ledger", emission_record(each), "emission/1+json") for each in out.emissions]
    inbox: list[tuple[str, Any, str]] = [("inbox", each, "inbox/1+json") for each in out.inbox]
    user = out.decisions[0].user.encode()
    records = []
    for entries in (ledger, inbox):
        for ordinal, (topic, value, schema) in enumerate(entries):
            partition = partition_of_group(group, partitions[topic])
            headers = output_headers(schema.encode(), SOURCE, group, offset, ordinal)
            records.append(NewRecord(topic, partition, user, _encode(value), headers))
    return records


def pack_records(records: list[NewRecord]) -> bytes:
    """The records as bytes (MessagePack)."""
    return msgspec.msgpack.encode(
        [_StoredRecord(r.topic, r.partition, r.key, r.value, r.headers[0][1], r.headers[1][1]) for r in records]
    )


def unpack_records(stored: bytes) -> list[NewRecord]:
    """What `pack_records` packed."""
    return [
        NewRecord(each.topic, each.partition, each.key, each.value, (("schema", each.schema), ("seq", each.seq)))
        for each in _records.decode(stored)
    ]


def pack_deliveries(out: Outputs) -> bytes:
    """One delivery per channel of each emission, with its addresses (JSON)."""
    return _encode([to_deliver(emission, entry, "P0") for emission in out.emissions for entry in emission.devices])


def unpack_deliveries(stored: bytes) -> list[ToDeliver]:
    """What `pack_deliveries` packed."""
    return _deliveries.decode(stored)
