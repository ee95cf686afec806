"""Emissions given to deliver once more, while it runs: the providers' own journals say that nothing went twice, and
what had been lost went once.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.feeding import PARTITIONS, System, now_ms
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.up import carillon
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord
from flows.config.settings import load_settings
from flows.recovery.replay import ReplayRange, opened_origin, redeliver, replayed
from operators.simulation import Simulation
from state.model.errors import ConfigurationError
from state.model.keys import key_group, partition_of_group
from state.model.registry import load_registry
from state.model.work import TickWork, encode_work

USERS = 24
TWENTY_MINUTES_MS = 1_200_000
SETTINGS = load_settings(environment={})


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path) as running:
        yield running


@pytest.fixture
def system(tmp_path: Path, sandbox: Sandbox) -> Iterator[System]:
    made = System(tmp_path)
    yield made
    made.log.close()


def phone(name: int | str) -> str:
    """An address of its own, also for a number that another one begins with."""
    digits = name if isinstance(name, int) else name.encode().hex()
    return f"{digits}e".ljust(64, "0")


def write_work(system: System) -> ReplayRange:
    """Twenty minutes ago: a push to everybody; the last one was of use for ten minutes only."""
    at, simulation = now_ms() - TWENTY_MINUTES_MS, Simulation(load_registry())
    lines: list[dict[str, object]] = []
    for number in range(USERS):
        user, name = f"u{number}", f"d{number}"
        lines.append({"kind": "endpoint", "ts": at, "user": user, "channel": "push", "id": name, "platform": "ios",
                      "address": phone(number)})  # fmt: skip
    for number in range(USERS):
        short = {"ttl_ms": 600_000} if number == USERS - 1 else {}
        lines.append({"kind": "event", "ts": at + 1000 + number, "event_id": f"e{number}", "type": "mention",
                      "actor": "a", "target": f"u{number}", "object": "o", "sender_id": "s"} | short)  # fmt: skip
    works = [work for line in lines for _, work in simulation.records(line)]
    works.append(TickWork(stamp=at + 2000))
    for work in works:
        partitions = range(PARTITIONS) if work.g is None else [partition_of_group(work.g, PARTITIONS)]
        key = b"" if work.g is None else b"%d" % work.g
        system.feed([NewRecord("work", partition, key, encode_work(work)) for partition in partitions])
    return ReplayRange(at, at + 3000)


def decided(system: System, stretch: ReplayRange) -> list[NewRecord]:
    with opened_origin(str(system.directory), SETTINGS) as origin:
        return list(replayed(origin, stretch))


def command(system: System, stretch: ReplayRange) -> int:
    """`carillon replay --redeliver`; how many records it appended."""
    bounds = ("--from", str(stretch.from_ms), "--to", str(stretch.to_ms))
    done = carillon("replay", str(system.directory), *bounds, "--redeliver", "--json")
    assert done.returncode == 0, done.stderr
    appended: int = json.loads(done.stdout.splitlines()[-1])["appended"]
    return appended


def pass_through(system: System, sandbox: Sandbox, name: str) -> None:
    """Something new behind all that was appended, in every lane: when it has arrived, the rest was looked at."""
    users = {partition: f"{name}{n}" for n in range(50) for partition in [_lane(f"{name}{n}")]}
    system.feed([system.emission(user, "push", [("d", phone(user))]) for user in users.values()])
    wait_for(lambda: all(sandbox.to("apns", phone(user)) for user in users.values()))


def _lane(user: str) -> int:
    return partition_of_group(key_group(user), PARTITIONS)


def test_what_was_lost_goes_once_and_nothing_goes_twice(system: System, sandbox: Sandbox) -> None:
    stretch = write_work(system)
    outputs = decided(system, stretch)
    pushes = [record for record in outputs if record.topic.startswith("deliver.")]
    assert len(pushes) == USERS
    lost = [record for record in pushes if int(json.loads(record.value)["user"][1:]) >= USERS * 2 // 3]
    system.feed([record for record in outputs if record not in lost])
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == USERS - len(lost))
        assert len(sandbox.journal("apns")) == USERS - len(lost)

        assert command(system, stretch) == USERS
        wait_for(lambda: len(system.deliveries()) == USERS)
        pass_through(system, sandbox, "first")
        by_address = Counter(str(entry["to"]) for entry in sandbox.journal("apns"))
        assert {by_address[phone(number)] for number in range(USERS - 1)} == {1}
        assert by_address[phone(USERS - 1)] == 0, "what was no longer of use was sent"
        outcomes = {record["user"]: record["outcome"] for record in system.deliveries().values()}
        assert outcomes[f"u{USERS - 1}"] == "EXPIRED"
        assert {outcomes[f"u{number}"] for number in range(USERS - 1)} == {"DELIVERED"}

        assert command(system, stretch) == USERS
        pass_through(system, sandbox, "second")
    shutil.rmtree(system.directory / "state" / "deliver")
    assert command(system, stretch) == USERS
    with system.flow("deliver"):
        pass_through(system, sandbox, "third")
    again = Counter(str(entry["to"]) for entry in sandbox.journal("apns"))
    assert {address: again[address] for address in map(phone, range(USERS))} == {
        address: by_address[address] for address in map(phone, range(USERS))
    }


def test_an_archive_cannot_be_delivered_from(system: System, tmp_path: Path) -> None:
    stretch = write_work(system)
    archive = tmp_path / "archive" / "work" / "0"
    archive.mkdir(parents=True)
    (archive / "manifest.json").write_text('{"version":1}')
    with (
        opened_origin(str(tmp_path / "archive"), SETTINGS) as origin,
        pytest.raises(ConfigurationError, match="an archive has no topics to append to"),
    ):
        redeliver(origin, stretch)
