"""Emissions handed out again (header `again`): what was tried is never sent again, what never came is sent once."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers.feeding import PARTITIONS, System, addresses, kill, now_ms, token
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord
from state.deliver.store import PARTS, LaneCommit, SendingStore, read_start

DAY_MS = 86_400_000


def again(records: list[NewRecord]) -> list[NewRecord]:
    return [record._replace(headers=(*record.headers, ("again", b"replay/1"))) for record in records]


def accepted(system: System) -> int:
    return sum(counts["accepted"] for counts in system.counts("deliver").values())


def idle(system: System) -> bool:
    return not any(counts["in_flight"] for counts in system.counts("deliver").values())


def sent(sandbox: Sandbox) -> Counter[str]:
    return Counter(str(entry["to"]) for name in ("apns", "smtp", "twilio") for entry in sandbox.journal(name))


def lane_file(system: System, lane: int) -> Path:
    return system.directory / "state" / "deliver" / f"p{lane:03}" / "lane.sqlite"


def forget_the_day(system: System) -> None:
    """As if a day had passed: the lanes remember no key."""
    for lane in range(PARTITIONS):
        path = lane_file(system, lane)
        if path.exists():
            store = SendingStore(path)
            for part in range(PARTS):
                store.forget_sent(now_ms() + 2 * DAY_MS, part)
            store.close()


def test_what_was_delivered_is_not_sent_again_and_no_term_changes(system: System, sandbox: Sandbox) -> None:
    """While it runs; after a restart; with the lanes' memory of the day gone; and together with what is new."""
    rest = [{"channel": "email", "devices": addresses([("m", "again@example.com")])}]
    records = [
        system.emission(f"u{n}", "push", [("d1", token(n)), ("d2", f"bad-{n}".ljust(40, "0"))]) for n in range(8)
    ]
    records.append(system.emission("u8", "push", [("d1", "bad-" + "c" * 30)], rest=rest))
    with system.flow("deliver"):
        system.feed(records)
        wait_for(lambda: accepted(system) == 17 and idle(system))
        before = sent(sandbox)
        system.feed(again(records))
        time.sleep(0.7)
    assert sent(sandbox) == before
    told = len(system.deliveries())
    assert told == 18
    forget_the_day(system)
    new = system.emission("new", "push", [("d1", token("new"))])
    with system.flow("deliver"):
        system.feed([*again(records), *again(records), new])
        wait_for(lambda: accepted(system) == 18 and idle(system))
        time.sleep(0.7)
    assert sent(sandbox) - before == Counter({token("new"): 1})
    assert len(system.deliveries()) == told + 1
    assert {record["outcome"] for record in system.deliveries().values()} == {"DELIVERED", "DEAD_LETTER", "FELL_BACK"}


def test_what_was_never_taken_in_is_sent_once(system: System, sandbox: Sandbox) -> None:
    """Below the marks of what came after it; expired; and what a provider may have taken already."""
    lost = [system.emission("same", "push", [("d1", token(f"lost{n}"))]) for n in range(3)]
    late = system.emission("same", "push", [("d1", token("late"))], valid_until=now_ms() - 1)
    open_one = system.emission("same", "push", [("d1", token("open"))])
    unreadable = system.emission("same", "push", [("d1", token("unreadable"))])
    for record, value in ((open_one, None), (unreadable, b"{")):
        emission = json.loads(record.value)["emission_id"]
        intent = {
            "state": "intent",
            "key": f"{emission}/same/push/d1",
            "attempt": 1,
            "provider": "apns",
            "at": now_ms(),
        }
        raw, key = json.dumps(intent).encode(), str(intent["key"]).encode()
        headers = (("schema", b"attempt/1+json"),)
        system.feed([NewRecord("attempts", record.partition, key, raw if value is None else value, headers)])
    last = system.emission("same", "push", [("d1", token("last"))])
    with system.flow("deliver"):
        system.feed([last])
        wait_for(lambda: accepted(system) == 1)
        system.feed(lost[:1])
        time.sleep(0.5)
        assert not sandbox.to("apns", token("lost0")), "a record below its mark is a repeat unless it says otherwise"
        for _ in range(3):
            system.feed(again([*lost, late, open_one, unreadable]))
        wait_for(lambda: accepted(system) == 7 and idle(system))
        time.sleep(0.5)
    assert sent(sandbox) == Counter(token(name) for name in ("last", "lost0", "lost1", "lost2"))
    outcomes = Counter((value["outcome"], value["reason"]) for value in system.deliveries().values())
    assert outcomes == {("DELIVERED", None): 4, ("EXPIRED", None): 1, ("UNKNOWN", "interrupted"): 2}


