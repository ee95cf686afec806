"""The journal that finds out which record ends its process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.places import GOLDEN, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from state.disk.poison import SLOTS, STARTS_MAX, PoisonJournal, RecordLocation
from state.model.errors import LogUnavailableError, StateError

RECORD = ("work", 2, 7_000_000_000, 239)
BYTES = GOLDEN / "poison" / "poison_1.hex"
_CHILD = """
import os, signal, sys
from pathlib import Path
from state.disk.poison import PoisonJournal

journal = PoisonJournal.open(Path(sys.argv[1]))
for offset in range(int(sys.argv[2]), 20):
    if journal.suspect("work", 0, offset, 3):
        print("skipped", offset)
        continue
    with journal.processing("work", 0, offset, 3):
        if offset == 13:
            os.kill(os.getpid(), signal.SIGKILL)
print("done")
"""


_OPENED: list[PoisonJournal] = []


@pytest.fixture(autouse=True)
def _all_are_closed() -> Iterator[None]:
    yield
    while _OPENED:
        _OPENED.pop().close()


def opened(path: Path, slots: int = SLOTS, *, unit: Path | None = None) -> PoisonJournal:
    """A start's journal; the process of a test may have had several."""
    _OPENED.append(PoisonJournal.open(path, slots, unit=unit))
    return _OPENED[-1]


def _died_in(path: Path, *records: tuple[str, int, int, int]) -> PoisonJournal:
    """A start that dies in the last of the records; the journal of the next one."""
    journal = opened(path)
    for record in records:
        journal.begin(*record)
    journal.close()
    return opened(path)


def test_five_deaths_in_a_row_convict(tmp_path: Path) -> None:
    journal = opened(tmp_path / "poison")
    for starts in range(1, STARTS_MAX + 1):
        journal = _died_in(tmp_path / "poison", ("work", 2, starts, 239), RECORD)
        assert journal.counts == {RecordLocation(*RECORD): starts}
        assert journal.suspect(*RECORD) == (starts == STARTS_MAX)
    others = [
        ("work", 2, RECORD[2], 238),
        ("work", 2, RECORD[2] + 1, 239),
        ("work", 1, *RECORD[2:]),
        ("x", *RECORD[1:]),
    ]
    assert not any(journal.suspect(*other) for other in others)


def test_a_death_elsewhere_begins_the_count_anew(tmp_path: Path) -> None:
    for _ in range(STARTS_MAX - 1):
        _died_in(tmp_path / "poison", RECORD)
    assert _died_in(tmp_path / "poison", ("work", 2, 1, 239)).counts == {RecordLocation("work", 2, 1, 239): 1}


def test_an_end_takes_the_note_back(tmp_path: Path) -> None:
    _died_in(tmp_path / "poison", RECORD)
    journal = opened(tmp_path / "poison")
    journal.begin(*RECORD)
    journal.end()
    assert opened(tmp_path / "poison").counts == {}


def test_a_start_that_began_nothing_neither_counts_nor_forgets(tmp_path: Path) -> None:
    for _ in range(STARTS_MAX - 1):
        _died_in(tmp_path / "poison", RECORD)
    for _ in range(7):
        assert opened(tmp_path / "poison").counts == {RecordLocation(*RECORD): STARTS_MAX - 1}


def test_a_conviction_holds_for_good(tmp_path: Path) -> None:
    """The process may die again before what it skipped is stored as done."""
    for _ in range(STARTS_MAX):
        _died_in(tmp_path / "poison", RECORD)
    for offset in range(10):
        assert _died_in(tmp_path / "poison", ("work", 2, offset, 1)).suspect(*RECORD)


def test_an_error_that_leaves_the_process_alive_is_no_death(tmp_path: Path) -> None:
    journal = opened(tmp_path / "poison")
    for error in (ValueError(), LogUnavailableError(), RecursionError()):
        with pytest.raises(type(error)), journal.processing(*RECORD):
            raise error
        assert opened(tmp_path / "poison").counts == {}
        journal = opened(tmp_path / "poison")


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(), KeyboardInterrupt()])
def test_an_error_that_ends_the_process_is_one(tmp_path: Path, error: BaseException) -> None:
    journal = opened(tmp_path / "poison")
    with pytest.raises(type(error)), journal.processing(*RECORD):
        raise error
    assert opened(tmp_path / "poison").counts == {RecordLocation(*RECORD): 1}


def test_kill_9_in_the_same_record_five_times(tmp_path: Path) -> None:
    path = tmp_path / "poison"
    for start in range(STARTS_MAX):
        dead = _run(path, start)
        assert dead.returncode == -signal.SIGKILL, dead.stderr
    survivor = _run(path, 0)
    assert survivor.stdout.split() == [b"skipped", b"13", b"done"], survivor.stderr
    assert _run(path, 0).stdout.split() == [b"skipped", b"13", b"done"]


