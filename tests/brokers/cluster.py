"""Three brokers, what can happen to them, and proof that it did."""

import contextlib
import itertools
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata
from helpers.waiting import wait_for

from connectors.log.interface import TopicSpec
from connectors.log.kafka.log import _CLIENT, KafkaLog
from infra.services import Kafka, Process, start_kafka

SESSION = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
"""A dead broker is noticed in three seconds instead of nine, so that tests need not wait."""
DISK_BYTES = 192 << 20
PROBE = "probe"
FULL = ("No space left", "File too large")


class Disk:
    """The small disk of one broker: a file system in memory where that may be mounted, else a limit on its files."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.mounted = False

    def make(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        if os.geteuid() == 0:
            command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "carillon-test", str(path)]
            self.mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0

    def fill(self, broker: Process) -> None:
        """No byte more can be written."""
        if not self.mounted:
            resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (1, 1))
            return
        assert self.path is not None
        with (self.path / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(b"\0" * 65_536)

    def free(self) -> None:
        if self.mounted and self.path is not None:
            (self.path / "ballast").unlink()

    def remove(self) -> None:
        if self.mounted and self.path is not None:
            subprocess.run(["umount", "-l", str(self.path)], check=False)
            self.mounted = False


class Brokers:
    """A cluster of three, one of them with a small disk."""

    def __init__(self, kafka: Kafka, disk: Disk) -> None:
        self.kafka, self.disk = kafka, disk
        self.small = kafka.brokers[2]
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0, **_CLIENT})

    def leader_of(self, topic: str, partition: int) -> Process:
        """The broker that leads a partition."""
        return self.kafka.brokers[self._cluster().topics[topic].partitions[partition].leader - 1]

    def wait_in_sync(self) -> None:
        """Until every broker lives and has a copy in sync of all that it should."""
        wait_for(self._in_sync, 90, "all copies in sync", every_s=0.25)

    def wait_noticed(self, broker: Process) -> None:
        """Until the others know that this broker does not answer."""
        node = self.kafka.brokers.index(broker) + 1
        wait_for(lambda: node not in self._cluster().brokers, 120, "the loss of the broker being noticed", every_s=0.25)

    def _in_sync(self) -> bool:
        found = self._cluster()
        parts = [part for topic in found.topics.values() for part in topic.partitions.values()]
        return len(found.brokers) == 3 and all(len(part.isrs) == len(part.replicas) for part in parts)

    def make_probe(self) -> None:
        """A topic with a partition on each broker."""
        with contextlib.closing(KafkaLog(self.kafka.bootstrap)) as log:
            log.ensure_topics([TopicSpec(PROBE, 3, retention_ms=3_600_000)])
        wait_for(lambda: PROBE in self._cluster().topics, 20, "the topic being known to every broker", every_s=0.25)
        assert {len(part.replicas) for part in self._cluster().topics[PROBE].partitions.values()} == {3}

    def _cluster(self) -> ClusterMetadata:
        """What the brokers that answer say; asked again while connections come and go."""
        end = time.monotonic() + 20
        while True:
            try:
                return self._admin.list_topics(timeout=3)
            except KafkaException:
                assert time.monotonic() < end, "no broker answers"


class Probe:
    """Appends to a partition of each broker all the time; knows when each was last refused and served again."""

    def __init__(self, bootstrap: str) -> None:
        settings = {"acks": "all", "delivery.timeout.ms": 1000, "linger.ms": 0, "log_level": 0, **_CLIENT}
        self._producer = Producer({"bootstrap.servers": bootstrap, **settings})
        self.served: dict[int, list[float]] = {0: [], 1: [], 2: []}
        """When appends were begun that were acknowledged, by partition."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            for partition, served in self.served.items():
                self._producer.produce(PROBE, b"", partition=partition, on_delivery=self._note(served))
            self._producer.poll(0.1)
            time.sleep(0.05)

    def _note(self, served: list[float]) -> Callable[[object, object], None]:
        def note(error: object, _message: object) -> None:
            if error is None:
                served.append(time.time())

        return note

    def back_since(self, moment: float) -> float | None:
        """When every partition was served again after that moment; None: not yet."""
        firsts = [next((at for at in served if at > moment), None) for served in self.served.values()]
        return None if None in firsts else max(first for first in firsts if first is not None)

    def longest_gap_s(self, begin: float, end: float) -> float:
        """The longest time in which a partition was not served."""
        gaps = [0.0]
        for served in self.served.values():
            moments = [begin, *(at for at in served if begin < at < end), end]
            gaps += [later - earlier for earlier, later in itertools.pairwise(moments)]
        return max(gaps)

    def close(self) -> None:
        self._ending.set()
        self._thread.join(5)


@contextlib.contextmanager
def three_brokers() -> Iterator[Brokers]:
    """A cluster that is gone afterwards."""
    disk = Disk()
    try:
        kafka = start_kafka(3, SESSION, make_disk=lambda node, path: disk.make(path) if node == 3 else path.mkdir())
        try:
            brokers = Brokers(kafka, disk)
            brokers.make_probe()
            yield brokers
        finally:
            for broker in kafka.brokers:
                broker.kill()
            disk.remove()
            kafka.stop()
    finally:
        disk.remove()
