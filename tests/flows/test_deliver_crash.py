"""Kill -9 of the deliver flow during a feed: nothing lost, nothing sent twice, the ledger of a run without."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.feeding import PARTITIONS, System, addresses, kill, token
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.sending_laws import Key, Outcome, check, settled, taken
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord

USERS = 160


def emissions(system: System) -> list[NewRecord]:
    """Push with one or two devices, mail, some that fail once, some that fall back; P1 and P2."""
    records = []
    for number in range(USERS):
        user, name = f"u{number}", f"{number:03}".ljust(40, "0")
        lane: dict[str, Any] = {"priority": "P2" if number % 4 == 0 else "P1"}
        if number % 10 == 3:
            mail = {"channel": "email", "devices": addresses([("m", f"slow20-{number}@example.com")])}
            records.append(system.emission(user, "push", [("d1", f"bad-{name}")], rest=[mail], **lane))
        elif number % 10 == 5:
            records.append(system.emission(user, "push", [("d1", f"500x1-{name}")], **lane))
        elif number % 10 == 7:
            records.append(system.emission(user, "email", [("m", f"slow30-{number}@example.com")], **lane))
        else:
            slow_ms = 500 if number % 10 == 9 else 40
            devices = [("d1", f"slow{slow_ms}-{name}"), ("d2", token(number))]
            records.append(system.emission(user, "push", devices, **lane))
    return records


def run_with_kills(system: System, rng: random.Random, kills: int) -> int:
    """Feed in pieces while the flow is killed at random; gives how many deliveries were open at a kill."""
    records = emissions(system)
    size = -(-len(records) // (kills + 1))
    pieces = [records[start : start + size] for start in range(0, len(records), size)]
    interrupted = 0
    for piece in pieces[:-1]:
        before = len(system.read("attempts"))
        process = system.start("deliver")
        system.feed(piece)
        wait_for(lambda before=before: len(system.read("attempts")) > before, 120, system.output("deliver"))
        if interrupted:
            time.sleep(rng.uniform(0.0, 0.25))
        else:  # a send must be under way at one kill at least
            wait_for(lambda: bool(open_intents(system)), 120, system.output("deliver"))
        kill(process)
        interrupted += len(open_intents(system))
    system.feed(pieces[-1])
    return interrupted


def open_intents(system: System) -> set[str]:
    found: set[str] = set()
    for value in system.values("attempts"):
        (found.add if value["state"] == "intent" else found.discard)(value["key"])
    return found


@pytest.mark.parametrize("seed", [1])
def test_kill_9_during_a_feed(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    system = System(tmp_path)
    with running_sandbox(tmp_path) as sandbox:
        interrupted = run_with_kills(system, random.Random(seed), kills=4)
        outcomes = finish(system, sandbox)
    unknown = {key for key, outcome in outcomes.items() if outcome[0] == "UNKNOWN"}
    assert 0 < len(unknown) <= interrupted, "no kill bit: nothing was under way"
    print(f"under way at kills {interrupted}, unknown {len(unknown)} of {len(outcomes)}")
    calm = uninterrupted(tmp_path / "without")
    assert {key: outcomes[key] for key in outcomes.keys() - unknown} == {
        key: calm[key] for key in outcomes.keys() - unknown
    }
    assert all(calm[key[0], "push", "d1"][0] == "FELL_BACK" for key in calm.keys() - outcomes.keys())


def test_kill_9_while_messages_are_withdrawn(tmp_path: Path) -> None:
    system, rng = System(tmp_path), random.Random(3)
    names = [f"slow40-{number:03}".ljust(40, "0") for number in range(60)]
    shown = [system.emission(f"u{name}", "push", [("d1", name)]) for name in names]
    asked = [system.withdrawal(f"u{name}", [("d1", name)]) for name in names]
    interrupted = 0
    with running_sandbox(tmp_path) as sandbox:
        system.feed(shown)
        with system.flow("deliver"):
            wait_for(lambda: settled(system, shown), 120, system.output("deliver"))
        for piece in (asked[:20], asked[20:40]):
            before = len(withdrawn(sandbox))
            process = system.start("deliver")
            system.feed(piece)
            wait_for(lambda before=before: len(withdrawn(sandbox)) > before, 120, system.output("deliver"))
            time.sleep(rng.uniform(0.0, 0.05))
            kill(process)
            interrupted += len(open_intents(system))
        system.feed(asked[40:])
        with system.flow("deliver"):
            wait_for(lambda: told(system) + len(closed(system)) == 60, 120, system.output("deliver"))
        check(system, sandbox)
        assert settled(system, shown)
        seen = withdrawn(sandbox)
    print(f"under way at kills {interrupted}, taken {len(seen)}, told {told(system)}")
    assert [identity for identity, times in seen.items() if times > 1] == []
    assert {each["outcome"] for each in closed(system)} <= {"UNKNOWN"}
    assert len(closed(system)) <= interrupted
    assert told(system) <= len(seen) <= 60


def withdrawn(sandbox: Sandbox) -> Counter[str]:
    return Counter(str(entry["id"]) for entry in sandbox.journal("apns") if entry.get("withdraws"))


def told(system: System) -> int:
    return len({value["user"] for value in system.values("outcomes") if value["outcome"] == "withdrawn"})


def closed(system: System) -> list[dict[str, Any]]:
    """Withdrawals that ended in another way than by `sent`."""
    return [value for value in system.values("attempts") if value["state"] == "closed"]


def finish(system: System, sandbox: Sandbox) -> dict[Key, Outcome]:
    """Run until everything has ended."""
    with system.flow("deliver"):
        wait_for(lambda: settled(system, emissions(System(system.directory))))
    return check(system, sandbox)


def uninterrupted(directory: Path) -> dict[Key, Outcome]:
    """The same feed without a kill."""
    directory.mkdir()
    system = System(directory)
    with running_sandbox(directory) as sandbox:
        system.feed(emissions(system))
        outcomes = finish(system, sandbox)
    assert not [key for key, outcome in outcomes.items() if outcome[0] == "UNKNOWN"]
    return outcomes


def test_a_lost_state_directory_doubles_nothing(tmp_path: Path) -> None:
    system = System(tmp_path)
    with running_sandbox(tmp_path) as sandbox:
        records = emissions(system)
        system.feed(records[: USERS // 2])
        process = system.start("deliver")
        wait_for(lambda: len(taken(sandbox)) > 20)
        kill(process)
        shutil.rmtree(tmp_path / "state")
        system.feed(records[USERS // 2 :])
        finish(system, sandbox)
        assert (tmp_path / "state" / "deliver" / f"p{PARTITIONS - 1:03}").exists()


def test_after_a_clean_stop_nothing_is_sent_or_told_again(tmp_path: Path) -> None:
    system = System(tmp_path)
    with running_sandbox(tmp_path) as sandbox:
        system.feed([system.emission("u1", "push", [("d1", token(1))])])
        for _ in range(2):
            with system.flow("deliver"):
                wait_for(system.deliveries)
                time.sleep(1.5)
        assert len(sandbox.journal("apns")) == 1