def _run(path: Path, first: int) -> subprocess.CompletedProcess[bytes]:
    arguments = [sys.executable, "-c", _CHILD, str(path), str(first)]
    return subprocess.run(arguments, capture_output=True, check=False, timeout=90, env=_environment())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_kill_9_at_random_moments_convicts_nobody(tmp_path: Path) -> None:
    """Healthy records that take no time: the next start is hardly ever killed in the one of the start before."""
    program = _CHILD.replace("range(int(sys.argv[2]), 20)", "range(10**9)").replace("offset == 13", "False")
    program = program.replace("for offset", "print('begins', flush=True)\nfor offset")
    choose, felt = random.Random(5), 0
    for number in range(200):
        if number >= 12 and felt:
            break
        arguments = [sys.executable, "-c", program, str(tmp_path / "poison"), "0"]
        with subprocess.Popen(arguments, env=_environment(), stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"begins\n"
            time.sleep(choose.uniform(0.01, 0.1))
            child.kill()
        assert child.returncode == -signal.SIGKILL
        counts = opened(tmp_path / "poison").counts
        felt += len(counts)
        assert max(counts.values(), default=0) < 3
    assert felt > 0, "no kill hit a record in the midst: the test proves nothing"


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=12))
def test_counts_are_those_of_a_list(tmp_path_factory: pytest.TempPathFactory, starts: list[list[int]]) -> None:
    """Every start processes records in turn and dies in the last; -1 stands for none begun."""
    path = tmp_path_factory.mktemp("journal") / "poison"
    deaths: list[int] = []
    convicted: set[int] = set()
    for records in starts:
        journal = opened(path)
        for record in records:
            journal.begin("t", 0, record)
        journal.close()
        deaths += records[-1:]
        if len(deaths) >= STARTS_MAX and len(set(deaths[-STARTS_MAX:])) == 1:
            convicted.add(deaths[-1])
    journal = opened(path)
    assert {record for record in range(4) if journal.suspect("t", 0, record)} == convicted


def test_every_thread_has_a_note_of_its_own(tmp_path: Path) -> None:
    journal, together = opened(tmp_path / "poison", slots=3), threading.Barrier(3)

    def note(number: int) -> None:
        journal.begin("t", 0, number)
        together.wait(60)

    threads = [threading.Thread(target=note, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(StateError, match="3 threads"):
        journal.begin("t", 0, 9)
    assert opened(tmp_path / "poison").counts == {RecordLocation("t", 0, number): 1 for number in range(3)}


def test_only_what_a_start_died_in_waits_for_its_turn(tmp_path: Path) -> None:
    for name, offset in (("a", 1), ("b", 2)):
        dead = opened(tmp_path / name / "poison", unit=tmp_path)
        dead.begin("t", 0, offset)
        dead.close()
    one, other = (opened(tmp_path / name / "poison", unit=tmp_path) for name in "ab")
    begun = threading.Event()

    def take_turn() -> None:
        with other.processing("t", 0, 2):
            begun.set()

    waiting = threading.Thread(target=take_turn)
    with one.processing("t", 0, 1):
        began = time.monotonic()
        with other.processing("t", 0, 9):
            assert time.monotonic() - began < 5, "nothing died in it"
        waiting.start()
        assert not begun.wait(0.2), "two of them are in hand at once"
    assert begun.wait(60)
    waiting.join()


@pytest.mark.parametrize("damage", [b"", b"CARPOISN", b"x" * 100_000, b"CARPOISN\x02\x00" + bytes(60)])
def test_a_damaged_file_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "poison").write_bytes(damage)
    journal = opened(tmp_path / "poison")
    assert journal.counts == {}
    assert _died_in(tmp_path / "poison", RECORD).counts == {RecordLocation(*RECORD): 1}


@pytest.mark.parametrize("place", [0, 8])
def test_a_file_of_something_else_or_of_another_version_is_an_empty_one(tmp_path: Path, place: int) -> None:
    content = bytearray.fromhex(BYTES.read_text())
    content[place] += 1
    (tmp_path / "poison").write_bytes(content)
    assert opened(tmp_path / "poison").counts == {}


def test_long_names_are_cut_and_still_found(tmp_path: Path) -> None:
    record = ("a-very-long-prefix-of-a-region." * 5, 0, 1, -1)
    journals = [_died_in(tmp_path / "poison", record) for _ in range(STARTS_MAX)]
    assert journals[-1].suspect(*record)


def test_bytes_of_earlier_releases_are_read(tmp_path: Path) -> None:
    path = tmp_path / "poison"
    path.write_bytes(bytes.fromhex(BYTES.read_text()))
    journal = opened(path, slots=2)
    assert journal.counts == {RecordLocation(*RECORD): 5, RecordLocation("events.p1", 0, 12, -1): 3}
    journal.begin("events.p1", 0, 12)
    assert path.read_bytes() == bytes.fromhex(BYTES.with_name("poison_1_next.hex").read_text())


def test_a_note_costs_no_more_than_four_writes_to_a_file(tmp_path: Path) -> None:
    journal = opened(tmp_path / "poison")
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    def note(offset: int) -> None:
        journal.suspect("work", 1, offset, 3)
        journal.begin("work", 1, offset, 3)
        journal.end()

    def write(_offset: int) -> None:
        for _ in range(4):
            os.pwrite(file, b"twenty bytes of text", 0)

    spent: dict[Callable[[int], None], float] = {note: 1.0, write: 1.0}
    for _ in range(5):
        for action, best in spent.items():
            began = time.process_time()
            for offset in range(10_000):
                action(offset)
            spent[action] = min(best, time.process_time() - began)
    os.close(file)
    assert spent[note] < spent[write]
