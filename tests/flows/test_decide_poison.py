"""Records that decide cannot decide: skipped, told, and nothing else is different."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import work_log
from helpers.decided import assert_complete, complete
from helpers.flow_bench import PARTITIONS, START, Bench, calls, decided_in_one_go
from helpers.places import ROOT, TESTS

from connectors.log import NewRecord
from flows.steps.dead_letters import read_dead_letters
from flows.steps.decide.group import restore_skips
from state.decide.checkpoint import GroupStore
from state.disk.poison import STARTS_MAX
from state.model.dead_letter import DeadLetter, decode_letter
from state.model.keys import KEY_GROUPS, groups_of_partition, key_group, partition_of_group
from state.model.work import EndpointWork, EventWork, SliceWork, TickWork, VersionsWork, encode_work

Skipped = set[tuple[int, int]]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path / "bench")
    yield opened
    opened.close()


def _endpoint(choose: random.Random, stamp: int) -> NewRecord:
    """Time goes on by half a day, timers fire, the user gets a row: then the registration does not pack."""
    group = key_group(choose.choice(work_log.HOT))
    later = stamp + 43_200_000
    return work_log.work(
        EndpointWork(g=group, stamp=later, user="new", channel="push", id="d", registered_at=10**30), group=group
    )


def _slice(choose: random.Random, stamp: int) -> NewRecord:
    group = key_group(choose.choice(work_log.HOT))
    event = work_log.event("bad", "announcement", stamp, fan_out_type="SEGMENT", segment="all")
    return work_log.work(SliceWork(g=group, stamp=stamp, event=event, hash_from="nowhere"), group=group)


def _versions(choose: random.Random, stamp: int) -> NewRecord:
    record = VersionsWork(stamp=stamp, registry=2, tzdata="t", rules=1, types={"like": {"klass": "bogus"}})
    return work_log.work(record, partition=choose.randrange(PARTITIONS))


def _no_json(choose: random.Random, stamp: int) -> NewRecord:
    group = choose.randrange(KEY_GROUPS)
    return NewRecord("work", partition_of_group(group, PARTITIONS), str(group).encode(), b'{"k":"event","g":')


def _no_group(choose: random.Random, stamp: int) -> NewRecord:
    group = key_group(work_log.HOT[0])
    right = work_log.direct(choose, 10_000, stamp, work_log.HOT[:1])
    away = (partition_of_group(group, PARTITIONS) + 1) % PARTITIONS
    return right._replace(partition=away, key=choose.choice([right.key, b"x", "²".encode(), b"999999999999", b"-1"]))


def _deep(choose: random.Random, stamp: int) -> NewRecord:
    """It decodes, is held, and could not be stored."""
    group = key_group(work_log.HOT[0])
    event = work_log.event("deep", "mention", stamp, target=work_log.HOT[0], payload={"P": 1})
    whole = encode_work(EventWork(g=group, stamp=stamp, event=event, users=[work_log.HOT[0]]))
    value = whole.replace(b'{"P":1}', b'{"[":' * 985 + b"1" + b"}" * 985)
    return NewRecord("work", partition_of_group(group, PARTITIONS), str(group).encode(), value)


def _no_time(choose: random.Random, stamp: int) -> NewRecord:
    record = TickWork(stamp=choose.choice([-1, 1 << 60]))
    return work_log.work(record, partition=choose.randrange(PARTITIONS))


KINDS: list[Callable[[random.Random, int], NewRecord]] = [
    _endpoint,
    _slice,
    _versions,
    _no_json,
    _no_group,
    _deep,
    _no_time,
]


def _fill(bench: Bench, choose: random.Random, poisons: int) -> tuple[Skipped, int]:
    """A day with poison in it; where it stands, and how many letters it makes."""
    records = work_log.day(choose)
    settings = sum(1 for _ in work_log.settings(random.Random(1)))
    skipped: Skipped = set()
    letters = 0
    places = sorted(choose.sample(range(settings, len(records)), poisons))
    for number, record in enumerate(records):
        if number in places:
            poison = KINDS[places.index(number) % len(KINDS)](choose, START + number)
            [offset] = bench.log.append([poison])
            skipped.add((poison.partition, offset))
            letters += 1 if poison.key else len(groups_of_partition(poison.partition, PARTITIONS))
        bench.append(record)
    return skipped, letters


def _letters(bench: Bench) -> list[DeadLetter]:
    """By id; what is there twice must be the same."""
    found: dict[str, DeadLetter] = {}
    for record in bench.read("dead_letters"):
        letter = decode_letter(record.value)
        assert found.setdefault(letter.id, letter) == letter
    return list(found.values())


def _written(bench: Bench) -> int:
    return sum(bench.log.end_offset("ledger", partition) for partition in range(PARTITIONS))


@pytest.mark.parametrize(("seed", "workers", "stops"), [(1, 1, 0), (2, 2, 3), (3, 1, 5)])
def test_poison_changes_nothing_for_the_others(bench: Bench, seed: int, workers: int, stops: int) -> None:
    choose = random.Random(seed)
    skipped, letters = _fill(bench, choose, 28)
    expected = decided_in_one_go(bench, without=skipped)
    assert {len(expected[topic]) > 10 for topic in ("ledger", "inbox", "deliver.push")} == {True}
    if stops:  # a crash that loses the whole state: what was decided is decided twice
        bench.decide(lambda: bool(_written(bench)), workers=workers, budget=7)
        bench.lose("decide")
    for _ in range(stops):
        bench.decide(calls(choose.randrange(20, 100)), workers=workers, budget=choose.choice([7, 60, 200]))
    bench.decide(complete(bench, expected), workers=workers)
    assert_complete(bench, expected)
    assert not stops or len(bench.read("ledger")) > len(expected["ledger"]), "nothing was decided twice"
    found = _letters(bench)
    assert len(found) == letters
    assert {letter.source[1:] for letter in found} == skipped
    assert {letter.kind for letter in found} == {"raised", "malformed"}
    for record in bench.read("dead_letters"):
        assert record.partition == decode_letter(record.value).source[1]


def test_a_letter_says_what_and_where_and_no_content(bench: Bench) -> None:
    bench.append(*work_log.settings(random.Random(1)))
    event = work_log.event("bad", "announcement", START, fan_out_type="SEGMENT", segment="all", payload={"x": "secret"})
    group = key_group("u1")
    [offset] = bench.log.append(
        [work_log.work(SliceWork(g=group, stamp=START + 7, event=event, hash_from="x"), group=group)]
    )
    bench.append(*work_log.ticks(START + 1000))
    bench.decide(calls(60))
    [letter] = _letters(bench)
    partition = partition_of_group(group, PARTITIONS)
    assert letter.id == f"decide/work/{partition}/{offset}/{group}"
    assert (letter.source, letter.group, letter.stage) == (("work", partition, offset), group, "decide")
    assert (letter.kind, letter.event_id, letter.sender_id, letter.type) == ("raised", "bad", "s", "announcement")
    assert letter.error.startswith("ValueError in operators.decide:")
    assert letter.at == START + 7
    [record] = [each for each in bench.read("dead_letters") if decode_letter(each.value) == letter][:1]
    assert b"secret" not in record.value
    assert dict(record.headers)["seq"] == f"d:{group}:{offset}:0".encode()


def test_without_its_state_decide_skips_what_it_skipped_before(bench: Bench) -> None:
    """Also what could be decided now: here a record that a group skipped as one that ended the process."""
    choose = random.Random(5)
    skipped, _ = _fill(bench, choose, 10)
    partition, offset = 1, max(each.offset for each in bench.read("work") if each.partition == 1 and each.key) // 2
    record = next(r for r in bench.read("work") if r.partition == 1 and r.offset >= offset and r.key)
    store = GroupStore(bench.directory / "state" / "decide")
    store.skip(int(record.key), record.offset, _killed(record.offset, int(record.key)))
    store.close()
    expected = decided_in_one_go(bench, without={*skipped, (partition, record.offset)})
    bench.decide(complete(bench, expected))
    assert_complete(bench, expected)
    before, written = _letters(bench), len(bench.read("ledger"))
    bench.lose("decide")
    store = GroupStore(bench.directory / "state" / "decide")
    taken = restore_skips(store, range(KEY_GROUPS), read_dead_letters(bench.log))
    assert taken >= len(before)
    store.close()
    bench.decide(complete(bench, expected))
    bench.decide(calls(150))
    assert_complete(bench, expected)
    assert _letters(bench) == before
    assert len(bench.read("ledger")) >= written + len(expected["ledger"]), "not everything was decided again"


def _killed(offset: int, group: int) -> bytes:
    import msgspec

    letter = DeadLetter(
        id=f"decide/work/1/{offset}/{group}", source=("work", 1, offset), group=group, kind="killed", error="e",
        stage="decide", at=START,
    )  # fmt: skip
    return msgspec.json.encode(letter)


_DECIDE = """
import sys
from pathlib import Path
from helpers.flow_bench import Bench, calls
import flows.steps.decide.group as deciding
import os, signal

