"""What decide wrote, compared with what it should have."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from helpers.flow_bench import Bench

TOPICS = ("ledger", "inbox", "deliver.push", "deliver.email", "deliver.sms")

Written = Mapping[str, Mapping[str, bytes]]


def written(bench: Bench, topics: tuple[str, ...] = TOPICS) -> dict[str, dict[str, bytes]]:
    """By topic and `seq`; what is there twice must be the same bytes."""
    found: dict[str, dict[str, bytes]] = {}
    for topic in topics:
        for record in bench.read(topic):
            seq = dict(record.headers)["seq"].decode()
            assert found.setdefault(topic, {}).setdefault(seq, record.value) == record.value, (topic, seq)
    return found


def complete(bench: Bench, expected: Written, deadline_s: float = 30) -> Callable[[], bool]:
    """A drain that says yes when as much is on the ledger as is expected."""
    end, looked = time.monotonic() + deadline_s, 0.0

    def drain() -> bool:
        nonlocal looked
        if time.monotonic() - looked < 0.2:
            return False
        looked = time.monotonic()
        return len(written(bench, ("ledger",)).get("ledger", ())) >= len(expected["ledger"]) or looked > end

    return drain


def assert_complete(bench: Bench, expected: Written) -> None:
    found = written(bench)
    for topic in TOPICS:
        assert found.get(topic, {}).keys() == expected.get(topic, {}).keys(), topic
        assert found.get(topic, {}) == expected.get(topic, {}), topic
