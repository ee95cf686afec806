"""State that is gone, damaged, older than the log or ahead of it: restored to the same decisions, or refused.

Real processes over an embedded log whose begin is trimmed while events come; `Tap` keeps all that was ever in it.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from crash.left_behind import read_topic
from helpers.flow_bench import decided_in_one_go
from helpers.flow_processes import FlowProcesses
from helpers.memory_inbox import MemoryInboxStore
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.waiting import wait_for

from connectors.inbox.rocksdb import RocksInboxReader
from connectors.log import NewRecord, Record
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.topics import topic_specs
from flows.process.directories import INBOX
from flows.process.open import clock_ms
from operators.inbox_shard import InboxShard
from state.disk.exports import Export, exported_stores, list_exports
from state.model.envelope import header, parse_output_header, schema_of
from state.model.event import EVENT, RawEvent, resolve
from state.model.inbox import decode_operations
from state.model.keys import key_group, partition_of_group
from state.model.registry import load_registry
from state.model.work import EventWork, decode_work

PARTITIONS = 4
REGISTRY = load_registry()
FLOWS = ("sequence", "decide", "inbox")
ADDRESSES = {"push": "ab" * 32, "email": "u@example.org"}
OUTPUTS = ("ledger", "inbox", "deliver.push", "deliver.email")
WEEK_MS = 7 * 86_400_000
USERS = [f"u{number}" for number in range(20)]


class Tap:
    """Reads topics as they grow, so that a test knows what retention has removed."""

    def __init__(self, log: EmbeddedLog, topics: tuple[str, ...]) -> None:
        self._log = log
        self._places = [(topic, part) for topic in topics for part in range(log.partitions(topic))]
        self._reader = log.reader(dict.fromkeys(self._places, 0))
        self._records: dict[str, list[Record]] = {topic: [] for topic in topics}
        self._position = self._reader.position()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            for record in self._reader.poll(10_000, timedelta(milliseconds=50)):
                self._records[record.topic].append(record)
            self._position = self._reader.position()

    def read(self, topic: str) -> list[Record]:
        """All that was ever in it."""
        return list(self._records[topic])

    def has_all(self) -> bool:
        return all(self._position[place] >= self._log.end_offset(*place) for place in self._places)

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self._reader.close()


class System:
    """Sequence, decide and inbox over a log, fed and robbed."""

    def __init__(self, directory: Path, log: EmbeddedLog, processes: FlowProcesses) -> None:
        self.directory, self.log, self.processes = directory, log, processes
        self.tap = Tap(log, (*OUTPUTS, "work", "dead_letters"))
        self.direct: list[str] = []
        self._choose, self._number = random.Random(3), 0

    def settings(self) -> None:
        for user in USERS:
            devices = [
                _setting("endpoints", user, {
                    "user": user, "channel": channel, "id": "d", "platform": "ios",
                    "address": ADDRESSES[channel], "state": "active", "registered_at": 1,
                }) for channel in ("push", "email")
            ]  # fmt: skip
            cap = {"max_per_hour": self._choose.choice([2, 5, 50])}
            document = {"frequency_cap": cap, "types": {"newsletter": {"enabled": True}}}
            self.log.append([*devices, _setting("preferences", user, {"user": user, "doc": document})])
        chunk = {"segment": "all", "version": "1", "chunk": 0, "users": USERS}
        self.log.append([_setting("segments", "all", chunk)])
        self.log.append([_setting("segments", "all", {"segment": "all", "version": "1", "chunks": 1})])

    def feed(self, seconds: float) -> None:
        """Events of all sorts, a few of them twice."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.log.append([self._event() for _ in range(5)])
            time.sleep(0.03)

    def _event(self) -> NewRecord:
        choose, number = self._choose, self._number
        self._number += 1
        kind = choose.choice(["like", "comment", "reply", "mention", "newsletter"])
        fans = kind == "newsletter"
        event_id = f"e{number}"
        if not fans and number > 20 and choose.random() < 0.05:
            event_id = choose.choice(self.direct)  # a repeat: `sequence` must still know it, whatever it lost
        elif not fans:
            self.direct.append(event_id)
        raw = RawEvent(
            event_id=event_id, type=kind, actor=f"a{choose.randrange(4)}", target=choose.choice(USERS),
            object=f"o{choose.randrange(3)}", fan_out_type="SEGMENT" if fans else "DIRECT",
            segment="all" if fans else None, payload={"n": number}, sender_id="test",
        )  # fmt: skip
        event = resolve(raw, REGISTRY, ingested_at=clock_ms())
        key = event.segment if fans else event.target
        assert key is not None
        topic = f"events.{event.priority.lower()}"
        return NewRecord(topic, partition_of_group(key_group(key), PARTITIONS), key.encode(), EVENT.encode(event))

    def newest_exports(self) -> list[Export]:
        exports = self.directory / "exports"
        stores = ["sequence", *exported_stores(exports, "decide"), *exported_stores(exports, "inbox")]
        return [found[0] for store in stores if (found := list_exports(exports, store))]

    def start(self, name: str) -> None:
        """Start a flow and wait until it runs."""
        ready = self.directory / "run" / "ready" / name
        ready.unlink(missing_ok=True)
        self.processes.start(name)
        wait_for(ready.exists, 90, f"{name} runs")

    def wait_for_fresh_exports(self) -> None:
        """Every store has one from after now, of after everything that was accepted before."""
        now = clock_ms()

        def fresh() -> bool:
            for name in FLOWS:
                assert self.processes.is_alive(name), self.processes.output(name)
            found = [each for each in self.newest_exports() if each.manifest.created_at > now or self._is_current(each)]
            if any(each.manifest.by == "group" and not all(at for *_, at in _retained(each)) for each in found):
                return False  # a key group at the very start, which holds the whole log
            return {each.manifest.store.partition("/")[0] for each in found} == set(FLOWS)

        wait_for(fresh, 90, "every flow exports")

    def _is_current(self, export: Export) -> bool:
        """An idle inbox is not written again."""
        return all(self.log.end_offset(topic, part) == offset for topic, part, offset in _retained(export))

    def trim(self) -> None:
        """Retention removes what the newest exports and the flows do not need."""
        wait_for(self.tap.has_all, 30, "the tap has everything")
        self.trim_to(self.newest_exports())

    def trim_to(self, exports: Iterable[Export]) -> None:
        """Remove what these do not need, as far as one time for all partitions can say."""
        needed: dict[tuple[str, int], int] = {}
        for topic, part, offset in (place for each in exports for place in _retained(each)):
            needed[topic, part] = min(offset, needed.get((topic, part), offset))
        for part in range(PARTITIONS):  # what sequence stores just now bears a time not before that of the last record
            last = self.log.end_offset("work", part) - 1
            needed["work", part] = min(last, needed.get(("work", part), last))
        cut = clock_ms()
        while not all(self.log.offset_at(*place, cut) <= offset for place, offset in needed.items()):
            cut -= 1
        self.log.maintain(cut + WEEK_MS)
        assert all(self.log.begin_offset("work", part) > 0 for part in range(PARTITIONS)), "nothing was trimmed"

    def rob(self, *names: str) -> None:
        """Kill, delete the state, trim the log, start again."""
        self.wait_for_fresh_exports()
        for name in names:
            self.processes.kill(name)
            shutil.rmtree(self.directory / "state" / name)
        self.trim()
        for name in names:
            self.processes.start(name)

    def expected(self) -> dict[str, dict[str, bytes]]:
        return decided_in_one_go(self.tap)  # type: ignore[arg-type]  # anything that reads topics

    def settle(self) -> dict[str, dict[str, bytes]]:
        """Stop the writer of the log, and wait until all it wrote is decided; what that should have led to."""
        wait_for(self.all_sequenced, 90, "every accepted event is in the decision log")
        assert self.processes.stop("sequence") == 0, self.processes.output("sequence")
        wait_for(self.tap.has_all, 30, "the tap has everything")
        expected = self.expected()
        wait_for(lambda: len(self.outputs("ledger")) >= len(expected["ledger"]), 90, "all is decided")
        return expected

    def all_sequenced(self) -> bool:
        return set(self.direct) <= set(self.sequenced())

    def sequenced(self) -> list[str]:
        works = [decode_work(record.value) for record in self.tap.read("work")]
        return [work.event.event_id for work in works if isinstance(work, EventWork)]

    def outputs(self, topic: str) -> dict[str, bytes]:
        """What decide wrote, by `seq`; twice the same is once."""
        seen: dict[str, bytes] = {}
        for record in self.tap.read(topic):
            sequence = (header(record.headers, "seq") or b"").decode()
            if sequence.startswith("d:"):
                assert seen.setdefault(sequence, record.value) == record.value, "decided twice, differently"
        return seen


