"""Appends and reads per second of both logs, latencies, group commit, and what an epoch costs: `python -m bench.log`.

Records have 300 random bytes and two headers. CARILLON_KAFKA names a broker to use instead of an own one.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from bench.figures import record
from connectors.log.embedded.log import EmbeddedLog, EmbeddedOptions
from connectors.log.grouped import BatchingAppender
from connectors.log.interface import Log, NewRecord, TopicSpec
from connectors.log.kafka.log import KafkaLog
from connectors.log.sink import LogSink, sink_key
from connectors.log.source import LogSource, SourceBatch
from flows.process.open import clock_ms
from infra.services import start_kafka

BATCHES, BATCH, SINGLES, PARTITIONS = 300, 1000, 2000, 4
HEADERS = (("schema", b"event/1+json"), ("trace", b"0" * 16))
Open = Callable[[], Log]


def batch(topic: str, partitions: int) -> list[NewRecord]:
    return [NewRecord(topic, n % partitions, b"key%06d" % n, os.urandom(300), HEADERS) for n in range(BATCH)]


def appends(name: str, log: Log) -> None:
    topic = new_topic(log, name)
    for partitions in (1, PARTITIONS):
        records = batch(topic, partitions)
        started = time.perf_counter()
        for _ in range(BATCHES):
            log.append(records)
        seconds = time.perf_counter() - started
        work = f"append batches of {BATCH} over {partitions} partitions"
        rate = BATCHES * BATCH / seconds
        record("log", f"{name}_appends_{partitions}p", rate, "records/s", work=work, n=BATCHES * BATCH, seconds=seconds)
    latencies(name, log, batch(topic, 1)[:1])
    reads(name, log, topic)


def latencies(name: str, log: Log, one: list[NewRecord]) -> None:
    times = []
    for _ in range(SINGLES):
        started = time.perf_counter()
        log.append(one)
        times.append((time.perf_counter() - started) * 1000)
    times.sort()
    for quantile in (50, 99):
        value = times[len(times) * quantile // 100]
        record("log", f"{name}_append_one_p{quantile}", value, "ms", n=SINGLES, seconds=sum(times) / 1000)


def reads(name: str, log: Log, topic: str) -> None:
    reader = log.reader({(topic, part): 0 for part in range(PARTITIONS)})
    count, started, ended = 0, time.perf_counter(), 0.0
    while records := reader.poll(1000, timedelta(seconds=2)):
        count, ended = count + len(records), time.perf_counter()
    reader.close()
    seconds = ended - started
    work = "poll(1000) of 4 partitions"
    record("log", f"{name}_reads", count / seconds, "records/s", work=work, n=count, seconds=seconds)


def new_topic(log: Log, name: str) -> str:
    topic = f"bench-{name}-{clock_ms()}"
    log.ensure_topics([TopicSpec(topic, PARTITIONS)])
    return topic


def group_commit(name: str, log: Log) -> None:
    """256 coroutines append one record after the other."""
    topic, callers, rounds = new_topic(log, f"{name}-group"), 256, 60
    one = batch(topic, 1)[:1]
    times: list[float] = []

    async def caller(group: BatchingAppender) -> None:
        for _ in range(rounds):
            started = time.perf_counter()
            await group.append(one)
            times.append((time.perf_counter() - started) * 1000)

    async def everyone() -> None:
        await asyncio.gather(*(caller(group) for _ in range(callers)))

    group = BatchingAppender(log)
    started = time.perf_counter()
    asyncio.run(everyone())
    seconds = time.perf_counter() - started
    group.close()
    times.sort()
    work = f"{callers} coroutines, one record each"
    record("log", f"{name}_group_appends", len(times) / seconds, "records/s", work=work, n=len(times), seconds=seconds)
    record("log", f"{name}_group_p99", times[len(times) * 99 // 100], "ms", work=work, n=len(times), seconds=seconds)


def copied(records: SourceBatch, sink: str) -> list[tuple[str, list[NewRecord]]]:
    parts: dict[int, list[NewRecord]] = {}
    for r in records if isinstance(records, list) else ():
        parts.setdefault(r.partition, []).append(NewRecord(sink, r.partition, r.key, r.value, r.headers))
    return [(sink_key(sink, part), found) for part, found in parts.items()]


def epochs(name: str, open_log: Open, directory: Path, batches: int) -> None:
    """Copy a topic in 100 ms epochs, idle or under a backlog, with and without recovery."""
    for recovery in (False, True):
        log = open_log()
        source, sink = new_topic(log, "source"), new_topic(log, "sink")
        for _ in range(batches):
            log.append(batch(source, PARTITIONS))
        count, seconds, cpu = copy(open_log, log, source, sink, directory if recovery else None, batches * BATCH)
        log.close()
        how = f"{name}_{'backlog' if batches else 'idle'}_{'recovery' if recovery else 'plain'}"
        work = "copy flow, 4 partitions, epochs of 100 ms"
        record("log", f"{how}_epoch", seconds / count * 1000, "ms", work=work, n=count, seconds=seconds)
        record("log", f"{how}_cpu_per_epoch", cpu / count * 1000, "ms", work=work, n=count, seconds=seconds)
        if batches:
            rate = batches * BATCH / seconds
            record("log", f"{how}_copied", rate, "records/s", work=work, n=batches * BATCH, seconds=seconds)


def copy(
    open_log: Open, log: Log, source: str, sink: str, recovery: Path | None, expected: int
) -> tuple[int, float, float]:
    """Run until everything is copied, or three seconds if there is nothing; epochs, seconds, processor seconds."""
    ended = [0]
    give_up = time.monotonic() + (60 if expected else 3)

    def drain() -> bool:
        done = expected and sum(log.end_offset(sink, part) for part in range(PARTITIONS)) >= expected
        return bool(done) or time.monotonic() > give_up

    def on_epoch() -> None:
        ended[0] += 1

    flow = Dataflow("copy")
    reading = LogSource(
        open_log, [source], start=lambda _topic, _part: 0, budget=1 << 30, drain=drain, on_epoch=on_epoch
    )
    batches = op.input("read", flow, reading)
    op.output("write", op.flat_map("copy", batches, lambda records: copied(records, sink)), LogSink(open_log, [sink]))
    store = None
    if recovery:
        store = Path(tempfile.mkdtemp(dir=recovery))
        init_db_dir(store, 1)
    started, used = time.perf_counter(), time.process_time()
    run_main(flow, epoch_interval=timedelta(milliseconds=100), recovery_config=RecoveryConfig(store) if store else None)
    return max(1, ended[0]), time.perf_counter() - started, time.process_time() - used


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="carillon-bench-"))
    given = os.environ.get("CARILLON_KAFKA")
    cluster = None if given else start_kafka()
    bootstrap = given or (cluster.bootstrap if cluster else "")

    def open_embedded() -> Log:
        return EmbeddedLog(directory / "normal", clock=clock_ms)

    def open_full() -> Log:
        return EmbeddedLog(directory / "full", clock=clock_ms, options=EmbeddedOptions(sync_full=True))

    def open_kafka() -> Log:
        return KafkaLog(bootstrap)

    try:
        for name, open_log in (("embedded", open_embedded), ("embedded_full", open_full), ("kafka", open_kafka)):
            log = open_log()
            appends(name, log)
            group_commit(name, log)
            log.close()
        for batches in (0, BATCHES):
            epochs("embedded", open_embedded, directory, batches)
            epochs("kafka", open_kafka, directory, batches)
    finally:
        if cluster:
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
