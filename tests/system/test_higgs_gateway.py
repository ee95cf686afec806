"""The Higgs log through the gateway of the whole system, on both profiles: every accepted event's recipients are
accounted for, the three laws hold, and the figures are printed.

Reads ../shared/data, 40 000 events, and 20 000 with Kafka, which takes longest (skipped only where that folder is
absent); and everywhere a small made-up sample. HIGGS_EVENTS gives another number.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from helpers.up import Up, running
from helpers.waiting import wait_for
from rules.higgs import DATA, REAL
from rules.higgs_sample import SAMPLE

EVENTS = int(os.environ.get("HIGGS_EVENTS", "40000"))
KAFKA_EVENTS = int(os.environ.get("HIGGS_EVENTS", "20000"))
BATCH = 500
REACHABLE = 2_000
TYPES = {"retweet": "share", "mention": "mention", "reply": "reply"}


def higgs_events(data: Path, count: int) -> Iterator[dict[str, Any]]:
    """The busiest part of the log as events; self-actions included, they are decided too."""
    table = pq.read_table(data / "higgs_interactions.parquet", columns=["actor", "target", "verb", "object"])
    start = len(table) // 3
    for number, row in enumerate(table.slice(start, count).to_pylist()):
        yield {
            "event_id": f"higgs-{number}", "type": TYPES[str(row["verb"])], "actor": f"u{row['actor']}",
            "target": f"u{row['target']}", "object": f"tweet{row['object']}", "payload": {"text": "Higgs"},
        }  # fmt: skip


def _settings(system: Up, events: list[dict[str, Any]]) -> None:
    """Devices for the users most spoken to, with caps and quiet hours for some, through the host's and users' calls."""
    counted: dict[str, int] = {}
    for event in events:
        counted[event["target"]] = counted.get(event["target"], 0) + 1
    users = sorted(counted, key=lambda user: (-counted[user], user))[:REACHABLE]
    for user in users:
        status, answer = system.call(
            "PUT", f"/v1/users/{user}/endpoints/push/phone", {"platform": "ios", "address": f"{hash_of(user):064x}"}
        )
        assert status in (200, 201, 204), (status, answer)


def hash_of(user: str) -> int:
    """A number for a device token, the same in every run."""
    return int.from_bytes(user.encode().rjust(8, b"\0"), "big")


def _feed(system: Up, events: list[dict[str, Any]]) -> set[str]:
    """Post in batches until each is answered; the ids that were accepted."""
    accepted: set[str] = set()
    for start in range(0, len(events), BATCH):
        waiting = events[start : start + BATCH]
        deadline = time.monotonic() + 60
        while waiting:
            assert time.monotonic() < deadline, "the gateway refuses for a minute"
            status, answers = system.call("POST", "/v1/notifications/batch", waiting)
            if status in (429, 503):  # faster than the sender's limit: wait as a producer would
                time.sleep(0.3)
                continue
            assert status == 200, (status, answers)
            accepted |= {answer["event_id"] for answer in answers if answer["status"] in (200, 202)}
            refused = {a["status"] for a in answers} - {200, 202, 429, 503}
            assert not refused, refused
            waiting = [e for e, a in zip(waiting, answers, strict=True) if a["status"] in (429, 503)]
            if waiting:
                time.sleep(0.2)
    return accepted


def _looks_decided(system: Up, accepted: set[str]) -> bool:
    """Looks now and then: the question itself takes processor time from the flows, which give way to it."""
    time.sleep(4)
    return accepted <= _decided(system).keys()


def _decided(system: Up) -> dict[str, str]:
    done = system.carillon("ledger", "--json")
    assert done.returncode == 0, done.stderr
    records = (orjson.loads(line) for line in done.stdout.splitlines())
    return {record["event_id"]: record["outcome"] for record in records if record["kind"] == "decision"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("profile", "data", "count"),
    [
        pytest.param("embedded", DATA, EVENTS, marks=REAL, id="embedded"),
        pytest.param("kafka", DATA, KAFKA_EVENTS, marks=REAL, id="kafka"),
        pytest.param("embedded", SAMPLE, 500, id="sample"),
    ],
)
def test_every_recipient_is_accounted_for(
    profile: str, data: Path, count: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environment = {"CARILLON_PROFILE": profile}
    if profile == "kafka":
        environment["CARILLON_KAFKA__BOOTSTRAP"] = request.getfixturevalue("kafka_bootstrap")
        environment["CARILLON_LOG__PREFIX"] = f"higgs{time.time_ns()}."
    events = list(higgs_events(data, count))
    with running(tmp_path, environment=environment) as system:
        _settings(system, events)
        start = time.monotonic()
        accepted = _feed(system, events)
        fed_s = time.monotonic() - start
        wait_for(lambda: _looks_decided(system, accepted), 600, "a decision for every accepted event")
        decided_s = time.monotonic() - start
        wait_for(lambda: system.carillon("ledger", "--check").returncode == 0, 120, "the three laws")
        outcomes = _decided(system)
        assert set(outcomes) == accepted, "decisions of events that nobody accepted"
        _print(profile, len(accepted), fed_s, decided_s, outcomes)
        assert system.stop() == 0


def _print(profile: str, accepted: int, fed_s: float, decided_s: float, outcomes: dict[str, str]) -> None:
    by_outcome: dict[str, int] = {}
    for outcome in outcomes.values():
        by_outcome[outcome] = by_outcome.get(outcome, 0) + 1
    figures = {
        "profile": profile, "accepted": accepted, "fed_per_s": round(accepted / fed_s),
        "decided_per_s": round(accepted / decided_s), "outcomes": by_outcome,
    }  # fmt: skip
    print("\nhiggs", json.dumps(figures))
