"""The judge can condemn: what a run left behind is tampered with, and each forgery is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from crash.harness import TRUTH, crash_run
from crash.left_behind import Line, headers_of, log_of, read_topic
from crash.truth import Truth
from crash.verdict import judge
from rocksdict import Options, Rdict

from connectors.log.interface import Log, NewRecord, Record

ENVIRONMENT = {"CARILLON_PROFILE": "embedded"}


def _first(log: Log, topic: str, wanted: Callable[[Record], bool]) -> Record:
    return next(record for record in read_topic(log, topic) if wanted(record))


def _again(log: Log, record: Record, value: bytes | None = None, **headers: str) -> None:
    """The record once more, behind everything."""
    changed = tuple((name, headers.get(name, old.decode()).encode()) for name, old in record.headers)
    log.append([NewRecord(record.topic, record.partition, record.key, value or record.value, changed)])


def _is(kind: str) -> Callable[[Record], bool]:
    return lambda record: headers_of(record)["schema"].startswith(kind)


def _forge_log(log: Log) -> None:
    """An event twice; a decision that says something else; a message under a second id; a preference nobody read."""
    _again(log, _first(log, "work", lambda record: b'"k":"event"' in record.value))
    decided = _first(log, "ledger", _is("decision/1+json"))
    outcome = json.loads(decided.value) | {"outcome": "SHED"}
    _, group, *_ = headers_of(decided)["seq"].split(":")
    _again(log, decided, json.dumps(outcome).encode(), seq=f"d:{group}:{1 << 40}:0")
    intent = _first(log, "attempts", lambda record: b'"state":"intent"' in record.value)
    _again(log, intent, json.dumps(json.loads(intent.value) | {"provider_id": "another"}).encode())
    _again(log, _first(log, "preferences", lambda record: bool(record.value)))


def _forge_journal(path: Path) -> None:
    """One message less, all others twice, and one that nobody asked for."""
    lines: list[Line] = [json.loads(text) for text in path.read_text().splitlines()]
    plain = [line for line in lines if line["status"] == 200]
    lost, *doubled = plain
    kept = [line for line in lines if line is not lost]
    kept += [*doubled, lost | {"id": "phantom"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))


def _forge_inbox(directory: Path) -> None:
    """A row goes."""
    for path in sorted((directory / "state" / "inbox").iterdir()):
        if not (path / "CURRENT").exists():
            continue
        database = Rdict(str(path), Options(raw_mode=True))
        key = next((key for key in database.keys(from_key=b"r") if isinstance(key, bytes) and key[:1] == b"r"), None)
        if key is not None:
            database.delete(key)
        database.close()
        if key is not None:
            return


def _forge_truth(path: Path) -> None:
    """An event that was accepted, it says, and is nowhere."""
    body = {"type": "mention", "actor": "a", "target": "u1", "payload": {"n": 999_999}}
    with path.open("a") as file:
        file.write(json.dumps({"what": "event", "n": 999_999, "body": body, "p0": False, "at": 1}) + "\n")
        file.write(json.dumps({"what": "answer", "n": 999_999, "status": 202, "event_id": "x", "at": 2}) + "\n")


@pytest.mark.timeout(300)
def test_every_forgery_is_named(tmp_path: Path) -> None:
    outcome = crash_run(tmp_path, seed=2, kills=0, environment=ENVIRONMENT, quiet_s=6)
    outcome.assert_exact()
    environment = {**ENVIRONMENT, "CARILLON_CONFIG": str(tmp_path / "carillon.toml")}
    with log_of(tmp_path, environment) as (_, log):
        _forge_log(log)
    _forge_journal(tmp_path / "sandbox" / "apns.ndjson")
    _forge_inbox(tmp_path)
    _forge_truth(tmp_path / TRUTH)
    found = "\n".join(judge(tmp_path, environment, Truth(tmp_path / TRUTH)).problems)
    for crime in (
        "is in the decision log 2 times",
        "records from",
        "SHED",
        "carried several provider ids",
        "is not, or not everywhere, in the decision log",
        "is lost: DELIVERED on the ledger",
        " was sent 2 times\n",
        "of P0 was sent 2 times, 0 of them behind an open intent",
        "without an intent",
        "inbox row",
        "event 999999 was accepted",
    ):
        assert crime in found, f"{crime!r} is not in\n{found}"