def _setting(topic: str, key: str, value: object) -> NewRecord:
    return NewRecord(topic, partition_of_group(key_group(key), PARTITIONS), key.encode(), orjson.dumps(value))


def _retained(export: Export) -> Iterator[tuple[str, int, int]]:
    """Offsets by partition of the topics that retention trims."""
    for topic, number, offset in export.manifest.offsets:
        if topic in ("work", "inbox", "events.p1", "events.p2", "reads", "retries"):
            yield topic, number if export.manifest.by == "partition" else partition_of_group(number, PARTITIONS), offset


def _expected_rows(records: list[Record]) -> MemoryInboxStore:
    """The rows that the inbox operations lead to, applied in one go."""
    store = MemoryInboxStore()
    shard = InboxShard(store, {}, {})
    for record in sorted(records, key=lambda each: (each.partition, each.offset)):
        place = parse_output_header(header(record.headers, "seq"))
        shard.apply(place, decode_operations(schema_of(record.headers), record.value))
        store.commit(shard.take_commit(record.offset + 1))
        shard.committed()
    return store


@pytest.fixture
def system(tmp_path: Path, log: EmbeddedLog) -> Iterator[System]:
    processes = FlowProcesses(tmp_path, {"CARILLON_EXPORTS__EVERY": "1s", "CARILLON_EXPORTS__KEEP": "2"})
    made = System(tmp_path, log, processes)
    yield made
    processes.end()
    made.tap.close()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path) as started:
        yield started


