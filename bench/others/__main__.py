"""Ours against what a user would pick instead: Celery, Quix Streams, Faust. `python -m bench.others [NAME...]`

The workload is that of `bench.decisions`; the rules of one user are the same code (`bench.one_user`). Each system runs
in processes of its own, with libraries of its own, which the first use installs from `requirements.lock`. Counted is
the processor time of all its processes from the first post to the last decision, settings loaded before; brokers and
Redis are not counted. No hold ends while a system runs, so none needs its timers.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from redis import Redis

from bench.decisions import Workload, measure_ours
from bench.figures import ROOT, record
from bench.one_user import new_user
from bench.others.keyed import INPUT, LEDGER, PARTITIONS, Item
from infra.environments import environment_of
from infra.services import start_kafka, start_redis

LOCK = ROOT / "bench" / "others" / "requirements.lock"
DEADLINE_S = 1_800


class Measured(NamedTuple):
    """What one system took for all decisions of the workload."""

    seconds: float
    cpu_s: float
    outcomes: Counter[str]


@contextmanager
def _program(arguments: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of the other environment; ended by its pid."""
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    with subprocess.Popen(
        [environment_of("others", LOCK), *arguments], cwd=ROOT, env=variables, stdin=PIPE, stdout=PIPE
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _cpu_s(pid: int) -> float:
    """Processor seconds of a process, its living children and those that it has waited for (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return used + sum(_cpu_s(int(child)) for child in children)


def _wait(process: subprocess.Popen[bytes], done: Callable[[], bool], every_s: float = 0.02) -> None:
    give_up = time.monotonic() + DEADLINE_S
    while not done():
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"{process.args!r} ended or did not finish")
        time.sleep(every_s)


def _posts(work: Workload) -> list[list[object]]:
    return [[event.event_id, event.type, event.ingested_at, event.ttl_ms] for event in work.events]


def measure_celery(work: Workload, directory: Path) -> Measured:  # noqa: ARG001 - Redis has a folder of its own
    """One worker process; Redis appends to its file, synced each second."""
    redis = start_redis("--appendonly", "yes")
    store: Any = Redis.from_url(redis.url, decode_responses=True)
    try:
        store.mset({f"user:{item['user']}": _stored(item) for item in _settings(work)})
        store.rpush("followers", *work.users)
        where = {"CELERY_BROKER_URL": redis.url}
        worker = ["-m", "celery", "-A", "bench.others.celery_app", "worker", "-c", "1", "-l", "error"]
        with _program(worker, **where) as process, _program(["-m", "bench.others.celery_app"], **where) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdout.readline()
            start, cpu = time.perf_counter(), _cpu_s(process.pid)
            client.stdin.write(b"".join(json.dumps(post).encode() + b"\n" for post in _posts(work)))
            client.stdin.close()
            _wait(process, lambda: store.xlen("ledger") >= work.decisions)
            seconds, used = time.perf_counter() - start, _cpu_s(process.pid) - cpu
        decisions = (json.loads(fields["decision"]) for _, fields in store.xrange("ledger"))
        return Measured(seconds, used, Counter(each["outcome"] for each in decisions))
    finally:
        redis.stop()


def _stored(item: Item) -> str:
    return json.dumps(new_user(item["document"], push=item["push"]))


class _Ledger:
    """Follows the topic of decisions."""

    def __init__(self, brokers: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": brokers, "group.id": "driver"})
        self._consumer.assign([TopicPartition(LEDGER, partition, 0) for partition in range(PARTITIONS)])
        self.outcomes: Counter[str] = Counter()

    def holds(self, decisions: int) -> bool:
        for message in self._consumer.consume(10_000, 0.05):
            if message.error():
                raise KafkaException(message.error())
            self.outcomes[json.loads(message.value() or b"{}")["outcome"]] += 1
        return self.outcomes.total() >= decisions


def _measure_on_kafka(module: str, work: Workload, directory: Path) -> Measured:
    kafka = start_kafka()
    try:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        made = admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in (INPUT, LEDGER)])
        for done in made.values():
            done.result()
        followers = directory / "followers"
        followers.write_text("\n".join(work.users), encoding="utf-8")
        ledger = _Ledger(kafka.bootstrap)
        with _program(["-m", f"bench.others.{module}", kafka.bootstrap, str(directory), str(followers)]) as process:
            _produce(kafka.bootstrap, _settings(work))
            _wait(process, lambda: ledger.holds(len(work.users)))
            start, cpu = time.perf_counter(), _cpu_s(process.pid)
            _produce(kafka.bootstrap, ({"post": post} for post in _posts(work)))
            _wait(process, lambda: ledger.holds(len(work.users) + work.decisions))
            seconds, used = time.perf_counter() - start, _cpu_s(process.pid) - cpu
        del ledger.outcomes["STORED"]
        return Measured(seconds, used, ledger.outcomes)
    finally:
        kafka.stop()


def _settings(work: Workload) -> Iterator[Item]:
    for user in work.users:
        yield {"user": user, "document": work.documents[user], "push": user in work.reachable}


def _produce(brokers: str, items: Iterable[Item]) -> None:
    """All posts are the star's and have his key, so that they keep their order."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5})
    for item in items:
        producer.produce(INPUT, json.dumps(item), key=item.get("user", "star"))
        producer.poll(0)
    producer.flush()


def measure_quix(work: Workload, directory: Path) -> Measured:
    """One process, one thread, as Quix Streams has it."""
    return _measure_on_kafka("quix_app", work, directory)


def measure_faust(work: Workload, directory: Path) -> Measured:
    """One worker."""
    return _measure_on_kafka("faust_app", work, directory)


SYSTEMS = {
    "celery": (measure_celery, "Celery 5.7.0 with Redis"),
    "quix": (measure_quix, "Quix Streams 3.28.1 on Kafka"),
    "faust": (measure_faust, "faust-streaming 0.15.3 on Kafka"),
}


def main(names: Sequence[str], *, users: int = 30_000, posts: int = 3) -> None:
    """Print and store `decisions_vs_<name>`; the outcomes must be ours."""
    work = Workload(users, posts)
    per_second, per_cpu_second, outcomes = measure_ours(work)
    for name in names:
        measure, title = SYSTEMS[name]
        with tempfile.TemporaryDirectory() as directory:
            theirs = measure(work, Path(directory))
        assert theirs.outcomes == outcomes, f"not the same decisions: {outcomes} {theirs.outcomes}"
        record(
            "decisions", f"decisions_vs_{name}", per_cpu_second * theirs.cpu_s / work.decisions, "ratio",
            n=work.decisions,
            work=f"{users} followers, {posts} posts, every decision written; per processor second",
            seconds=theirs.seconds, against=f"{title}, same decisions, same run",
            wall_clock_ratio=round(per_second * theirs.seconds / work.decisions, 2),
            their_decisions_per_core=round(work.decisions / theirs.cpu_s),
        )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:] or list(SYSTEMS))
