"""Deliver, P0 and inbox under the stock runner: 1, 2 and 1 processes, and two workers, with kill -9 between."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from helpers.feeding import PARTITIONS, System, addresses
from helpers.records import inbox_add
from helpers.sandbox_process import Sandbox
from helpers.sending_laws import check, settled
from helpers.stock_runner import StockRunner
from helpers.waiting import wait_for

from connectors.inbox.rocksdb import RocksInboxReader
from connectors.log.interface import NewRecord
from flows.process.directories import INBOX as DIRECTORY
from state.model.keys import KEY_GROUPS, key_group, partition_of_group

STAGES = ((1, 1), (2, 1), (1, 2), (2, 2))
"""Processes and workers of each; the last one is drained."""
PIECE = 30
"""Emissions of each."""


@pytest.fixture
def started(system: System) -> Iterator[dict[str, StockRunner]]:
    clusters: dict[str, StockRunner] = {}
    yield clusters
    for cluster in clusters.values():
        cluster.kill()


def kill_all_alive(cluster: StockRunner) -> None:
    """kill -9 all, as whoever starts them does when one died."""
    assert all(process.poll() is None for process in cluster.processes), "one was not alive"
    cluster.kill()


def emission(system: System, number: int) -> NewRecord:
    name = f"{number}x".ljust(40, "0")
    if number % 7 == 3:
        mail = {"channel": "email", "devices": addresses([("m", f"c{number}@example.com")])}
        return system.emission(f"u{number}", "push", [("d1", f"bad-{name}")], rest=[mail])
    priority = "P2" if number % 3 == 0 else "P1"
    return system.emission(f"u{number}", "push", [("d1", f"slow{number % 5 * 40}-{name}")], priority=priority)


def test_deliver_in_a_cluster_sends_nothing_twice_and_loses_nothing(
    system: System, sandbox: Sandbox, started: dict[str, StockRunner]
) -> None:
    cluster = started["deliver"] = StockRunner("deliver", system.directory, system.environment())
    records: list[NewRecord] = []
    for stage, (processes, workers) in enumerate(STAGES):
        piece = [emission(system, number) for number in range(stage * PIECE, stage * PIECE + PIECE)]
        records += piece
        before = len(system.read("attempts"))
        cluster.start(processes, workers)
        system.feed(piece)
        wait_for(lambda before=before: len(system.read("attempts")) > before + 10, 120, cluster.output)
        if stage + 1 < len(STAGES):
            kill_all_alive(cluster)
    wait_for(lambda: settled(system, records))
    cluster.drain()
    outcomes = check(system, sandbox)
    print(Counter(outcome for outcome, _, _ in outcomes.values()))
    assert Counter(outcome for outcome, _, _ in outcomes.values())["DELIVERED"] >= PIECE, (
        "the last of them, which nobody killed"
    )


def test_p0_in_a_cluster_loses_nothing_and_repeats_carry_the_same_id(
    system: System, sandbox: Sandbox, started: dict[str, StockRunner]
) -> None:
    users = [f"v{number}" for number in range(12)]
    assert len({partition_of_group(key_group(user), PARTITIONS) for user in users}) == PARTITIONS
    system.feed([system.endpoint(user, "push", "d1", f"slow60-{user}x".ljust(40, "0")) for user in users])
    cluster = started["transactional"] = StockRunner("transactional", system.directory, system.environment())
    fed: list[str] = []
    for stage, (processes, workers) in enumerate(STAGES):
        piece = [system.p0(user) for user in users]
        fed += [json.loads(record.value)["event_id"] for record in piece]
        before = len(system.read("attempts"))
        cluster.start(processes, workers)
        system.feed(piece)
        wait_for(lambda before=before: len(system.read("attempts")) > before + 4, 120, cluster.output)
        if stage + 1 < len(STAGES):
            kill_all_alive(cluster)
    wait_for(lambda: {v["first_event_id"] for v in system.deliveries().values()} == set(fed))
    cluster.drain()
    deliveries = system.deliveries()
    assert len(deliveries) == len(fed) == len(system.decisions())
    assert {record["outcome"] for record in deliveries.values()} == {"DELIVERED"}
    assert {str(e["id"]) for e in sandbox.journal("apns")} == {record["provider_id"] for record in deliveries.values()}


def test_inbox_in_a_cluster_holds_every_item_once(system: System, started: dict[str, StockRunner]) -> None:
    cluster = started["inbox"] = StockRunner("inbox", system.directory, system.environment())
    reader = RocksInboxReader(system.directory / DIRECTORY, PARTITIONS, system.directory / "secondary")

    def items() -> int:
        return sum(reader.audit(group).items_counted for group in range(KEY_GROUPS))

    fed = 0
    for stage, (processes, workers) in enumerate(STAGES):
        adds = [inbox_add(f"u{number % 40}", number) for number in range(fed, fed + 400)]
        fed += len(adds)
        cluster.start(processes, workers)
        system.feed([each._replace(partition=each.partition * PARTITIONS // 4) for each in adds])
        wait_for(lambda fed=fed: items() > fed - 300)
        if stage + 1 < len(STAGES):
            kill_all_alive(cluster)
    wait_for(lambda: items() == fed)
    cluster.drain()
    for user in range(40):
        names = [row.first_event_id for row in reader.page(f"u{user}", 1_000).rows]
        assert names == [f"e{number}" for number in range(fed - 1, -1, -1) if number % 40 == user]
    reader.close()
