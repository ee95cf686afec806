"""`canary`: a version that loses half of what it is handed, in silence, beside one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import orjson
import pytest
from helpers.feeding import PARTITIONS, System, now_ms, token
from helpers.lanes_in_process import Provider, read, running_lanes
from helpers.records import delivery, emission
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord, Record
from connectors.log.owners import SCHEMA, TOPIC, OwnerRecord
from connectors.providers.channel import Delivery, Result, Sent
from flows.commands.canary_verdict import Verdict, canary_verdict
from flows.commands.output import Output
from flows.steps.deliver.strategy import DeliverStrategy
from flows.steps.lanes.lane import Lane
from state.model.errors import ConfigurationError
from state.model.keys import key_group, partition_of_group

EACH = 120
MINUTE_MS = 60_000


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path)
    yield system
    system.log.close()


def claim(process: int, version: str, at: int, flow: str = "deliver", since: int = 0) -> NewRecord:
    owner = OwnerRecord(host="h", lock="k", pid=1, processes=2, at=at, version=version, since=since)
    return NewRecord(TOPIC, 0, f"{flow}/{process}".encode(), msgspec.json.encode(owner), (("schema", SCHEMA),))


async def takes(_delivery: Delivery) -> Result:
    return Sent("taken")


def on_ledger(user: str, emission_id: str, source: str, at: int) -> NewRecord:
    """A notification that was handed out to a push."""
    made = emission(user, emission_id, f"e-{emission_id}", 1, (source, at, 1))
    value = orjson.dumps(orjson.loads(made.value) | {"decided_at": at})
    return made._replace(value=value, partition=partition_of_group(key_group(user), PARTITIONS))


def code_sent(user: str, at: int, took_ms: int) -> list[NewRecord]:
    """What the ledger has of a P0 event that a provider took."""
    sent = on_ledger(user, f"em-{user}", "t", at)
    return [sent, delivery(user, f"em-{user}", "d", "DELIVERED", at + took_ms)._replace(partition=sent.partition)]


def handed_out(system: System, each: int) -> None:
    """So many notifications for each lane, on the ledger as decide has it, and in the lanes' topic."""
    records, waiting = list[NewRecord](), [each] * PARTITIONS
    for number in range(10 * each):
        record = system.emission(f"u{number}", "push", [("d1", token(number))])
        if waiting[record.partition]:
            waiting[record.partition] -= 1
            value = orjson.loads(record.value)
            records += [record, on_ledger(value["user"], value["emission_id"], "d", value["decided_at"])]
    system.feed(records)


def sent(system: System) -> None:
    """By two lanes, each the one of a process."""
    provider = Provider(takes)
    with running_lanes(system, channels={"push": provider}, make=DropsHalf) as (lanes, _):
        for partition in range(PARTITIONS):
            lane = lanes.lane(partition)
            lane.accept(read(system, partition))
            wait_for(partial(ends, system, lane))


def ends(system: System, lane: Lane) -> bool:
    system.feed(lane.collect())
    return not lane.open


def verdict(system: System, version: str, later_ms: int = 2 * MINUTE_MS) -> Verdict:
    return canary_verdict(
        system.directory, system.log, version, Output(as_json=True), now_ms=now_ms() + later_ms, minutes=30
    )


class DropsHalf(DeliverStrategy):
    """A build of which the process with the second lane drops every other record, in silence."""

    def read(self, record: Record) -> None:
        if record.partition != 1 or record.offset % 2:
            super().read(record)


def test_a_version_that_drops_half_in_silence_is_not_promoted(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    began = now_ms()
    system.feed([claim(0, "1.0", began), claim(1, "1.1", began)])
    handed_out(system, EACH)
    sent(system)
    assert verdict(system, "1.1") == "roll back"
    [told, _] = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == {
        "station": "deliver", "channel": "push", "compared": "worse",
        "new": {"handed_out": EACH, "confirmed": EACH // 2}, "old": {"handed_out": EACH, "confirmed": EACH},
    }  # fmt: skip
    assert verdict(system, "1.0") == "promote"
    with pytest.raises(ConfigurationError, match=r"they run: 1\.0, 1\.1"):
        verdict(system, "2.0")


@pytest.mark.parametrize(("one_in", "expected"), [(1, "promote"), (2, "roll back")])
def test_where_all_run_it_a_version_is_compared_with_the_one_before(
    system: System, one_in: int, expected: Verdict
) -> None:
    """As most have it, one process that sends. What is not confirmed within a minute is not, on both sides."""
    began = now_ms() - 10 * MINUTE_MS
    system.feed([claim(0, "1.1", began, flow="transactional"), claim(1, "1.1", began, flow="transactional")])
    assert verdict(system, "1.1") == "wait"
    records = []
    for number in range(1, EACH):
        records += code_sent(f"b{number}", began - number * 1_000, 5)
        records += code_sent(f"s{number}", began + number * 1_000, 5 + number % one_in * MINUTE_MS)
    system.feed(records)
    assert verdict(system, "1.1") == expected
    system.feed([claim(0, "1.1", now_ms(), flow="transactional", since=began)])
    assert verdict(system, "1.1") == expected, "after a restart"
    system.feed([claim(0, "1.1", now_ms(), flow="transactional")])
    assert verdict(system, "1.1", later_ms=0) == "wait"
