"""What deliver does when the log is away between its look at an emission and the intent."""

from __future__ import annotations

import sqlite3
import time

from helpers.feeding import PARTITIONS, System, now_ms, token
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

TTL_MS = 4_000
"""Longer than an emission is on its way to its intent; with the pause, less than the log waits for a lock."""


def test_what_expires_while_its_intent_waits_for_the_log_is_not_sent(system: System, sandbox: Sandbox) -> None:
    system.feed([system.emission("u1", "push", [("d1", token(1))])])
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 1)
        files = [system.directory / "log" / "attempts" / f"{number}.sqlite" for number in range(2 * PARTITIONS)]
        writers = [sqlite3.connect(file, timeout=10) for file in files]
        for writer in writers:
            writer.execute("BEGIN IMMEDIATE")
        late = system.emission("u1", "push", [("d1", token(2))], valid_until=now_ms() + TTL_MS)
        system.feed([late])
        time.sleep(TTL_MS / 1000 + 0.5)
        for writer in writers:
            writer.close()
        wait_for(lambda: len(system.deliveries()) == 2)
    outcomes = sorted(record["outcome"] for record in system.deliveries().values())
    assert outcomes == ["DELIVERED", "EXPIRED"]
    assert {entry["to"] for entry in sandbox.journal("apns")} == {token(1)}
    key = next(value["key"] for value in system.values("attempts") if value["state"] == "closed")
    states = [value["state"] for value in system.values("attempts") if value["key"] == key]
    assert states == ["intent", "closed"], "the intent was appended in time: the wait was not felt"
