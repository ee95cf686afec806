"""kill -9 of sequence and decide at random moments: every accepted event is in the decision log once, and the ledger,
inbox operations and emissions are those that the decision log decides without any interruption.
"""

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from helpers.flow_processes import FlowProcesses
from helpers.waiting import wait_for

from connectors.log import NewRecord, Record
from connectors.log.embedded.log import EmbeddedLog
from flows.process.open import clock_ms
from flows.steps.decide.outputs import OutputWriter
from operators.decide import apply
from state.decide.group import GroupState
from state.model.event import EVENT, RawEvent, resolve
from state.model.keys import KEY_GROUPS, groups_of_partition, key_group, partition_of_group
from state.model.registry import load_registry
from state.model.work import EventWork, TickWork, decode_work

PARTITIONS = 4
REGISTRY = load_registry()
ADDRESSES = {"push": "ab" * 32, "email": "u@example.org"}
OUTPUTS = ("ledger", "inbox", "deliver.push", "deliver.email")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[FlowProcesses]:
    started = FlowProcesses(tmp_path)
    yield started
    started.end()


def _event(choose: random.Random, number: int) -> NewRecord:
    kind = choose.choice(["like", "like", "comment", "reply", "mention", "follow", "announcement", "newsletter"])
    fans = kind in ("announcement", "newsletter")
    raw = RawEvent(
        event_id=f"e{number}", type=kind, actor=f"a{choose.randrange(5)}", target=f"u{choose.randrange(30)}",
        object=f"o{choose.randrange(3)}", fan_out_type="SEGMENT" if fans else "DIRECT",
        segment="everybody" if fans else None, payload={"n": number}, sender_id="test",
        retracts=choose.random() < 0.05,
    )  # fmt: skip
    event = resolve(raw, REGISTRY, ingested_at=clock_ms())
    key = event.segment if fans else event.target
    assert key is not None
    topic = f"events.{event.priority.lower()}"
    return NewRecord(topic, partition_of_group(key_group(key), PARTITIONS), key.encode(), EVENT.encode(event))


def _setting(topic: str, user: str, value: object) -> NewRecord:
    return NewRecord(topic, partition_of_group(key_group(user), PARTITIONS), user.encode(), orjson.dumps(value))


def _settings(choose: random.Random) -> Iterator[NewRecord]:
    for number in range(30):
        user = f"u{number}"
        for channel in ("push", "email"):
            yield _setting("endpoints", user, {
                "user": user, "channel": channel, "id": "d", "platform": "ios",
                "address": ADDRESSES[channel], "state": "active", "registered_at": 1,
            })  # fmt: skip
        yield _setting("preferences", user, {"user": user, "doc": {
            "frequency_cap": {"max_per_hour": choose.choice([2, 5, 50])},
            "types": {"newsletter": {"enabled": True}, "comment": {"channels": ["email", "in_app"]}},
        }})  # fmt: skip
    yield _setting("segments", "everybody", {
        "segment": "everybody", "version": "1", "chunk": 0, "users": [f"u{n}" for n in range(30)],
    })  # fmt: skip
    yield _setting("segments", "everybody", {"segment": "everybody", "version": "1", "chunks": 1})


def _read_all(log: EmbeddedLog, topic: str) -> list[Record]:
    ends = {(topic, partition): log.end_offset(topic, partition) for partition in range(log.partitions(topic))}
    reader = log.reader(dict.fromkeys(ends, 0))
    records: list[Record] = []
    while any(reader.position()[place] < end for place, end in ends.items()):
        records += reader.poll(10_000, timedelta(milliseconds=100))
    reader.close()
    return records


def _sequence(record: Record) -> tuple[int, int, int]:
    _, group, offset, ordinal = dict(record.headers)["seq"].decode().split(":")
    return int(group), int(offset), int(ordinal)


def _distinct(records: list[Record]) -> dict[tuple[int, int, int], bytes]:
    """Values by sequence; what was written twice must be the same bytes."""
    seen: dict[tuple[int, int, int], bytes] = {}
    for record in records:
        assert seen.setdefault(_sequence(record), record.value) == record.value, "decided twice, differently"
    return seen


def _expected(log: EmbeddedLog) -> dict[str, dict[tuple[int, int, int], bytes]]:
    """What the decision log decides in one go."""
    states = {group: GroupState(REGISTRY) for group in range(KEY_GROUPS)}
    writers = {group: OutputWriter(group, PARTITIONS) for group in range(KEY_GROUPS)}
    expected: dict[str, dict[tuple[int, int, int], bytes]] = {topic: {} for topic in OUTPUTS}
    for record in _read_all(log, "work"):
        work = decode_work(record.value)
        groups = groups_of_partition(record.partition, PARTITIONS) if work.g is None else (work.g,)
        for group in groups:
            state, writer = states[group], writers[group]
            written = writer.encode(state, apply(state, work, record.offset), record.offset)
            if isinstance(work, TickWork) and state.count_terms() != state.counted:
                state.counted = state.count_terms()
                written.append(writer.counts(state.counted, record.offset))
            for each in written:
                key = _sequence(Record(each.topic, 0, 0, 0, each.key, each.value, each.headers))
                expected[each.topic][key] = each.value
    return expected


def _feed_and_kill(log: EmbeddedLog, processes: FlowProcesses, choose: random.Random, kills: int) -> int:
    number, killed, next_kill = 0, 0, time.monotonic() + 1.0
    while killed < kills:
        log.append([_event(choose, number + step) for step in range(10)])
        number += 10
        time.sleep(0.03)
        if time.monotonic() >= next_kill:
            name = choose.choice(["sequence", "decide"])
            processes.kill(name)
            processes.start(name)
            killed += 1
            next_kill = time.monotonic() + choose.uniform(0.3, 2.2)
    return number


@pytest.mark.parametrize("seed", [1])
def test_the_ledger_is_that_of_the_decision_log(
    seed: int, tmp_path: Path, log: EmbeddedLog, processes: FlowProcesses
) -> None:
    choose = random.Random(seed)
    log.append(list(_settings(choose)))
    for name in ("sequence", "decide"):
        processes.start(name)
    fed = _feed_and_kill(log, processes, choose, kills=8)

    def all_written() -> bool:
        works = [decode_work(record.value) for record in _read_all(log, "work")]
        direct = [work for work in works if isinstance(work, EventWork)]
        return expected_direct <= len({work.event.event_id for work in direct})

    accepted = [orjson.loads(record.value) for topic in ("events.p1", "events.p2") for record in _read_all(log, topic)]
    assert len(accepted) == fed
    expected_direct: int = sum(event["fan_out_type"] == "DIRECT" for event in accepted)
    wait_for(all_written, 90, "every accepted event is in the decision log")
    time.sleep(1.0)
    assert processes.drain() == [0, 0], processes.output("sequence") + processes.output("decide")

    works = [decode_work(record.value) for record in _read_all(log, "work")]
    direct = [work.event.event_id for work in works if isinstance(work, EventWork)]
    assert sorted(direct) == sorted(e["event_id"] for e in accepted if e["fan_out_type"] == "DIRECT")
    sources = [(work.src, work.g) for work in works if work.src is not None and work.g is not None]
    assert len(sources) == len(set(sources)), "a source was written twice"

    # What the drain left undecided, a last run decides.
    processes.start("decide")
    expected = _expected(log)
    wait_for(lambda: len(_distinct(_read_all(log, "ledger"))) >= len(expected["ledger"]), 90, "all is decided")
    for topic in OUTPUTS:
        assert _distinct(_read_all(log, topic)) == expected[topic], topic
