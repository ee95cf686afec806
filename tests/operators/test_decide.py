"""What the ledger and the deliver lanes get beyond what a simulation prints, worked by hand from RULES 3 and TOPICS."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from helpers.deciding import Decided, placed_by_group
from rules.writing import (
    EMAIL,
    HOUR,
    MINUTE,
    NOON,
    PUSH,
    SECOND,
    SMS,
    Line,
    capped,
    channels,
    endpoint,
    event,
    follow,
    kill,
    like,
    mention,
    prefer,
    quiet,
    read,
    segment,
    tick,
    utc,
)

from operators.bulk import decides_in_bulk
from operators.columns import columns_of
from operators.decide import apply
from operators.fan_out import in_hash_range
from operators.plan import place_follow, plan_event
from operators.route import choose
from state.decide.group import GroupState
from state.decide.preferences import PreferenceTable
from state.model.event import Event
from state.model.keys import HASH_END, key_group, user_hash
from state.model.registry import load_registry
from state.model.work import FollowWork
from state.sequence.placement import Placement

NIGHT = utc("2024-05-15 23:00")


def groups(decided: Decided, event_id: str) -> list[tuple[str, str | None]]:
    return [(each.outcome, each.group) for each in decided.decisions(event_id)]


# The group on the record ------------------------------------------------------


def test_an_item_that_finds_its_window_closed_and_the_next_that_finds_it_open() -> None:
    decided = Decided(PUSH, like("e1", NOON), like("e2", NOON + SECOND, "b"), tick(NOON + HOUR))
    assert groups(decided, "e1") == [("EMITTED", "closed")]
    assert groups(decided, "e2") == [("AGGREGATING", "open"), ("EMITTED", "open")]


def test_a_window_that_is_held() -> None:
    decided = Decided(PUSH, quiet(), like("e1", NIGHT), like("e2", NIGHT + 1, "b"), tick(NIGHT + 10 * HOUR))
    assert groups(decided, "e1") == [("HELD", "held"), ("EMITTED", "held")]
    assert groups(decided, "e2") == [("HELD", "held"), ("MERGED", "held")]


def test_a_suppressed_item_of_a_window_leaves_it_closed() -> None:
    decided = Decided(PUSH, capped(day=0), like("e1", NOON))
    assert groups(decided, "e1") == [("SUPPRESSED", "closed")]


def test_items_that_are_suppressed_when_their_time_comes_were_in_an_open_group() -> None:
    decided = Decided(PUSH, capped(day=1), like("e1", NOON), like("e2", NOON + 1, "b"), tick(NOON + HOUR))
    assert groups(decided, "e2") == [("AGGREGATING", "open"), ("SUPPRESSED", "open")]


def test_types_without_a_window_are_single() -> None:
    decided = Decided(PUSH, capped(hour=1), mention("e1", NOON), mention("e2", NOON + 1), tick(NOON + 2 * HOUR))
    assert groups(decided, "e1") == [("EMITTED", "single")]
    assert groups(decided, "e2") == [("HELD", "single"), ("EMITTED", "single")]
    assert groups(Decided(PUSH, capped(day=0), mention("e1", NOON)), "e1") == [("SUPPRESSED", "single")]


def test_a_kill_switch_on_the_last_channel_ends_what_found_its_window_closed() -> None:
    decided = Decided(PUSH, kill(1, "channel", "push"), like("e1", NOON))
    assert groups(decided, "e1") == [("INBOX", "closed")]
    single = Decided(PUSH, kill(1, "channel", "push"), mention("e1", NOON))
    assert groups(single, "e1") == [("INBOX", "single")]


def test_the_digest_is_a_group_of_its_own() -> None:
    types = channels(mention=["email"])
    decided = Decided(EMAIL, prefer(types=types), mention("e1", NOON), tick(NOON + 24 * HOUR))
    assert groups(decided, "e1") == [("AGGREGATING", "digest"), ("EMITTED", "digest")]


def test_what_a_rule_before_the_group_ends_has_none() -> None:
    assert groups(Decided(PUSH, prefer(master=False), like("e1", NOON)), "e1") == [("SUPPRESSED", None)]
    assert groups(Decided(tick(1), like("e1", NOON)), "e1") == [("INBOX", None)]


def test_a_read_item_was_where_it_waited() -> None:
    decided = Decided(PUSH, quiet(), like("e1", NIGHT), read(NIGHT + 1))
    assert groups(decided, "e1") == [("HELD", "held"), ("INBOX", "held")]


# The emission -----------------------------------------------------------------


def test_first_says_that_the_group_was_closed_before() -> None:
    decided = Decided(PUSH, like("e1", NOON), like("e2", NOON + SECOND, "b"), tick(NOON + HOUR))
    assert (decided.emission("e1").first, decided.emission("e2").first) == (True, False)


def test_a_held_item_without_a_window_is_first_and_a_held_window_is_not() -> None:
    single = Decided(PUSH, capped(hour=1), mention("e1", NOON), mention("e2", NOON + 1), tick(NOON + 2 * HOUR))
    assert single.emission("e2").first is True
    window = Decided(PUSH, quiet(), like("e1", NIGHT), tick(NIGHT + 10 * HOUR))
    assert window.emission("e1").first is False


def test_rest_are_the_allowed_channels_that_were_not_chosen() -> None:
    decided = Decided(PUSH, EMAIL, mention("e1", NOON))
    emission = decided.emission("e1")
    assert (emission.channels, [entry.channel for entry in emission.rest]) == (["push"], ["email"])
    assert [device.address for device in emission.rest[0].devices] == ["email-1"]
    with_all = Decided(PUSH, SMS, EMAIL, event("e1", NOON, "security_alert"))
    assert (with_all.emission("e1").channels, with_all.emission("e1").rest) == (["push", "sms", "email"], ())


@pytest.mark.parametrize(
    ("policy", "offered", "chosen"),
    [
        ("push_first", ("sms", "push"), ("push",)),
        ("push_first", ("sms", "email"), ("sms",)),
        ("push_first", (), ()),
        ("first", ("sms", "push"), ("sms",)),
        ("all", ("sms", "push"), ("sms", "push")),
    ],
)
def test_policies(policy: str, offered: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    assert choose(policy, offered) == chosen


def test_push_first_by_configuration() -> None:
    registry = load_registry({"otp": {"policy": "push_first"}})
    decided = Decided(PUSH, SMS, event("e1", NOON, "otp"), registry=registry)
    assert decided.emission("e1").channels == ["push"]
    assert [entry.channel for entry in decided.emission("e1").rest] == ["sms"]
    assert Decided(SMS, event("e1", NOON, "otp"), registry=registry).emission("e1").channels == ["sms"]


def test_the_age_of_the_follower_list() -> None:
    direct = Decided(PUSH, like("e1", NOON))
    assert direct.decisions("e1")[0].follower_age_ms is None
    post = event("e2", NOON, "new_post", actor="star", target=None, fan_out_type="FOLLOWERS")
    fanned = Decided(PUSH, follow(1, "u", "star"), post)
    assert fanned.decisions("e2")[0].follower_age_ms == 0
    (part,) = Decided(PUSH, follow(1, "u", "star"), post, bulk_from=1).outputs[-2].slices
    assert part.follower_age_ms == 0
    news = event("e3", NOON, "announcement", actor="a", target=None, fan_out_type="BROADCAST")
    (part,) = Decided(PUSH, news, bulk_from=1).outputs[-2].slices
    assert part.follower_age_ms is None


def test_valid_until_is_the_end_of_the_ttl_with_the_users_own_waiting() -> None:
    assert Decided(PUSH, mention("e1", NOON)).emission("e1").valid_until == NOON + HOUR
    held = Decided(PUSH, quiet(), mention("e1", NIGHT), tick(NIGHT + 10 * HOUR)).emission("e1")
    assert held.valid_until == NIGHT + HOUR + 9 * HOUR
    capped_out = Decided(PUSH, capped(hour=1), mention("e1", NOON), mention("e2", NOON + 1), tick(NOON + HOUR))
    assert capped_out.emission("e2").valid_until == NOON + 1 + HOUR
    absolute = event("e1", NIGHT, "reminder", ttl_ms=20 * HOUR)
    assert Decided(PUSH, quiet(), absolute, tick(NIGHT + 10 * HOUR)).emission("e1").valid_until == NIGHT + 20 * HOUR


def test_nothing_stays_behind_of_an_item_without_a_window() -> None:
    state = GroupState(load_registry())
    *records, _end = placed_by_group([PUSH, mention("e1", NOON)], state.registry)[key_group("u")]
    for place, record in records:
        apply(state, record, place)
    assert list(state.pending.groups()) == []
    assert state.pending.next_due() == 1 << 62


# Mutes of types that a team configured ------------------------------------------


@pytest.mark.parametrize("bulk_from", [1, 1000])
@pytest.mark.parametrize(
    ("table", "outcome"),
    [
        ({"klass": "P1", "mandatory": True}, "EMITTED"),
        ({"klass": "P0"}, "EMITTED"),
        ({"klass": "P1"}, "SUPPRESSED"),
    ],
)
def test_class_p0_and_mandatory_types_pass_mutes(table: dict[str, object], outcome: str, bulk_from: int) -> None:
    registry = load_registry({"notice": {"channels": ["push"], **table}})
    lines = [PUSH, prefer(1, muted={"actors": ["a"]}), event("e1", NOON, "notice")]
    decided = Decided(*lines, registry=registry, bulk_from=bulk_from)
    assert outcomes(decided) == [outcome]


def outcomes(decided: Decided) -> list[str]:
    """Of one event and one user, however it was decided."""
    found = [each.outcome for out in decided.outputs for each in out.decisions]
    for part in (part for out in decided.outputs for part in out.slices):
        found += [part.endings[number].outcome for number in part.ending.tolist()]
    return found


# Who is decided in columns --------------------------------------------------------


def _broadcast(kind: str = "announcement", **fields: object) -> Line:
    return event("e1", NOON, kind, target=None, fan_out_type="BROADCAST", **fields)


ON = {"newsletter": {"enabled": True, "channels": ["push"]}}


@pytest.mark.parametrize(
    "lines",
    [
        [PUSH, _broadcast()],
        [PUSH, _broadcast("newsletter")],
        [PUSH, _broadcast(payload={"critical": True})],
        [PUSH, prefer(1, types=ON), _broadcast("newsletter")],
        [PUSH, capped(hour=0, ts=1), _broadcast(payload={"critical": True})],
        [PUSH, capped(hour=0, ts=1, types=ON), _broadcast("newsletter")],
        [PUSH, capped(hour=1, ts=1, types=ON), mention("e0", NOON), _broadcast("newsletter")],
        [PUSH, capped(day=0, ts=1), _broadcast(payload={"critical": True})],
    ],
)
def test_whoever_does_not_wait_is_decided_in_columns(lines: list[Line]) -> None:
    assert Decided(*lines, bulk_from=1).in_columns()[-1:] == ["u"]
    assert Decided(*lines, bulk_from=3).in_columns() == []


@pytest.mark.parametrize(
    ("lines", "until"),
    [
        ([PUSH, capped(hour=1, ts=1), mention("e0", NOON - 1)], NOON + HOUR - 1),
        ([PUSH, prefer(1, quiet_hours={"enabled": True, "start": "11:00", "end": "13:00"})], NOON + HOUR),
    ],
)
def test_whoever_is_held_waits_in_a_batch(lines: list[Line], until: int) -> None:
    decided = Decided(*lines, _broadcast(payload={"critical": True}), bulk_from=1)
    first = next(part for out in decided.outputs for part in out.slices if part.event.event_id == "e1")
    assert [first.endings[number].outcome for number in first.ending] == ["HELD"]
    assert first.until.tolist() == [until]
    assert groups(decided, "e1") == []
    assert list(decided.state.pending.groups()) == []


def test_what_fits_into_columns() -> None:
    state = GroupState(load_registry())

    def fitting(recipients: int, type_name: str = "announcement", **fields: object) -> bool:
        given = Event(event_id="e", **({"type": type_name, "priority": "P1"} | fields))  # type: ignore[arg-type]  # fields by name
        return decides_in_bulk(state, given, state.registry.profile(type_name), recipients)

    assert (fitting(32), fitting(31)) == (True, False)
    assert fitting(32, "like") is False
    assert fitting(32, "like", priority="P0") is True
    assert fitting(32, to={"sms": "+1"}) is False
    assert fitting(32, retracts=True) is False


def test_columns_follow_a_group_whose_clock_is_behind() -> None:
    """Groups of a process share the documents, and each has its own clock."""
    table = PreferenceTable()
    number = table.acquire({"quiet_hours": {"enabled": True, "start": "22:00", "end": "23:00"}})
    columns = columns_of(table)
    evening = utc("2024-05-15 22:30")
    for now, inside in [(NOON, False), (evening, True), (NOON, False), (evening + HOUR, False), (evening, True)]:
        columns.refresh(now)
        assert bool(columns.quiet[number]) is inside
    assert columns_of(table) is columns


def test_a_document_whose_number_is_given_again_is_looked_at_again() -> None:
    table = PreferenceTable()
    columns = columns_of(table)
    old = table.acquire({"master": False})
    columns.refresh(NOON)
    assert not columns.master[old]
    table.release(old)
    assert table.acquire({"frequency_cap": {"max_per_hour": 3}}) == old
    columns.refresh(NOON)
    assert (bool(columns.master[old]), int(columns.max_per_hour[old])) == (True, 3)


# Slices and plans -------------------------------------------------------------


def _users(names: Iterable[str]) -> GroupState:
    state = GroupState(load_registry())
    for name in names:
        state.users.row(name)
    return state


def test_slices_are_half_open_ranges_of_the_users_hash() -> None:
    names = [f"u{number}" for number in range(50)]
    state = _users(names)
    rows = np.arange(50, dtype=np.int32)
    hashes = sorted(user_hash(name) for name in names)
    low, high = hashes[10], hashes[30]

    def taken(start: int, end: int) -> list[int]:
        return sorted(user_hash(names[row]) for row in in_hash_range(state, rows, start, end).tolist())

    assert taken(0, HASH_END) == hashes
    assert taken(low, HASH_END) == hashes[10:]
    assert taken(0, high) == hashes[:30]
    assert taken(low, high) == hashes[10:30]
    assert taken(low, low) == []
    assert taken(hashes[-1], HASH_END) == hashes[-1:]
    assert taken(0, low) + taken(low, high) + taken(high, HASH_END) == hashes


def test_only_a_follow_makes_a_slice() -> None:
    placement = Placement()
    post = Event(event_id="e", type="new_post", actor="star", fan_out_type="FOLLOWERS")
    place_follow(placement, FollowWork(g=5, stamp=0, follower="u", followee="star", on=False))
    assert list(plan_event(placement, post, 0)) == []
    for group in (7, 5):
        place_follow(placement, FollowWork(g=group, stamp=0, follower="u", followee="star", on=True))
    assert [work.g for work in plan_event(placement, post, 0)] == [5, 7]
    assert [work.g for work in plan_event(placement, post, 0, planned=1 << 9)] == [9]


def test_emissions_are_counted_for_the_laws() -> None:
    two = [PUSH, endpoint("push", name="2"), EMAIL]
    decided = Decided(*two, mention("e1", NOON), mention("e2", NOON + MINUTE))
    assert decided.state.count_terms() == (2, 0, 0, 4, 2)
    lines = [*two, segment(1, "s", ["u"]), _broadcast(payload={"critical": True})]
    assert Decided(*lines, bulk_from=1).state.count_terms() == (1, 0, 0, 2, 1)
