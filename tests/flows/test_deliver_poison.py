"""Records that raise, or end the process, in deliver and P0: a dead letter, and everything else goes on."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import Any

import pytest
from helpers.feeding import System, addresses, token
from helpers.places import ROOT, TESTS
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord
from flows.process.run_files import ready_file
from operators.laws import check_laws
from state.ledger import latest, ledger_table

MODULE = "helpers.poisoned_flow"


@pytest.fixture(autouse=True)
def _tests_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{TESTS}")


def letters(system: System) -> dict[str, dict[str, Any]]:
    """By id: what a crash wrote twice is one."""
    return {value["id"]: value for value in system.values("dead_letters")}


def mismatches(system: System) -> dict[str, int]:
    table, refused = ledger_table(system.read("ledger"))
    assert not refused
    report = check_laws(latest(table), settled_ms=0)
    return {law.name: len(law.mismatches) for law in report.laws if law.name in ("2", "2 emissions") and law.mismatches}


def start_until_it_stays(system: System, name: str, alive: Any) -> int:
    """Start it again whenever it dies, as its supervisor does; gives the deaths before `alive` held."""
    deaths = 0
    while True:
        process = system.start(name, MODULE)
        try:
            wait_for(lambda process=process: process.poll() is not None or alive())
            if process.poll() is None:
                return deaths
        finally:
            end(process)
        deaths += 1
        assert deaths < 10


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    process.wait(90)
    assert process.stdin is not None
    process.stdin.close()


def good(system: System, number: int) -> NewRecord:
    return system.emission(f"g{number}", "push", [("d", token(f"g{number}"))])


def test_what_raises_in_deliver_is_set_aside_and_the_others_go_on(system: System, sandbox: Sandbox) -> None:
    rest = [{"channel": "email", "devices": addresses([("m", "poison@example.com")])}]
    batch = [
        good(system, 0),
        system.emission("u1", "push", [("d", token("a"))], payload={"note": "@raise:decode@"}),
        system.emission("u2", "push", [("d", token("b")), ("e", token("c"))], payload={"note": "@raise:render@"}),
        good(system, 1),
        system.emission("u3", "push", [("@raise:build@", token("d"))]),
        system.emission("u4", "push", [("@raise:build@", token("e"))], rest=rest),
        system.emission("u5", "push", [("d", token("f"))])._replace(
            headers=(("schema", b"emission/1+json"), ("seq", b"d:999:5:0"))
        ),
        good(system, 2),
    ]
    with system.flow("deliver", MODULE):
        wait_for(ready_file(system.directory, "deliver").exists)
        system.feed(batch)
        wait_for(lambda: all(sandbox.to("apns", token(f"g{number}")) for number in range(3)))
        wait_for(lambda: len(system.deliveries()) == 8)
        wait_for(lambda: sum(c["accepted"] - c["in_flight"] for c in system.counts("deliver").values()) == 7)
    outcomes = {
        (v["user"], v["channel"], v["device"]): (v["outcome"], v["reason"]) for v in system.deliveries().values()
    }
    assert Counter(outcome for outcome, _ in outcomes.values()) == {"DELIVERED": 4, "DEAD_LETTER": 3, "FELL_BACK": 1}
    assert outcomes["u4", "email", "m"] == ("DELIVERED", None)
    assert all(reason.startswith("raised: KeyError in ") for _, reason in outcomes.values() if reason)
    found = letters(system)
    assert Counter(letter["kind"] for letter in found.values()) == {"raised": 5, "malformed": 1}
    assert all("secret" not in letter["error"] for letter in found.values())
    assert all((letter["stage"], letter["sender_id"]) == ("deliver", "social") for letter in found.values())
    assert {entry["to"] for entry in sandbox.journal("apns")} == {token(f"g{number}") for number in range(3)}


def test_what_kills_deliver_is_set_aside_after_five_starts(system: System, sandbox: Sandbox) -> None:
    """Its neighbours, which were under way at every death, are sent once."""
    system.feed([
        good(system, 0),
        system.emission("g0", "push", [("d", token("a"))], payload={"note": "@kill:decode@"}),
        good(system, 1),
    ])  # fmt: skip
    assert start_until_it_stays(system, "deliver", lambda: len(system.deliveries()) == 2) == 5
    assert {v["outcome"] for v in system.deliveries().values()} <= {"DELIVERED", "UNKNOWN"}
    (letter,) = letters(system).values()
    assert (letter["kind"], letter["error"]) == ("killed", "it ended the process five times in a row")
    assert Counter(str(entry["to"]) for entry in sandbox.journal("apns")).keys() <= {token("g0"), token("g1")}
    assert max(Counter(str(entry["id"]) for entry in sandbox.journal("apns")).values()) == 1


def test_p0_sets_aside_what_raises_or_kills_and_a_repeat_of_it_is_decided(system: System, sandbox: Sandbox) -> None:
    system.feed([system.endpoint("u1", "push", "d1", token("pz"))])
    poison = system.p0("u1", payload={"code": "1", "note": "@raise:decode@"}, idempotency_key="k")
    unmade = system.p0("u1", payload={"code": "2", "note": "@raise:render@"})
    good, deep = system.p0("u1"), system.p0("u1", payload={"x": []})
    deep = deep._replace(value=deep.value.replace(b"[]", b"[" * 900 + b"]" * 900))
    with system.flow("transactional", MODULE):
        system.feed([poison, unmade, deep, good])
        wait_for(lambda: len(system.deliveries()) == 2)
        wait_for(lambda: len(letters(system)) == 3)
        mended = system.p0("u1", idempotency_key="k", event_id=json.loads(poison.value)["event_id"])
        system.feed([mended])
        wait_for(lambda: len(system.deliveries()) == 3)
        wait_for(lambda: sum(c["resolved"] for c in system.counts("transactional").values()) == 3)
    assert Counter(v["outcome"] for v in system.deliveries().values()) == {"DELIVERED": 2, "DEAD_LETTER": 1}
    assert {(x["stage"], x["sender_id"]) for x in letters(system).values()} == {("transactional", "accounts")}
    assert Counter(x["kind"] for x in letters(system).values()) == {"raised": 2, "malformed": 1}
    assert len(sandbox.to("apns", token("pz"))) == 2
    assert not mismatches(system)

    system.feed([
        system.p0("u1", payload={"note": "@kill:render@"}),
        system.p0("u1"),
    ])  # fmt: skip
    assert start_until_it_stays(system, "transactional", lambda: len(system.deliveries()) == 5) == 5
    assert Counter(x["kind"] for x in letters(system).values()) == {"raised": 2, "killed": 1, "malformed": 1}
    assert len({entry["id"] for entry in sandbox.to("apns", token("pz"))}) == 3
    assert not mismatches(system)
