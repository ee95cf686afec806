"""A client that fetches nothing any more is found out and replaced; one that merely has nothing to fetch never is."""

import time
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import TopicPartition as KafkaTopicPartition
from helpers.log_harness import Harness

from connectors.log.interface import NewRecord
from connectors.log.kafka.arrivals import ArrivalWatch, KnownEnd
from connectors.log.kafka.log import KafkaLog

A, B = ("t", 0), ("t", 1)
EVERY_S = 5.0


class End:
    def __init__(self, offset: int) -> None:
        self.offset = offset


class Ends:
    """What the brokers answer from now on; None: nothing."""

    def __init__(self, **_: object) -> None:
        self.known: dict[tuple[str, int], int | None] = {A: 0, B: 0}

    def ask(self, places: Any) -> dict[tuple[str, int], "Future[KnownEnd]"]:
        found: dict[tuple[str, int], Future[KnownEnd]] = {place: Future() for place in places}
        for place, future in found.items():
            if (end := self.known[place]) is not None:
                future.set_result(End(end))
        return found


def looks(watch: ArrivalWatch, fetched: dict[tuple[str, int], int], count: int, start_s: float = 0) -> list[int]:
    """At which of so many looks something was found stuck, where nothing more is fetched."""
    return [n for n in range(count) if watch.stuck(dict(fetched), start_s + n * EVERY_S)]


def test_two_looks_that_find_the_same_missing_make_it_stuck_and_each_further_client_gets_longer() -> None:
    ends = Ends()
    ends.known = {A: 9, B: 4}
    assert looks(ArrivalWatch(ends.ask, 0), {A: 5, B: 4}, 15) == [2, 6, 14]


def test_what_comes_late_what_ends_and_what_no_broker_answers_is_not_stuck() -> None:
    ends = Ends()
    watch = ArrivalWatch(ends.ask, 0)
    for fetched in range(20):  # something comes between any two looks, however far behind it is
        ends.known = {A: fetched + 1000, B: 4}
        assert not watch.stuck({A: fetched, B: 4}, fetched * EVERY_S)
    ends.known = {A: 19, B: 4}
    assert not looks(watch, {A: 19, B: 4}, 20)
    ends.known = {A: None, B: None}
    assert looks(watch, {A: 19, B: 4}, 20) == []


def test_it_is_due_after_a_while_only() -> None:
    watch = ArrivalWatch(Ends().ask, 100.0)
    assert not watch.is_due(100.0 + EVERY_S / 2)
    assert watch.is_due(100.0 + EVERY_S)


@pytest.mark.parametrize("silent", [0, 1])
def test_a_client_that_stopped_fetching_is_replaced_and_nothing_is_missed_or_given_twice(
    kafka_bootstrap: str, silent: int
) -> None:
    harness = Harness("kafka", kafka_bootstrap)
    log = harness.open()
    assert isinstance(log, KafkaLog)
    topic = harness.topic(log, partitions=2)
    reader = log.reader({(topic, 0): 0, (topic, 1): 0})
    reader._watch = ArrivalWatch(log._ask_ends, time.monotonic(), timedelta(milliseconds=200))
    found: list[tuple[int, bytes]] = []

    def read(count: int) -> None:
        for _ in range(150):
            if len(found) >= count:
                return
            found.extend((each.partition, each.value) for each in reader.poll(100, timedelta(milliseconds=100)))

    log.append([NewRecord(topic, number, b"", b"before") for number in (0, 1)])
    read(2)
    first = reader._consumer
    first.pause([KafkaTopicPartition(harness.prefix + topic, silent)])  # behind the reader's back
    log.append([NewRecord(topic, number, b"", b"after %d" % n) for number in (0, 1) for n in range(3)])
    read(8)
    assert reader._consumer is not first
    assert sorted(found) == sorted(
        [(number, b"before") for number in (0, 1)] + [(number, b"after %d" % n) for number in (0, 1) for n in range(3)]
    )
    reader.close()
    log.close()
