"""What benches of flows share: an embedded log, people and their settings, and a run of a flow in this process."""

import random
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import cluster_main

from connectors.log import NewRecord
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.topics import topic_specs
from flows.process.open import clock_ms
from state.model.keys import partition_of_group
from state.model.work import EndpointWork, Work, encode_work

PARTITIONS = 4
EPOCH = timedelta(milliseconds=200)
ZONES = ("Europe/Paris", "America/New_York", "Asia/Tokyo", "Asia/Kolkata", "America/Sao_Paulo", "Africa/Cairo")


def open_log(directory: Path) -> EmbeddedLog:
    """The log of a data directory."""
    return EmbeddedLog(directory, clock=clock_ms)


def new_log(directory: Path, partitions: int = PARTITIONS) -> EmbeddedLog:
    """The same, with all topics."""
    log = open_log(directory)
    log.ensure_topics(topic_specs(partitions, timedelta(days=7)))
    return log


def run_flow(flow: Dataflow, recovery: RecoveryConfig | None = None) -> None:
    """Until it is drained, with one worker."""
    cluster_main(flow, [], 0, worker_count_per_proc=1, epoch_interval=EPOCH, recovery_config=recovery)


def append_works(log: EmbeddedLog, works: Iterable[Work]) -> None:
    """Records of the decision log; one for every group goes to all partitions."""
    batch: list[NewRecord] = []
    for work in works:
        places = range(PARTITIONS) if work.g is None else [partition_of_group(work.g, PARTITIONS)]
        key = b"" if work.g is None else b"%d" % work.g
        batch += [NewRecord("work", partition, key, encode_work(work)) for partition in places]
        if len(batch) >= 5_000:
            log.append(batch)
            batch = []
    if batch:
        log.append(batch)


def document(choose: random.Random) -> dict[str, Any]:
    """One of some hundred documents, as users have them: few stray far from the defaults."""
    found: dict[str, Any] = {}
    if choose.random() < 0.5:
        quiet = {"enabled": True, "start": choose.choice(["22:00", "23:00"]), "end": "07:00"}
        found["quiet_hours"] = quiet | {"timezone": choose.choice(ZONES)}
    if choose.random() < 0.2:
        found["frequency_cap"] = {"max_per_hour": choose.choice([2, 5, 20]), "max_per_day": choose.choice([4, 50])}
    if choose.random() < 0.1:
        found["types"] = {"new_post": {"enabled": False}}
    return found


def phone_of(user: str, group: int, at: int, *, device: str = "phone", address: str = "0" * 64) -> EndpointWork:
    """That a user registers a phone."""
    return EndpointWork(
        g=group, stamp=at, user=user, channel="push", id=device, platform="ios", address=address, registered_at=at
    )


def addresses_of(user: str, group: int, at: int, choose: random.Random) -> Iterator[Work]:
    """A phone for 60 %, a second one for 10 %, mail for 20 %."""
    share = choose.random()
    for device in range((share < 0.6) + (share < 0.1)):
        yield phone_of(user, group, at, device=f"device{device}", address=choose.randbytes(32).hex())
    if choose.random() < 0.2:
        yield EndpointWork(
            g=group, stamp=at, user=user, channel="email", id="mail", address=f"{user}@example.org", registered_at=at
        )
