"""A data directory of flows whose log is a real Kafka."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from helpers.feeding import PARTITIONS, System

from connectors.log.interface import Record
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.options import KafkaOptions
from connectors.log.topics import topic_specs

_POLL = timedelta(milliseconds=200)


class KafkaSystem(System):
    """As `System`; several directories may share the topics of a prefix."""

    def __init__(self, directory: Path, bootstrap: str, prefix: str) -> None:
        self.directory, self.bootstrap, self.prefix = directory, bootstrap, prefix
        options = KafkaOptions(deadline=timedelta(seconds=60))
        self.log = KafkaLog(bootstrap, prefix=prefix, options=options)  # type: ignore[assignment]  # the other profile
        self.log.ensure_topics(topic_specs(PARTITIONS, timedelta(days=7)))
        self._work_offset = 0

    def environment(self) -> dict[str, str]:
        given = {
            "CARILLON_PROFILE": "kafka",
            "CARILLON_KAFKA__BOOTSTRAP": self.bootstrap,
            "CARILLON_LOG__PREFIX": self.prefix,
        }
        return {**super().environment(), **given}

    def read(self, topic: str) -> list[Record]:
        places = [(topic, partition) for partition in range(self.log.partitions(topic))]
        ends = {place: self.log.end_offset(*place) for place in places}
        reader = self.log.reader({place: self.log.begin_offset(*place) for place in places})
        records: list[Record] = []
        while any(reader.position()[place] < end for place, end in ends.items()):
            records += reader.poll(10_000, _POLL)
        reader.close()
        return sorted(records, key=lambda record: (record.partition, record.offset))