def test_what_is_older_than_the_attempts_retained_is_never_sent(system: System, sandbox: Sandbox) -> None:
    old: dict[str, Any] = {"decided_at": now_ms() - 3 * DAY_MS, "valid_until": now_ms() + DAY_MS}
    known = system.emission("same", "push", [("d1", token("known"))], **old)
    with system.flow("deliver"):
        system.feed([known])
        wait_for(lambda: accepted(system) == 1 and idle(system))
        # Until its end is known to be in the log it is read again at a start, and retention is to have removed it.
        wait_for(lambda: read_start(lane_file(system, known.partition), ("deliver.push", known.partition)) == 1)
    forget_the_day(system)
    system.log.maintain(now_ms() + 8 * DAY_MS)
    assert system.log.begin_offset("attempts", known.partition) > 0, "nothing was trimmed"
    never = system.emission("same", "push", [("d1", token("never"))], **old)
    young = system.emission("same", "push", [("d1", token("young"))])
    with system.flow("deliver"):
        system.feed(again([known, never, young]))
        wait_for(lambda: accepted(system) == 3 and idle(system))
        time.sleep(0.5)
    assert sent(sandbox) == Counter([token("known"), token("young")])
    outcomes = {value["emission_id"]: (value["outcome"], value["reason"]) for value in system.deliveries().values()}
    assert outcomes[json.loads(never.value)["emission_id"]] == ("UNKNOWN", "attempts_not_retained")
    assert outcomes[json.loads(young.value)["emission_id"]] == ("DELIVERED", None)


def test_kill_9_while_old_and_lost_ones_come_again(system: System, sandbox: Sandbox) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    done = [system.emission(f"u{n}", "push", [("d1", token(f"done{n}x"))]) for n in range(40)]
    lost = [system.emission(f"u{n}", "push", [("d1", f"slow{n * 5}-l{n}x".ljust(40, "0"))]) for n in range(40)]
    with system.flow("deliver"):
        system.feed(done)
        wait_for(lambda: accepted(system) == 40 and idle(system))
        time.sleep(0.5)
    forget_the_day(system)
    mixed = again(dice.sample(done + lost, 80))
    system.feed(mixed[:40])
    for part in (mixed[40:], dice.sample(mixed, 60)):
        tried = len(system.read("attempts"))
        process = system.start("deliver")
        wait_for(lambda tried=tried: len(system.read("attempts")) > tried)
        time.sleep(dice.uniform(0, 0.15))
        kill(process)
        system.feed(part)
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 80 and accepted(system) == 80 and idle(system))
        time.sleep(0.5)
    assert len(system.deliveries()) == 80
    times = sent(sandbox)
    assert all(times[token(f"done{n}x")] == 1 for n in range(40)), "sent a second time"
    assert max(times.values()) == 1
    outcomes = {value["emission_id"]: value["outcome"] for value in system.deliveries().values()}
    names = [f"slow{n * 5}-l{n}x".ljust(40, "0") for n in range(40)]
    unsent = [json.loads(r.value)["emission_id"] for name, r in zip(names, lost, strict=True) if not times[name]]
    assert {outcomes[emission] for emission in unsent} <= {"UNKNOWN"}, "lost"
    print(Counter(outcomes.values()))
    assert Counter(outcomes.values())["DELIVERED"] >= 40


def test_what_waits_for_its_search_is_stored_apart(tmp_path: Path) -> None:
    place = ("deliver.push", 1)
    commit = LaneCommit({place: 9}, {place: {7}}, {1: 5}, {}, {}, [], 1_000)
    store = SendingStore(tmp_path / "lane.sqlite")
    store.commit(replace(commit, held_offsets={place: {3, 8}}))
    store.close()
    assert read_start(tmp_path / "lane.sqlite", place) == 3
    state = SendingStore(tmp_path / "lane.sqlite").load()
    assert (state.open_offsets, state.held_offsets) == ({place: frozenset({7})}, {place: frozenset({3, 8})})
