"""A stopped process that wakes up after its successor works: it sends nothing, appends nothing, and ends."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from helpers.feeding import PARTITIONS, System, kill, now_ms
from helpers.kafka_system import KafkaSystem
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord
from connectors.log.topics import topic_specs
from flows.process.liveness import FENCED_EXIT
from state.model.event import EVENT, Event
from state.model.keys import key_group, partition_of_group

PIECES, PIECE = 12, 30
_WEEK = timedelta(days=7)


@pytest.fixture
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """On the embedded log, unless the test asks for both."""
    if getattr(request, "param", "embedded") == "kafka":
        opened: System = KafkaSystem(tmp_path, request.getfixturevalue("kafka_bootstrap"), f"fenced{time.time_ns()}.")
    else:
        opened = System(tmp_path)
    yield opened
    opened.log.close()


on_both = pytest.mark.parametrize("system", ["embedded", "kafka"], indirect=True)


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def sandbox(system: System, shared_sandbox: Sandbox) -> Sandbox:
    (system.directory / "sandbox").symlink_to(shared_sandbox.directory / "sandbox")
    shared_sandbox.begin()
    return shared_sandbox


def other_host(system: System, directory: Path) -> System:
    """The same log under another directory: what a lock file cannot keep apart."""
    directory.mkdir()
    for name in ("log", "run", "sandbox"):
        if (system.directory / name).exists():
            (directory / name).symlink_to(system.directory / name)
    if isinstance(system, KafkaSystem):
        return KafkaSystem(directory, system.bootstrap, system.prefix)
    return System(directory)


def topics() -> list[str]:
    """All but that of the claims."""
    return [spec.name for spec in topic_specs(PARTITIONS, _WEEK) if spec.name != "owners"]


def all_ends(system: System) -> dict[str, list[int]]:
    return {name: [system.log.end_offset(name, n) for n in range(system.log.partitions(name))] for name in topics()}


def everything(system: System) -> dict[str, list[int]]:
    """What readers find; on the embedded log where the partitions end, since there nothing is ever void."""
    if isinstance(system, KafkaSystem):
        return {name: [record.offset for record in system.read(name)] for name in topics()}
    return all_ends(system)


def settled(system: System) -> dict[str, list[int]]:
    """What there is, once the successor has nothing more to say."""
    ends, since, give_up = all_ends(system), time.monotonic(), time.monotonic() + 90
    while time.monotonic() - since < 1.0:
        assert time.monotonic() < give_up, "the successor goes on appending"
        time.sleep(0.1)
        if (now := all_ends(system)) != ends:
            ends, since = now, time.monotonic()
    return everything(system)


def wakes_up_fenced(
    system: System, process: subprocess.Popen[bytes], sandbox: Sandbox | None = None, under_way: Collection[str] = ()
) -> None:
    """SIGCONT; from then on nothing is appended and nothing is sent, and the process ends by itself.

    `under_way`: addresses to which it was sending when it was stopped; a request may be in its HTTP client's hands.
    """
    providers = ("apns", "twilio", "smtp") if sandbox is not None else ()
    ends = settled(system)
    journals = {name: sandbox.journal(name) for name in providers if sandbox is not None}
    process.send_signal(signal.SIGCONT)
    assert process.wait(90) == FENCED_EXIT
    assert process.stdin is not None
    process.stdin.close()
    time.sleep(0.3)
    assert everything(system) == ends, "it appended"
    after = {name: sandbox.journal(name) for name in providers if sandbox is not None}
    sent = [entry["to"] for name in providers for entry in after[name] if entry not in journals[name]]
    assert set(sent) <= set(under_way), "it sent"
    assert all(entry in after[name] for name in providers for entry in journals[name])


def all_counted(system: System, sends: int, owner: str = "deliver") -> bool:
    """So many have ended and it was said; the counts are written some time after the last delivery."""
    counts = system.counts(owner).values()
    ended: int = sum(each["accepted" if owner == "deliver" else "emitted"] - each["in_flight"] for each in counts)
    return ended == sends == len(system.deliveries())


def stop_at_work(
    system: System, process: subprocess.Popen[bytes], bites: Callable[[], object], more: Callable[[], object] = bool
) -> None:
    """SIGSTOP while something is under way: on Kafka at any moment, on the embedded log not inside a transaction, where
    it would hold everybody up. `more` gives it more to do if all was over before it was looked at.
    """
    end = time.monotonic() + 90
    while True:
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        if bites() and not _holds_a_lock(process.pid):
            return
        assert time.monotonic() < end, "it could not be stopped in the middle of its work"
        process.send_signal(signal.SIGCONT)
        more()
        time.sleep(0.03)


def _holds_a_lock(pid: int) -> bool:
    return any(
        line.split()[4] == str(pid) and line.split()[6] == "120" and line.split()[3] == "WRITE"
        for line in Path("/proc/locks").read_text().splitlines()
    )


def under_way(system: System, devices: list[str]) -> set[str]:
    """Of the users u0, u1, ..., the devices to which something is on its way."""
    found: set[str] = set()
    for value in system.values("attempts"):
        (found.add if value["state"] == "intent" else found.discard)(value["key"])
    return {devices[int(key.split("/")[1][1:])] for key in found}


def at_provider(sandbox: Sandbox) -> set[str]:
    return {str(entry["to"]) for entry in sandbox.journal("apns")}


def all_at_provider(system: System, devices: list[str], sandbox: Sandbox) -> bool:
    """Something is on its way, and all of that is with the provider."""
    return set() < under_way(system, devices) <= at_provider(sandbox)


class Pieces:
    """Records that are fed piece by piece, one for each person."""

    def __init__(self, system: System, records: Sequence[NewRecord]) -> None:
        self._system, self._records, self.fed = system, records, 0

    def next(self) -> None:
        """One piece more."""
        self._system.feed(self._records[self.fed : self.fed + PIECE])
        self.fed += PIECE

    def next_if_over(self) -> None:
        """Where the machine stood still until all of them had ended."""
        if len(self._system.deliveries()) == self.fed:
            self.next()


@on_both
def test_deliver_stopped_in_the_middle_of_sending(system: System, sandbox: Sandbox, tmp_path: Path) -> None:
    devices = [f"slow300-{number:03}".ljust(40, "0") for number in range(PIECES * PIECE)]
    feed = Pieces(system, [system.emission(f"u{n}", "push", [("d1", device)]) for n, device in enumerate(devices)])
    old = system.start("deliver")
    feed.next()

    if isinstance(system, KafkaSystem):
        # A broker's answer is longer on its way, so a process that wakes up knows later that it was fenced.
        stop_at_work(system, old, lambda: under_way(system, devices), feed.next_if_over)
        may_send = under_way(system, devices)
    else:
        is_sending = partial(all_at_provider, system, devices, sandbox)
        stop_at_work(system, old, is_sending, feed.next_if_over)
        may_send = set()
    feed.next()
    after = other_host(system, tmp_path / "other")
    with after.flow("deliver"):
        wait_for(lambda: all_counted(system, feed.fed))
        wakes_up_fenced(system, old, sandbox, may_send)
    outcomes = {record["outcome"] for record in system.deliveries().values()}
    assert outcomes <= {"DELIVERED", "UNKNOWN"}
    assert len(sandbox.journal("apns")) == len({entry["id"] for entry in sandbox.journal("apns")}) <= feed.fed
    assert len(sandbox.journal("apns")) >= feed.fed - PIECE


def test_p0_stopped_in_the_middle_of_sending(system: System, sandbox: Sandbox, tmp_path: Path) -> None:
    devices = [f"slow300-p0-{number:03}".ljust(40, "0") for number in range(PIECES * PIECE)]
    system.feed([system.endpoint(f"u{number}", "push", "d1", device) for number, device in enumerate(devices)])
    old = system.start("transactional")
    feed = Pieces(system, [system.p0(f"u{number}", ttl_ms=3_600_000) for number in range(len(devices))])
    feed.next()
    stop_at_work(system, old, partial(all_at_provider, system, devices, sandbox), feed.next_if_over)
    feed.next()
    after = other_host(system, tmp_path / "other")
    with after.flow("transactional"):
        wait_for(lambda: all_counted(system, feed.fed, "transactional"))
        wakes_up_fenced(system, old, sandbox)
    assert {record["outcome"] for record in system.deliveries().values()} == {"DELIVERED"}
    journal = sandbox.journal("apns")
    assert len({entry["id"] for entry in journal}) == feed.fed
    assert len(system.decisions()) == feed.fed


def direct(number: int) -> NewRecord:
    """An accepted mention, as the gateway would append it."""
    target = f"u{number % 50}"
    event = Event(
        event_id=f"e{number}", type="mention", priority="P1", target=target, actor="ann", object=f"o{number}",
        sender_id="social", ttl_ms=86_400_000, ingested_at=now_ms(),
    )  # fmt: skip
    partition = partition_of_group(key_group(target), PARTITIONS)
    return NewRecord("events.p1", partition, target.encode(), EVENT.encode(event), (("schema", b"event/1+json"),))


@on_both
def test_sequence_and_decide_stopped_under_load(system: System, tmp_path: Path) -> None:
    events = [direct(number) for number in range(6000)]
    old = {name: system.start(name) for name in ("sequence", "decide")}
    system.feed(events[:3000])
    for name, process in old.items():
        topic = {"sequence": "work", "decide": "ledger"}[name]
        wait_for(lambda topic=topic: system.log.end_offset(topic, 0))
        stop_at_work(system, process, lambda: True)
    system.feed(events[3000:])
    after = other_host(system, tmp_path / "other")
    with after.flow("sequence"), after.flow("decide"):
        wait_for(lambda: len(system.decisions()) == len(events))
        time.sleep(0.5)
        for process in old.values():
            process.send_signal(signal.SIGCONT)
        assert [process.wait(90) for process in old.values()] == [FENCED_EXIT, FENCED_EXIT]
        for process in old.values():
            assert process.stdin is not None
            process.stdin.close()
    written = [value["event"]["event_id"] for value in system.values("work") if value["k"] == "event"]
    assert sorted(written) == sorted(f"e{number}" for number in range(len(events))), (
        "an event was sequenced twice, or not at all"
    )
    places = [dict(record.headers)["seq"] for record in system.read("inbox")]
    assert len(set(places)) == len(events)


def test_the_same_directory_has_one_owner_and_says_which(system: System) -> None:
    old = system.start("decide")
    wait_for((system.directory / "run" / "ready" / "decide").exists)
    old.send_signal(signal.SIGSTOP)
    try:
        with (system.directory / "second.out").open("wb") as output:
            second = subprocess.Popen(
                [sys.executable, "-m", "flows.up.launch", "decide", "flows", "decide"],
                stdin=subprocess.PIPE, stdout=output, stderr=output, env=system.environment(),
            )  # fmt: skip
        assert second.stdin is not None
        with second.stdin:
            assert second.wait(60) == 1
        said = (system.directory / "second.out").read_text()
        assert f"is owned by process {old.pid} decide" in said
        assert f"kill -9 {old.pid}" in said
    finally:
        old.send_signal(signal.SIGCONT)
        kill(old)
    with system.flow("decide"):
        wait_for(lambda: "place_claimed" in (system.directory / "decide.out").read_text())
