"""What a real Kafka cluster does to the log when brokers die, freeze and come back."""

import time
from collections.abc import Iterator

import pytest
from helpers.log_harness import Harness, read_all, values

from connectors.log.interface import Log, NewRecord
from infra.services import Kafka, start_kafka
from state.model.errors import LogUnavailableError

DEADLINE_S = 3.0


@pytest.fixture(params=[1, 3])
def cluster(request: pytest.FixtureRequest) -> Iterator[Kafka]:
    started = start_kafka(request.param)
    yield started
    started.stop()


class Writer:
    """Appends numbers one by one, again when refused, and remembers which offsets were acknowledged."""

    def __init__(self, log: Log, topic: str) -> None:
        self.log, self.topic = log, topic
        self.acknowledged: dict[int, bytes] = {}
        self.refusals = 0
        self._number = 0

    def write(self, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            value = str(self._number).encode()
            try:
                (offset,) = self.log.append([NewRecord(self.topic, 0, b"", value)])
            except LogUnavailableError:
                self.refusals += 1
                continue
            self.acknowledged[offset] = value
            self._number += 1
            time.sleep(0.005)

    def check(self) -> None:
        """Every acknowledged record is there, and first appearances are in the order of appending."""
        found = read_all(self.log, self.topic)
        stored = {record.offset: record.value for record in found}
        assert {offset: stored.get(offset) for offset in self.acknowledged} == self.acknowledged
        assert list(dict.fromkeys(values(found))) == [str(number).encode() for number in range(self._number)]


def test_nothing_acknowledged_is_lost_when_a_broker_is_killed(cluster: Kafka) -> None:
    harness = Harness("kafka", cluster.bootstrap, deadline_s=DEADLINE_S)
    log = harness.open()
    writer = Writer(log, harness.topic(log))
    writer.write(0.5)
    assert writer.acknowledged
    before = len(writer.acknowledged)
    for broker in cluster.brokers:
        alone = len(cluster.brokers) == 1
        broker.kill()
        writer.write(DEADLINE_S + 2 if alone else 2)
        assert writer.refusals or not alone, "the kill must be felt"
        broker.start()
        writer.write(2)
    assert len(writer.acknowledged) > before
    writer.check()
    log.close()


def test_a_frozen_cluster_refuses_in_time_and_goes_on_after_it_thaws(cluster: Kafka) -> None:
    harness = Harness("kafka", cluster.bootstrap, deadline_s=DEADLINE_S)
    log = harness.open()
    writer = Writer(log, harness.topic(log))
    writer.write(0.5)
    for broker in cluster.brokers:
        broker.freeze()
    started = time.monotonic()
    with pytest.raises(LogUnavailableError):
        log.append([NewRecord(writer.topic, 0, b"", b"0")])
    assert time.monotonic() - started < 2 * DEADLINE_S
    for broker in cluster.brokers:
        broker.thaw()
    writer.write(DEADLINE_S + 2)
    writer.check()
    log.close()