apply = deciding.apply
def deadly(state, record, *rest):
    if getattr(getattr(record, "event", None), "event_id", None) == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    return apply(state, record, *rest)
deciding.apply = deadly
bench = Bench.__new__(Bench)
bench.directory = Path(sys.argv[1])
bench.decide(calls(int(sys.argv[2])))
"""


def _decide_process(bench: Bench, most: int) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"}
    arguments = [sys.executable, "-c", _DECIDE, str(bench.directory), str(most)]
    return subprocess.run(arguments, env=environment, capture_output=True, timeout=60, check=False)


def test_a_record_that_ends_the_process_is_skipped_after_five_starts(bench: Bench) -> None:
    choose = random.Random(7)
    records = work_log.day(choose, events=60)
    middle = len(records) // 2
    bench.append(*records[:middle])
    group = key_group("u3")
    event = work_log.event("killer", "mention", START + 10, target="u3")
    killer = work_log.work(EventWork(g=group, stamp=START, event=event, users=["u3"]), group=group)
    [offset] = bench.log.append([killer])
    bench.append(*records[middle:])
    expected = decided_in_one_go(bench, without={(killer.partition, offset)})
    for _ in range(STARTS_MAX):
        dead = _decide_process(bench, 250)
        assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()[-2000:]
        assert _letters(bench) == []
    alive = _decide_process(bench, 250)
    assert alive.returncode == 0, alive.stderr.decode()[-2000:]
    assert_complete(bench, expected)
    [letter] = _letters(bench)
    assert (letter.kind, letter.event_id, letter.source) == ("killed", "killer", ("work", killer.partition, offset))
    (bench.directory / "state" / "decide.poison").unlink()
    assert _decide_process(bench, 20).returncode == 0, "that it is skipped is part of the checkpoint"