def _start_all(system: System) -> None:
    system.settings()
    for name in FLOWS:
        system.processes.start(name)


def _check_outputs(system: System, expected: dict[str, dict[str, bytes]]) -> None:
    for topic in OUTPUTS:
        wait_for(lambda topic=topic: len(system.outputs(topic)) >= len(expected[topic]), 60, topic)
        assert system.outputs(topic) == expected[topic], topic


def _check_rows(system: System) -> None:
    wait_for(system.tap.has_all, 30, "the tap has everything")
    expected = _expected_rows(system.tap.read("inbox"))
    reader = RocksInboxReader(system.directory / INBOX, PARTITIONS, system.directory / "secondary")
    try:
        for user in USERS:
            wait_for(lambda user=user: reader.page(user, 1000) == expected.page(user, 1000), 60, f"the inbox of {user}")
            assert reader.page(user, 1000).rows
    finally:
        reader.close()


def test_flows_that_lose_their_state_over_a_trimmed_log_decide_as_if_they_had_not(system: System) -> None:
    _start_all(system)
    system.feed(2.0)
    for lost in (("decide",), ("inbox",), ("sequence",), FLOWS):
        system.rob(*lost)
        system.feed(1.5)
    expected = system.settle()
    _check_outputs(system, expected)
    _check_rows(system)
    sequenced = system.sequenced()
    assert len(sequenced) == len(set(sequenced)), "a repeat was not recognised, or an event sequenced twice"
    assert set(sequenced) == set(system.direct)
    assert [system.processes.stop(name) for name in ("decide", "inbox")] == [0, 0]
    rebuilds = (system.directory / "run" / "rebuilds.ndjson").read_text()
    for store in ("decide", "inbox/0", "inbox/3", "sequence"):
        assert f'"store":"{store}","origin":"export' in rebuilds


def _damage_newest(system: System, store: str) -> int:
    newest = list_exports(system.directory / "exports", store)[0]
    path = newest.directory / newest.manifest.files[0].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return newest.number


def _stopped_with_exports(system: System, name: str) -> None:
    """Fed, exported more than once, stopped, and the log trimmed to what the older of two exports needs."""
    _start_all(system)
    system.feed(1.0)
    system.wait_for_fresh_exports()
    system.feed(0.5)
    system.wait_for_fresh_exports()
    for each in FLOWS:
        assert system.processes.stop(each) == 0, system.processes.output(each)
    wait_for(system.tap.has_all, 30, "the tap has everything")
    shutil.rmtree(system.directory / "state" / name)


def _refusal(system: System, name: str) -> str:
    """What a flow says that does not start."""
    system.processes.start(name)
    assert system.processes.ended(name, 60) == 1
    return system.processes.output(name)


def test_damaged_exports_are_passed_over_and_none_at_all_is_refused(system: System) -> None:
    _stopped_with_exports(system, "decide")
    older = list_exports(system.directory / "exports", "decide/0")[1]
    system.trim_to([older])
    damaged = _damage_newest(system, "decide/0")
    for name in ("sequence", "decide"):
        system.start(name)
    system.feed(0.5)
    expected = system.settle()
    _check_outputs(system, expected)
    assert system.processes.stop("decide") == 0
    rebuilds = (system.directory / "run" / "rebuilds.ndjson").read_text()
    assert f"export 0/{older.number}" in rebuilds
    assert f"0/{damaged}" not in rebuilds
    shutil.rmtree(system.directory / "state" / "decide")
    shutil.rmtree(system.directory / "exports")
    alone = _refusal(system, "decide")
    assert "carillon replay" in alone
    assert "--rebuild-state" in alone
    assert system.outputs("ledger") == expected["ledger"]


def _refusals(directory: Path, names: tuple[str, ...]) -> dict[str, str]:
    """What flows say that do not start, all started at once."""
    processes = FlowProcesses(directory)
    try:
        for name in names:
            processes.start(name)
        assert {name: processes.ended(name, 90) for name in names} == dict.fromkeys(names, 1)
        return {name: (directory / f"{name}.out").read_text() for name in names}
    finally:
        processes.end()


