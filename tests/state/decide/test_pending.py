"""The table of what waits: counts, order, timers that no longer hold, and what must be stored again."""

from __future__ import annotations

from state.decide.pending import DIGEST_KEY, HELD, OPEN, Item, PendingGroup, PendingKey, PendingTable
from state.model.event import Event

WINDOW = PendingKey("window", "like", "o")


def _item(place: int) -> Item:
    return Item(Event(event_id=f"e{place}", type="like"), place, 0, inbox=True)


def _group(row: int, key: PendingKey, place: int, *items: int) -> PendingGroup:
    group = PendingGroup(row, key, place)
    for item in items:
        group.join(_item(item), 0)
    return group


def test_counts_follow_groups_through_their_states() -> None:
    table = PendingTable()
    group = _group(0, WINDOW, 1, 1, 2)
    table.put(group)
    assert table.counts == {OPEN: 2, HELD: 0}
    group.state = HELD
    group.join(_item(3), 0)
    table.touch(group)
    assert table.counts == {OPEN: 0, HELD: 3}
    table.close(group)
    assert table.counts == {OPEN: 0, HELD: 0}
    table.close(group)
    assert table.counts == {OPEN: 0, HELD: 0}
    assert table.by_row == {}


def test_closing_one_group_leaves_the_others_of_its_row() -> None:
    table = PendingTable()
    one, two = _group(0, WINDOW, 1, 1), _group(0, DIGEST_KEY, 2, 2)
    table.put(one)
    table.put(two)
    table.changed.clear()
    table.close(one)
    assert (table.get(0, WINDOW), table.get(0, DIGEST_KEY)) == (None, two)
    assert table.changed == {(0, WINDOW)}
    table.changed.clear()
    table.close(_group(0, WINDOW, 1))
    table.close(_group(7, WINDOW, 1))
    assert table.changed == set()


def test_groups_of_a_row_are_in_an_order_that_a_restart_keeps() -> None:
    first, second = PendingTable(), PendingTable()
    keys = [WINDOW, PendingKey("window", "like", None), DIGEST_KEY, PendingKey("single", place=4)]
    groups = [_group(0, key, place) for place, key in zip((3, 3, 9, 4), keys, strict=True)]
    for group in groups:
        first.put(group)
    for group in reversed(groups):
        second.put(group)
    assert [g.key for g in first.of(0)] == [g.key for g in second.of(0)] == [keys[1], keys[0], keys[3], keys[2]]
    assert first.of(1) == []


def test_timers_fire_by_time_user_place_and_number_once_each() -> None:
    table = PendingTable()
    wanted = []
    for number, (due, user, place) in enumerate([(20, "a", 1), (10, "b", 2), (10, "a", 9), (10, "a", 3)]):
        group = _group(number, WINDOW, place)
        table.put(group)
        table.set_timer(group, user, due)
        wanted.append(((due, user, place), number))
    assert table.next_due() == 10
    assert table.pop_due(9) is None
    fired = []
    while (found := table.pop_due(10)) is not None:
        assert isinstance(found, PendingGroup)
        fired.append(found.row)
        table.close(found)
    assert fired == [3, 2, 1]
    assert table.next_due() == 20
    last = table.pop_due(1 << 40)
    assert isinstance(last, PendingGroup)
    assert last.row == 0


def test_a_timer_set_anew_replaces_the_one_before() -> None:
    table = PendingTable()
    group = _group(0, WINDOW, 1)
    table.put(group)
    table.set_timer(group, "u", 10)
    table.set_timer(group, "u", 30)
    assert (table.next_due(), table.pop_due(29)) == (30, None)
    assert table.pop_due(30) is group


def test_the_timer_of_a_closed_group_is_void_also_for_its_successor() -> None:
    table = PendingTable()
    group = _group(0, WINDOW, 1)
    table.put(group)
    table.set_timer(group, "u", 10)
    table.close(group)
    assert table.pop_due(50) is None
    successor = _group(0, WINDOW, 2)
    table.put(successor)
    table.set_timer(successor, "u", 60)
    assert (table.pop_due(59), table.pop_due(60)) == (None, successor)


def test_waiting_counts_only_where_it_is_the_users_own() -> None:
    group = _group(0, WINDOW, 1, 1)
    group.settle_waits(5)
    assert (group.items[0].waited_ms, group.waits_from) == (0, [5])
    group.own_wait = True
    group.settle_waits(12)
    assert (group.items[0].waited_ms, group.waits_from) == (7, [12])
    assert group.remove(0).place == 1
    assert group.waits_from == []


def test_all_groups_are_listed() -> None:
    table = PendingTable()
    groups = [_group(row, key, 1) for row in (0, 1) for key in (WINDOW, DIGEST_KEY)]
    for group in groups:
        table.put(group)
    assert list(table.groups()) == groups
