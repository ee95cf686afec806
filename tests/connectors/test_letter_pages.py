"""Pages of dead letters: turned to the end, they are all letters, whatever the partitions hold."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from helpers.log_harness import Harness

from connectors.dead_letters import TOPIC, DeadLetters, FiledLetter
from connectors.letter_pages import letter_page, newest_letters
from connectors.log.interface import Log, NewRecord, Reader, Record, TopicSpec
from connectors.paging import ListCursor, Listed, cursor_of, cursor_text
from flows.steps.dead_letters import dead_action, dead_letter
from state.model.dead_letter import DeadAction, DeadLetter, letter_id

PARTITIONS = 3


@pytest.fixture(params=["embedded", "kafka"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param == "embedded":
        harness = Harness("embedded", str(tmp_path / "log"))
    else:
        harness = Harness("kafka", request.getfixturevalue("kafka_bootstrap"), f"pages-{time.time_ns()}.")
    opened = harness.open()
    opened.ensure_topics([TopicSpec(TOPIC, PARTITIONS, retention_ms=3_600_000)])
    yield opened
    opened.close()


def _letter(number: int, partition: int, stage: str = "decide") -> NewRecord:
    record = Record("work", partition, number, 0, b"7", b'{"event_id":"e","sender_id":"shop"}', ())
    return dead_letter(record, ValueError(), stage=stage, at=1_000 + number, partitions=PARTITIONS)


def _name(number: int, partition: int, stage: str = "decide") -> str:
    return letter_id(stage, ("work", partition, number))


def _everything(_letter: DeadLetter) -> bool:
    return True


def _pages(
    log: Log,
    limit: int,
    wanted: Callable[[DeadLetter], bool] = _everything,
    *,
    everything: bool = True,
    give_up: timedelta = timedelta(minutes=1),
) -> Iterator[Listed[FiledLetter]]:
    """To the last one, each by the cursor as it stands in an address."""
    start: ListCursor | None = ()
    while start is not None:
        page = letter_page(log, wanted, limit, start, everything=everything, give_up=give_up)
        yield page
        start = None if page.onward is None else cursor_of(cursor_text(page.onward))


def _ids(pages: Iterator[Listed[FiledLetter]]) -> list[str]:
    return [each.letter.id for page in pages for each in page.found]


def test_pages_are_all_letters_once_and_tell_what_was_decided(log: Log) -> None:
    choose = random.Random(5)
    for first in range(0, 600, 20):
        log.append([_letter(number, choose.choice((0, 0, 0, 1)), choose.choice(("decide", "inbox")))
                    for number in range(first, first + 20)])  # fmt: skip
    letters = DeadLetters(log, None)
    decided = choose.sample([*letters.each(_everything)], 200)
    log.append([dead_action(DeadAction(each.letter.id, "discarded", 1), each.partition) for each in decided])

    def known(wanted: Callable[[FiledLetter], bool]) -> set[str]:
        return {each.letter.id for each in letters.each(_everything) if wanted(each)}

    for limit in (7, 50, 1_000):
        every = list(_pages(log, limit))
        assert len(found := _ids(iter(every))) == len({*found})
        assert {*found} == known(lambda _: True)
        assert all(len(page.found) == limit for page in every[:-1])
        assert {each.letter.id for page in every for each in page.found if each.is_decided} == known(
            lambda each: each.is_decided
        )
        of_inbox = _ids(_pages(log, limit, lambda letter: letter.stage == "inbox", everything=False))
        assert len(of_inbox) == len({*of_inbox})
        assert {*of_inbox} == known(lambda each: each.letter.stage == "inbox" and not each.is_decided)


def test_the_newest_come_first_and_what_comes_meanwhile_moves_nothing(log: Log) -> None:
    for number in range(60):
        log.append([_letter(number, number % PARTITIONS)])
        time.sleep(0.002)  # the log's time goes by milliseconds
    first = letter_page(log, _everything, 20, everything=True)
    assert [each.letter.at for each in first.found] == list(range(1_059, 1_039, -1))
    log.append([_letter(number, number % PARTITIONS) for number in range(60, 90)])
    assert first.onward is not None
    second = letter_page(log, _everything, 20, first.onward, everything=True)
    assert [each.letter.at for each in second.found] == list(range(1_039, 1_019, -1))


def test_what_was_decided_before_a_crash_had_it_written_again_is_decided(log: Log) -> None:
    log.append([_letter(1, 0), dead_action(DeadAction(_name(1, 0), "retried", 5), 0)])
    log.append([_letter(number, 0) for number in range(2, 300)])
    log.append([_letter(1, 0)])
    page = letter_page(log, _everything, 5, everything=True)
    assert (page.found[0].letter.id, page.found[0].status) == (_name(1, 0), "retried")
    assert _name(1, 0) not in _ids(_pages(log, 5, everything=False))


def test_a_page_whose_time_is_up_says_how_far_it_looked_and_goes_on(log: Log) -> None:
    log.append([_letter(1, 0, "inbox"), NewRecord(TOPIC, 1, b"", b"junk")])
    log.append([_letter(number, number % 2) for number in range(2, 1_000)])
    pages = list(_pages(log, 5, lambda letter: letter.stage == "inbox", give_up=timedelta()))
    assert len(pages) > 1
    assert all(page.looked_to_ms for page in pages[:-1])
    assert pages[-1].looked_to_ms is None
    assert _ids(iter(pages)) == [_name(1, 0, "inbox")]
    assert sum(page.unreadable for page in pages) == 1


class Watched:
    """A log that notes from where it is read."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.begun: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def reader(self, start: Mapping[tuple[str, int], int]) -> Reader:
        self.begun += start.values()
        return self._log.reader(start)


def test_the_newest_are_found_without_reading_what_came_long_before(log: Log) -> None:
    log.append([_letter(number, number % PARTITIONS) for number in range(3_000)])
    log.append([dead_action(DeadAction(_name(2_999, 2_999 % PARTITIONS), "discarded", 5), 2_999 % PARTITIONS)])
    watched = Watched(log)
    found = newest_letters(cast(Log, watched), 60)
    # Letters of one append have one time in the log: the newest of one partition may come before those of another.
    assert len({letter.at for letter in found}) == 60
    assert min(letter.at for letter in found) > 3_999 - 60 * PARTITIONS
    assert len(watched.begun) >= PARTITIONS
    assert min(watched.begun) > 800


def test_a_topic_without_letters_is_one_empty_page(log: Log) -> None:
    assert letter_page(log, _everything, 5, everything=True) == Listed([], None)
    log.append([dead_action(DeadAction("x", "retried", 5), 0)])
    assert letter_page(log, _everything, 5, everything=True) == Listed([], None)
