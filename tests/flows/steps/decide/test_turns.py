"""Slices take turns with what comes behind them: the order within a key group is that of the log, whatever waits."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

import pytest
from helpers.flow_bench import START
from helpers.work_log import fan_out

from connectors.log import NewRecord
from flows.steps.decide.group import GroupDecider
from flows.steps.decide.turns import SliceTurns, WorkEntry
from state.model.work import decode_work


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Group:
    """Notes what it decides; a slice takes time."""

    def __init__(self, group: int, clock: Clock, slice_s: float = 0.005, tick_s: float = 0.0) -> None:
        self.group, self.partition, self._clock = group, group % 2, clock
        self._takes_s = {b'{"k":"slic': slice_s, b'{"k":"tick': tick_s}
        self.decided: list[int] = []

    def releases(self, value: bytes) -> bool:
        return b'"tick"' in value and self._takes_s[value[:10]] > 0

    def decide(self, entries: Iterable[WorkEntry]) -> list[NewRecord]:
        outputs = []
        for offset, value in entries:
            self._clock.now += self._takes_s.get(value[:10], 0)
            self.decided.append(offset)
            outputs.append(NewRecord("ledger", self.partition, b"%d" % self.group, b"%d" % offset, ()))
        return outputs


def slice_at(offset: int) -> WorkEntry:
    return offset, b'{"k":"slice","g":1,"stamp":%d}' % (1_000 + offset)


def event_at(offset: int) -> WorkEntry:
    return offset, b'{"k":"event","g":1}'


def tick_at(offset: int) -> WorkEntry:
    return offset, b'{"k":"tick","stamp":%d}' % (1_000 + offset)


def as_decider(group: Group) -> GroupDecider:
    return cast(GroupDecider, group)


def offsets(records: Iterable[NewRecord]) -> list[int]:
    return [int(record.value) for record in records]


def test_an_event_of_another_group_is_not_behind_slices_that_wait() -> None:
    clock = Clock()
    turns, star, ann = SliceTurns(100, clock), Group(1, clock), Group(3, clock)
    assert turns.has_room(1)
    assert offsets(turns.decide("star", as_decider(star), map_slices(range(12)))) == [0, 1, 2, 3]
    assert (turns.leads("star"), turns.busy()) == (True, True)
    assert turns.oldest_ms(1) is None, "it does not read"
    assert offsets(turns.decide("ann", as_decider(ann), [event_at(20)])) == [20]
    assert offsets(turns.decide("star", as_decider(star), [event_at(21)])) == []
    assert not turns.leads("ann")
    assert offsets(turns.go_on()) == [], "what ann is told leaves the step first"
    assert offsets(turns.go_on()) == [4, 5, 6, 7]
    assert offsets(turns.rest()) == [8, 9, 10, 11, 21]
    assert (turns.leads("star"), turns.busy(), turns.oldest_ms(1)) == (False, False, None)
    assert [each.group for each in turns.take_decided()] == [1]
    assert turns.take_decided() == []


def map_slices(numbers: Iterable[int]) -> list[WorkEntry]:
    return [slice_at(number) for number in numbers]


def test_it_is_told_since_when_something_waits() -> None:
    turns = SliceTurns(3, Clock())
    first, *_ = fan_out(0, START)
    list(turns.decide("star", as_decider(Group(1, Clock())), [(7, first.value)]))
    assert (turns.oldest_ms(1), turns.oldest_ms(0)) == (decode_work(first.value).stamp, None)


def test_a_tick_that_several_groups_wait_for_counts_for_each_of_them() -> None:
    clock = Clock()
    turns, groups = SliceTurns(3, clock), [Group(number, clock, tick_s=1.0) for number in range(1, 9, 2)]
    turns.has_room(1)
    for each in groups:
        list(turns.decide(each, as_decider(each), [tick_at(7)]))
    assert (turns.has_room(1), turns.oldest_ms(1)) == (False, 1_007)
    for left in (2, 1, 0):
        list(turns.go_on())
        assert (turns.has_room(1), turns.oldest_ms(1)) == (True, 1_007 if left else None)


def test_no_more_is_read_of_a_partition_of_which_enough_waits() -> None:
    clock = Clock()
    turns, star = SliceTurns(3, clock), Group(1, clock, slice_s=1.0)
    assert turns.has_room(1)
    list(turns.decide("star", as_decider(star), map_slices(range(4))))
    assert (turns.has_room(1), turns.has_room(0)) == (False, True)
    list(turns.go_on())
    assert turns.has_room(1)


def test_a_group_where_an_event_waits_goes_before_those_with_slices_alone() -> None:
    clock = Clock()
    turns, star, ann = SliceTurns(100, clock), Group(1, clock), Group(3, clock)
    turns.has_room(1)
    assert offsets(turns.decide("star", as_decider(star), map_slices(range(12)))) == [0, 1, 2, 3]
    list(turns.decide("ann", as_decider(ann), [*map_slices([20, 21]), event_at(22), slice_at(23)]))
    assert offsets(turns.go_on()) == [20, 21, 22], "what this leads to leaves the step at once"
    turns.has_room(1)
    assert offsets(turns.go_on()) == [4, 23, 5, 6, 7], "then they take turns"
    assert offsets(turns.rest()) == [8, 9, 10, 11]


def test_a_turn_that_ended_early_for_an_event_is_followed_by_a_whole_one() -> None:
    clock = Clock()
    turns, star, ann = SliceTurns(100, clock), Group(1, clock, slice_s=0.0055), Group(3, clock, slice_s=0.0055)
    turns.has_room(1)
    list(turns.decide("star", as_decider(star), map_slices(range(12))))
    turned = []
    for offset in range(20, 28, 2):
        clock.now += 1
        list(turns.decide("ann", as_decider(ann), [slice_at(offset), event_at(offset + 1)]))
        turned.append(offsets(turns.go_on()))
        turns.has_room(1)
    assert turned == [[20, 21], [22, 23, 4, 5, 6], [24, 25], [26, 27, 7, 8, 9]]


def test_a_tick_that_all_groups_wait_for_puts_none_of_them_before_an_event() -> None:
    clock = Clock()
    turns, star, ann = SliceTurns(100, clock), Group(1, clock), Group(3, clock)
    turns.has_room(1)
    list(turns.decide("star", as_decider(star), [*map_slices(range(12)), tick_at(12)]))
    list(turns.decide("ann", as_decider(ann), [slice_at(20), tick_at(21), slice_at(22), event_at(23)]))
    assert offsets(turns.go_on())[:4] == [20, 21, 22, 23]


def test_what_one_tick_releases_in_all_groups_is_not_in_memory_at_once() -> None:
    clock = Clock()
    turns, groups = SliceTurns(100, clock), [Group(number, clock, tick_s=0.015) for number in range(1, 9, 2)]
    turns.has_room(1)
    at_once = [offsets(turns.decide(each, as_decider(each), [event_at(1), tick_at(2), event_at(3)])) for each in groups]
    assert at_once == [[1, 2, 3], [1, 2, 3], [1], [1]], "the time of a turn was over with the second one"
    assert [offsets(turns.go_on()) for _ in range(3)] == [[], [2, 3, 2], []], "one look at the log, one turn"
    turns.has_room(1)
    assert offsets(turns.go_on()) == [3]


def test_a_tick_that_only_passes_the_time_never_waits() -> None:
    clock = Clock()
    turns, groups = SliceTurns(100, clock), [Group(number, clock) for number in range(1, 9, 2)]
    assert turns.has_room(1)
    clock.now += 1
    for each in groups:
        assert offsets(turns.decide(each, as_decider(each), [event_at(1), tick_at(2), event_at(3)])) == [1, 2, 3]
    assert not turns.busy()


def test_a_turn_is_followed_by_a_look_at_the_log_or_a_pause() -> None:
    clock = Clock()
    turns, star = SliceTurns(100, clock), Group(1, clock, slice_s=0.0055)
    turns.has_room(1)
    list(turns.decide("star", as_decider(star), map_slices(range(20))))
    assert offsets(turns.go_on()) == [4, 5, 6, 7]
    assert offsets(turns.go_on()) == [], "the engine asks again, and the log was not looked at"
    turns.has_room(0)
    assert offsets(turns.go_on()) == [8, 9, 10, 11]
    clock.now += 0.1
    assert offsets(turns.go_on()) == [12, 13, 14, 15]


def test_events_at_every_look_put_off_every_other_turn_at_most() -> None:
    clock = Clock()
    turns, star, ann = SliceTurns(100, clock), Group(1, clock, slice_s=0.0055), Group(3, clock)
    turned = []
    for offset in range(20, 24):
        turns.has_room(1)
        list(turns.decide("star", as_decider(star), map_slices(range(20)) if offset == 20 else []))
        list(turns.decide("ann", as_decider(ann), [event_at(offset)]))
        turned.append(offsets(turns.go_on()))
    assert turned == [[], [4, 5, 6, 7], [], [8, 9, 10, 11]]


@pytest.mark.parametrize("seed", range(40))
def test_a_group_decides_in_the_order_of_the_log(seed: int) -> None:
    rng, clock = random.Random(seed), Clock()
    turns = SliceTurns(rng.choice([1, 10, 1_000]), clock)
    groups = [Group(number, clock, rng.choice([0.001, 0.008, 0.05]), rng.choice([0, 0.008])) for number in range(5)]
    came, told, offset = defaultdict[int, list[int]](list), 0, 0
    for _ in range(rng.randint(1, 60)):
        turns.has_room(rng.randrange(2))
        for group in rng.sample(groups, rng.randint(0, 5)):
            entries = [
                rng.choice([slice_at, event_at, tick_at])(offset + number) for number in range(rng.randint(1, 9))
            ]
            offset += len(entries)
            came[group.group] += [each for each, _ in entries]
            told += len(list(turns.decide(group, as_decider(group), entries)))
        if turns.busy() and rng.random() < 0.5:
            assert sum(turns.leads(group) for group in groups) == 1
            told += len(list(turns.go_on()))
    told += len(list(turns.rest()))
    decided: dict[int, Any] = {group.group: group.decided for group in groups if group.decided}
    assert decided == dict(came)
    assert told == offset
    assert [turns.oldest_ms(number) for number in range(2)] == [None, None]
