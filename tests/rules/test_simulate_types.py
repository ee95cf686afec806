"""Types that are published while events wait (RULES 7, reload), in random streams and one by one."""

from __future__ import annotations

import random
from typing import Any

import pytest
from rules.agreement import disagreement, ndjson
from rules.random_streams import random_stream
from rules.writing import MINUTE, NOON, PUSH, SECOND, Line, event

from flows.simulation.run import run_simulation

TYPES = ("like", "comment", "mention", "reminder", "promotion", "poke", "follow", "new_post", "otp")
TABLES: list[dict[str, Any] | None] = [
    None,
    {"window_ms": 0},
    {"window_ms": 45_000},
    {"window_ms": 600_000, "ttl_ms": 30_000},
    {"channels": ["in_app"]},
    {"channels": ["email", "in_app"], "digest": True},
    {"channels": ["email", "in_app"], "digest": False, "mail_wait_ms": 90_000},
    {"channels": ["push", "email"], "digest": False, "policy": "all"},
    {"enabled": False},
    {"mandatory": True, "notify_self": True, "absolute_ttl": True},
    {"category": "marketing", "repeat_window_ms": 1_000},
    {"klass": "P2", "enabled": True},
]
OTP_TABLES: list[dict[str, Any] | None] = [None, {"ttl_ms": 1_000}, {"channels": ["push", "sms", "email"]}]


def publish(ts: int, name: str, table: dict[str, Any] | None) -> Line:
    return {"kind": "type", "ts": ts, "type": name, "table": table}


def stream_with_reloads(seed: int) -> list[Line]:
    """A random stream in which types change, also while their items wait."""
    rng = random.Random(seed)
    records: list[Line] = []
    for record in random_stream(seed):
        records.append(record)
        if rng.random() < 0.15:
            name = rng.choice(TYPES)
            table = rng.choice(OTP_TABLES if name == "otp" else TABLES)
            records.append(publish(record["ts"], name, table))
    return records


@pytest.mark.parametrize("seed", range(8000, 8060))
def test_model_and_product_agree(seed: int) -> None:
    assert disagreement(run_simulation, stream_with_reloads(seed)) == "", f"seed {seed}"


@pytest.mark.parametrize("seed", range(8000, 8012))
def test_workers_and_batches_change_nothing(seed: int) -> None:
    found = disagreement(run_simulation, stream_with_reloads(seed), workers=1 + seed % 3, batch=(1, 7)[seed % 2])
    assert found == "", f"seed {seed}"


@pytest.mark.parametrize("seed", range(8000, 8016))
def test_columns_and_single_decisions_agree(seed: int) -> None:
    lines = ndjson(stream_with_reloads(seed))
    assert run_simulation(lines, inbox=True, bulk_from=1) == run_simulation(lines, inbox=True, bulk_from=1 << 30)


def decisions(*records: Line) -> list[tuple[str, str, int]]:
    lines = run_simulation(ndjson(records))
    return [(each["event_id"], each["outcome"], each["decided_at"]) for each in lines if each["kind"] == "decision"]


def likes(*times: int) -> list[Line]:
    return [event(f"e{number}", at, "like", actor=f"a{number}", object="o") for number, at in enumerate(times)]


def test_an_open_window_keeps_its_end_and_the_next_one_has_the_new_length() -> None:
    first, second, third = likes(NOON, NOON + SECOND, NOON + MINUTE + SECOND)
    change = publish(NOON + 2 * SECOND, "like", {"window_ms": 1_000})
    end = {"kind": "tick", "ts": NOON + 5 * MINUTE}
    assert decisions(PUSH, first, second, change, third, end) == [
        ("e0", "EMITTED", NOON),
        ("e1", "EMITTED", NOON + MINUTE),
        ("e2", "EMITTED", NOON + MINUTE + SECOND),
    ]


def test_what_is_taken_back_is_as_the_file_says() -> None:
    first, second = likes(NOON, NOON + SECOND)
    silent, back = publish(NOON - 1, "like", {"channels": ["in_app"]}), publish(NOON + 1, "like", None)
    assert [outcome for _, outcome, _ in decisions(PUSH, silent, first, back, second)] == ["INBOX", "EMITTED"]
