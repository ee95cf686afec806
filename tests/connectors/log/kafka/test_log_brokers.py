"""What a real Kafka cluster does to the log when brokers die, freeze and come back."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from helpers.log_harness import Harness, read_all, values

from connectors.log.interface import Log, NewRecord
from connectors.log.kafka.log import KafkaLog
from infra.services import Kafka, start_kafka
from state.model.errors import LogUnavailableError

DEADLINE_S = 3.0


SESSION = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
"""A dead broker is noticed in three seconds instead of nine, so that tests need not wait."""


@pytest.fixture(params=[1, 3], scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Kafka]:
    started = start_kafka(request.param, SESSION)
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
            if self._write_one():
                time.sleep(0.005)

    def _write_one(self) -> bool:
        value = str(self._number).encode()
        try:
            (offset,) = self.log.append([NewRecord(self.topic, 0, b"", value)])
        except LogUnavailableError:
            self.refusals += 1
            return False
        self.acknowledged[offset] = value
        self._number += 1
        return True

    def settle(self) -> None:
        """What was refused last may be stored all the same: go on until it is acknowledged."""
        give_up = time.monotonic() + 60
        while not self._write_one():
            assert time.monotonic() < give_up, "the brokers do not come back"

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
    writer.settle()
    before = len(writer.acknowledged)
    for broker in cluster.brokers:
        alone = len(cluster.brokers) == 1
        broker.kill()
        writer.write(DEADLINE_S + 2 if alone else 2)
        assert writer.refusals or not alone, "the kill must be felt"
        broker.start()
        writer.write(2)
        writer.settle()
    assert len(writer.acknowledged) > before
    writer.check()
    log.close()


def test_a_frozen_cluster_refuses_in_time_and_goes_on_after_it_thaws(cluster: Kafka) -> None:
    harness = Harness("kafka", cluster.bootstrap, deadline_s=DEADLINE_S)
    log = harness.open()
    writer = Writer(log, harness.topic(log))
    writer.write(0.5)
    writer.settle()
    for broker in cluster.brokers:
        broker.freeze()
    started = time.monotonic()
    with pytest.raises(LogUnavailableError):
        log.append([NewRecord(writer.topic, 0, b"", b"0")])
    assert time.monotonic() - started < 60, "the client's own deadline is minutes away"
    for broker in cluster.brokers:
        broker.thaw()
    writer.write(DEADLINE_S + 2)
    writer.settle()
    writer.check()
    log.close()


def append_patiently(log: Log, topic: str, number: int) -> int:
    """Append the number, or the next one where it is refused; gives the number that was acknowledged."""
    give_up = time.monotonic() + 60
    while True:
        try:
            log.append([NewRecord(topic, 0, b"", b"%d" % number)])
        except LogUnavailableError:
            assert time.monotonic() < give_up, "the brokers do not come back"
            number += 1
        else:
            return number


def test_what_failed_is_never_stored_behind_what_followed(cluster: Kafka) -> None:
    """A frozen broker stores, when it wakes, what it had received: it must not come after what was appended then."""
    harness = Harness("kafka", cluster.bootstrap, deadline_s=1.0)
    log = harness.open()
    topic = harness.topic(log)
    append_patiently(log, topic, 0)
    for broker in cluster.brokers:
        broker.freeze()
    try:
        for number in (1001, 1002, 1003):
            with pytest.raises(LogUnavailableError):
                log.append([NewRecord(topic, 0, b"", b"%d" % number)])
    finally:
        for broker in cluster.brokers:
            broker.thaw()
    last = append_patiently(log, topic, 1004)
    time.sleep(1)
    numbers = [int(value) for value in values(read_all(log, topic))]
    assert numbers == sorted(set(numbers)), "a failed append was stored behind a later one, or twice"
    assert numbers[-1] == last
    log.close()


def patiently(question: Callable[[], Any]) -> Any:
    """The answer; a broker may not know yet of a topic that another one has made."""
    give_up = time.monotonic() + 60
    while True:
        try:
            return question()
        except (KeyError, KafkaException):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def test_topics_get_a_copy_on_each_of_three_brokers_and_no_leader_that_lacks_records(cluster: Kafka) -> None:
    harness = Harness("kafka", cluster.bootstrap)
    log = harness.open()
    name = harness.prefix + harness.topic(log)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    found = patiently(lambda: admin.list_topics(timeout=10).topics[name].partitions[0])
    assert len(found.replicas) == len(cluster.brokers)
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name)]
    described = patiently(lambda: next(iter(admin.describe_configs(asked).values())).result(10))
    config = {entry.name: entry.value for entry in described.values()}
    assert config["unclean.leader.election.enable"] == "false"
    assert config["min.insync.replicas"] == ("2" if len(cluster.brokers) == 3 else "1")
    log.close()


def test_a_record_whose_offset_a_broker_has_forgotten_is_found(cluster: Kafka) -> None:
    """A broker that was restarted says of what is sent to it again that it has it, and not where."""
    harness = Harness("kafka", cluster.bootstrap)
    log = harness.open()
    assert isinstance(log, KafkaLog)
    topic = harness.topic(log, 2)
    log.append([NewRecord(topic, number % 2, b"", b"same") for number in range(6)])
    before = dict(log._stored)
    records = [NewRecord(topic, number % 2, b"k%d" % number, b"same", (("h", b"x"),)) for number in range(6)]
    records[2:2] = [NewRecord(topic, 0, b"", b""), NewRecord(topic, 1, b"", b"same")]
    offsets = log.append(records)
    assert log._located(records, [None] * len(records), before) == offsets
    some = [None if number % 3 else offset for number, offset in enumerate(offsets)]
    assert log._located(records, some, before) == offsets
    fresh = harness.open()
    assert isinstance(fresh, KafkaLog)
    assert fresh._located(records[:1], [None], {}) == offsets[:1], "nothing is known of before: found by time"
    with pytest.raises(LogUnavailableError):
        log._located([NewRecord(topic, 0, b"never", b"")], [None], before)
    fresh.close()
    log.close()
