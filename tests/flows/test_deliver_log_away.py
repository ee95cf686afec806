"""What deliver does when the log is away between its look at an emission and the intent."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter

from helpers.feeding import PARTITIONS, System, now_ms, token
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

TTL_MS = 4_000
"""Longer than an emission is on its way to its intent; with the pause, less than the log waits for a lock."""


def test_what_expires_while_its_intent_waits_for_the_log_is_not_sent(system: System, sandbox: Sandbox) -> None:
    system.feed([system.emission("u1", "push", [("d1", token(1))])])
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 1)
        felt = any(expires_waiting(system, number) for number in range(2, 7))
    assert felt, "each was too old before its intent, or had it in time: the wait was not felt"
    assert Counter(record["outcome"] for record in system.deliveries().values())["DELIVERED"] == 1
    assert {entry["to"] for entry in sandbox.journal("apns")} == {token(1)}


def expires_waiting(system: System, number: int) -> bool:
    """One more, which is too old when the log takes its intent; on a slow machine perhaps before it was to be taken."""
    files = [system.directory / "log" / "attempts" / f"{each}.sqlite" for each in range(2 * PARTITIONS)]
    writers = [sqlite3.connect(file, timeout=60) for file in files]
    for writer in writers:
        writer.execute("BEGIN IMMEDIATE")
    late = system.emission("u1", "push", [("d1", token(number))], valid_until=now_ms() + TTL_MS)
    system.feed([late])
    time.sleep(TTL_MS / 1000 + 0.5)
    for writer in writers:
        writer.close()
    emission = json.loads(late.value)["emission_id"]
    wait_for(lambda: emission in {name for name, *_ in system.deliveries()})
    (ended,) = (record for (name, *_), record in system.deliveries().items() if name == emission)
    assert ended["outcome"] == "EXPIRED"
    states = [value["state"] for value in system.values("attempts") if value["key"].startswith(f"{emission}/")]
    return states == ["intent", "closed"]