def _copy(system: System, name: str) -> Path:
    """The data directory as it is, apart from what the processes said."""
    copied = system.directory.with_name(f"{system.directory.name}-{name}")
    shutil.copytree(system.directory, copied, ignore=shutil.ignore_patterns("*.out", "doorbells", "bells"))
    return copied


def _maintained(directory: Path) -> None:
    """Retention has passed everything."""
    log = EmbeddedLog(directory, clock=clock_ms)
    log.maintain(clock_ms() + WEEK_MS + 1)
    log.close()


def _with_a_new_log(directory: Path) -> None:
    shutil.rmtree(directory / "log")
    log = EmbeddedLog(directory, clock=clock_ms)
    log.ensure_topics(topic_specs(PARTITIONS, timedelta(days=7)))
    log.close()


def test_what_does_not_fit_the_log_is_refused_by_every_flow(system: System, sandbox: Sandbox) -> None:
    names = (*FLOWS, "deliver", "transactional", "schedule", "track")
    assert sandbox.directory == system.directory
    system.settings()
    for name in names:
        system.processes.start(name)
    system.feed(1.0)
    system.log.append([_kept("k0", 100), _kept("k1"), _p0("o1")])
    wait_for(lambda: _others_have_read(system), what="schedule, transactional and deliver have state of this log")
    system.wait_for_fresh_exports()
    for each in names:
        assert system.processes.stop(each) == 0, system.processes.output(each)

    replaced = _copy(system, "replaced")
    _with_a_new_log(replaced)
    for name, text in _refusals(replaced, names).items():
        assert "StateDamagedError" in text, name
        assert "the log ends at" in text, name

    system.log.append([_p0("o2"), *_unread(("deliver.push", "inbox", "work", "events.p1"))])
    outdated = _copy(system, "outdated")
    _maintained(outdated)
    shutil.rmtree(outdated / "exports")
    said = _refusals(outdated, (*FLOWS, "deliver", "transactional"))
    assert "--rebuild-state" in said.pop("decide")
    for name, text in said.items():
        assert "had not read" in text, name
        assert "accept-loss" in text, name

    _maintained(system.directory)
    shutil.rmtree(system.directory / "exports")
    shutil.rmtree(system.directory / "state")
    said = _refusals(system.directory, FLOWS)
    assert "--rebuild-state" in said["decide"]
    assert "accept-loss" in said["inbox"]
    assert "accept-loss" in said["sequence"]


def _others_have_read(system: System) -> bool:
    """What they write says it, for they export nothing; track reads on while it drains."""
    told = [*system.tap.read("ledger"), *read_topic(system.log, "events.p1")]
    words = (b'"kind":"delivery"', b'"kind":"decision","event_id":"o1"', b'"event_id":"k0"')
    return all(any(word in record.value for record in told) for word in words)


def _kept(event_id: str, for_ms: int = 3_600_000) -> NewRecord:
    raw = RawEvent(event_id=event_id, type="reply", actor="a", target="u1", object="o", sender_id="test",
                   deliver_at=clock_ms() + for_ms)  # fmt: skip
    value = EVENT.encode(resolve(raw, REGISTRY, ingested_at=clock_ms()))
    return NewRecord("schedule", 0, event_id.encode(), value, (("schema", b"event/1+json"),))


def _p0(event_id: str) -> NewRecord:
    raw = RawEvent(event_id=event_id, type="otp", target="u1", sender_id="test", payload={"code": "1"})
    value = EVENT.encode(resolve(raw, REGISTRY, ingested_at=clock_ms()))
    return NewRecord("events.p0", partition_of_group(key_group("u1"), PARTITIONS), b"u1", value)


def _unread(topics: tuple[str, ...]) -> list[NewRecord]:
    """Something in every partition that the flows have yet to read."""
    return [
        NewRecord(topic, part, b"x", b"{}")
        for topic in topics
        for part in range(2 * PARTITIONS if topic.startswith("deliver") else PARTITIONS)
    ]


def test_the_loss_of_records_can_be_accepted(system: System) -> None:
    _start_all(system)
    system.feed(1.0)
    system.wait_for_fresh_exports()
    for each in FLOWS:
        assert system.processes.stop(each) == 0, system.processes.output(each)
    system.feed(0.3)
    wait_for(system.tap.has_all, 30, "the tap has everything")
    system.log.maintain(clock_ms() + WEEK_MS + 1)
    assert "accept-loss" in _refusal(system, "sequence")
    (system.directory / "state" / "sequence" / "accept-loss").touch()
    system.direct.clear()
    system.processes.start("sequence")
    system.feed(0.5)
    wait_for(system.all_sequenced, 60, "sequence goes on with what is there")
    assert "records_given_up" in system.processes.output("sequence")
