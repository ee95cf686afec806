"""What a sending flow writes besides `attempts`: delivery records and counts, verdicts on addresses, dead letters,
and in `outcomes` what was withdrawn.

Their `seq` is `source:group:run:number`: `source` is `s` for deliver and `p` for transactional, `run` the millisecond
at which the process started, `number` counts from 0 per process. So it rises per group, and a record that is written
again after a crash, with the same key and content, is above the mark: the ledger keeps the last of a key.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from connectors.log.interface import NewRecord
from connectors.metrics import DEAD_LETTERS
from connectors.outcomes import outcome_record
from flows.steps.lanes.parts import LaneParts
from flows.steps.sending.records import delivery_record, kind_of
from flows.steps.sending.task import SendTask
from state.model.dead_letter import LETTER_SCHEMA, DeadLetter, failed_delivery_id
from state.model.envelope import output_headers
from state.model.keys import key_group, partition_of_group
from state.model.outcome import WITHDRAWN

_encode = msgspec.json.Encoder().encode
OUTPUT_TOPICS = ("ledger", "endpoints", "dead_letters")
_SOURCES = {"deliver": "s", "transactional": "p"}


class LedgerWriter:
    """Encodes for one lane; for one thread at a time."""

    def __init__(self, parts: LaneParts) -> None:
        self._parts, self._source = parts, _SOURCES[parts.station]
        self._partitions = {topic: parts.log.partitions(topic) for topic in OUTPUT_TOPICS}
        self._number = 0
        self._taken = Counter[str]()
        """Messages, by provider, of which `verdicts` has not heard."""

    def records_of_end(self, task: SendTask, came_from: tuple[str, int, int]) -> list[NewRecord]:
        """Everything that follows from the end of a delivery; `came_from` is topic, partition, offset."""
        emission, history = task.emission, task.history
        group = key_group(emission.user)
        key = emission.user.encode()
        records = [self.record("ledger", group, key, delivery_record(task), "delivery/1+json"), *self._verdict(task)]
        kind = kind_of(history.reason)
        if kind != "failed" or (history.outcome == "DEAD_LETTER" and len(records) == 1):
            letter = DeadLetter(
                id=failed_delivery_id(self._parts.station, came_from, task.key),
                source=came_from,
                kind=kind,
                error=history.reason or "",
                event_id=emission.first_event_id,
                sender_id=emission.sender_id,
                type=emission.type,
                stage=self._parts.station,
                at=history.ended_at or 0,
            )
            records.append(self.record("dead_letters", group, key, letter, LETTER_SCHEMA.decode()))
            DEAD_LETTERS.labels(self._parts.station).inc()
        return records

    def withdrawn(self, task: SendTask) -> list[NewRecord]:
        """Everything that follows from the end of a withdrawal: nothing on the ledger, and no dead letter."""
        emission, history = task.emission, task.history
        if history.outcome != "DELIVERED" or task.siblings.replaces:
            return self._verdict(task)
        heard = outcome_record(
            WITHDRAWN, user=emission.user, channel=task.channel, device=task.device.id,
            emission_id=emission.emission_id, first_event_id=emission.first_event_id, provider=history.provider,
            provider_id=history.provider_id, at=history.ended_at or 0, partitions=self._parts.log.partitions,
        )  # fmt: skip
        return [heard]

    def count(self) -> None:
        """Tell `verdicts` what was taken: for many messages at once, since each word takes a lock."""
        for provider, count in self._taken.items():
            self._parts.verdicts.taken(provider, count, self._parts.now_ms())
        self._taken.clear()

    def _verdict(self, task: SendTask) -> list[NewRecord]:
        """What the provider says of the address, if that is believed."""
        if task.history.gone_at is None:
            if task.history.outcome == "DELIVERED":
                self._taken[task.history.provider or ""] += 1
            return []
        self.count()
        verdict = self._parts.verdicts.of(task, self._parts.now_ms())
        if verdict is None:
            return []
        gone_key = f"{verdict.user}\0{verdict.channel}\0{verdict.id}\0gone".encode()
        return [self.record("endpoints", key_group(verdict.user), gone_key, verdict, "endpoint/1+json")]

    def record(self, topic: str, group: int, key: bytes, value: Any, schema: str) -> NewRecord:
        """A record of a group with the next `seq`."""
        headers = output_headers(schema.encode(), self._source, group, self._parts.run_ms, self._number)
        self._number += 1
        partition = partition_of_group(group, self._partitions[topic])
        return NewRecord(topic, partition, key, _encode(value), headers)
