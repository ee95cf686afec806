"""What an accepted record becomes in the decision log, and what is taken over from there, worked by hand."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from operators.dedup import EVENT_ID_WINDOW_MS, RETRY_WINDOW_MS, entries_of
from operators.sequence import (
    Sequenced,
    announce_load,
    announce_versions,
    recover_record,
    sequence_event,
    sequence_retry,
    sequence_setting,
    settle_versions,
    unwritten_partitions,
    versions_in_force,
)
from state.model.errors import MalformedRecordError
from state.model.event import Event, RawEvent, resolve
from state.model.keys import KEY_GROUPS, key_group
from state.model.registry import load_registry
from state.model.work import (
    EventWork,
    FollowWork,
    KillWork,
    PreferenceWork,
    ReadWork,
    SegmentWork,
    SliceWork,
    TickWork,
    VersionsWork,
    Work,
    encode_work,
)
from state.sequence.placement import ALL_GROUPS
from state.sequence.store import SequenceState

HOUR = 3_600_000
T = 1_700_000_000_000
REGISTRY = load_registry()
SOURCE = ("events.p1", 2, 70)
GROUPS = (3, 70, 239)


def _state(stamp: int = T) -> SequenceState:
    state = SequenceState()
    state.stamp = stamp
    return state


def _event(event_id: str, type_name: str = "like", **fields: Any) -> Event:
    given = {"actor": "a", "target": "u", "object": "o", "sender_id": "s"} | fields
    return resolve(RawEvent(event_id=event_id, type=type_name, **given), REGISTRY, ingested_at=T)


def _post(event_id: str = "post") -> Event:
    return _event(event_id, "new_post", actor="star", target=None, fan_out_type="FOLLOWERS")


def _done(sequenced: Sequenced) -> list[Work]:
    """The records, once the state includes them."""
    sequenced.settle()
    return sequenced.works


def _setting(state: SequenceState, topic: str, accepted_ms: int | None = None, **body: Any) -> list[Work]:
    return _done(sequence_setting(state, topic, json.dumps(body).encode(), (topic, 0, 5), accepted_ms))


# Events ---------------------------------------------------------------------------------


def test_an_event_is_a_record_of_its_targets_group_and_its_repeat_is_none() -> None:
    state, first = _state(), _event("e1")
    sequenced = sequence_event(state, REGISTRY, first, SOURCE)
    assert len(state.repeats) == 0, "before it is settled"
    group = key_group("u")
    assert _done(sequenced) == [EventWork(g=group, stamp=T, src=(*SOURCE, group), event=first, users=["u"])]
    assert _done(sequence_event(state, REGISTRY, _event("e2"), ("events.p1", 2, 71))) == []
    assert len(_done(sequence_event(state, REGISTRY, _event("e3", object="other"), ("events.p1", 2, 72)))) == 1


@pytest.mark.parametrize(
    ("offset", "accepted_ms", "repeats"),
    [
        (69, T - 1, True),  # read before the state was restored: as of when it was accepted
        (69, T, False),
        (69, None, False),
        (69, T + HOUR, False),  # never later than now
        (70, T - 1, False),  # the first that was not read before
        (71, T - 1, False),
    ],
)
def test_what_is_read_a_second_time_is_judged_as_of_when_it_was_accepted(
    offset: int, accepted_ms: int | None, repeats: bool
) -> None:
    state = _state()
    state.reread_until = {("events.p1", 2): 70}
    state.repeats.put_all(entries_of(REGISTRY, _event("e1"), T - HOUR))  # its window ends with T
    works = sequence_event(state, REGISTRY, _event("e2"), ("events.p1", 2, offset), accepted_ms).works
    assert (works == []) == repeats


@pytest.mark.parametrize(("rereads", "left"), [(False, 0), (True, 2)])
@pytest.mark.parametrize("by", ["event", "retry"])
def test_marks_expire_unless_something_is_read_a_second_time(rereads: bool, left: int, by: str) -> None:
    state = _state(T + EVENT_ID_WINDOW_MS)
    state.repeats.put_all(entries_of(REGISTRY, _event("old", object="old"), T))
    assert len(state.repeats) == 2
    if rereads:
        state.reread_until = {("events.p1", 0): 1}
    if by == "event":
        sequence_event(state, REGISTRY, _event("e1"), SOURCE)
    else:
        sequence_retry(state, encode_work(TickWork(stamp=1)), 3, SOURCE, again="letter", attempt="1")
    assert len(state.repeats) == left


def test_a_fan_out_that_was_cut_off_is_completed_by_the_plan_of_its_slices() -> None:
    """It repeats itself by its marks, and a follower from another group has come since: neither changes it."""
    before = _state()
    for group in GROUPS:
        before.placement.followees.add("star", group)
    works = _done(sequence_event(before, REGISTRY, _post(), SOURCE))
    assert [(work.g, work.src) for work in works] == [(group, (*SOURCE, group)) for group in GROUPS]
    state = _state()
    for group in (*GROUPS, 111):
        state.placement.followees.add("star", group)
    [_, middle, _] = works
    assert isinstance(middle, SliceWork)
    recover_record(state, REGISTRY, middle, 1)
    again = _done(sequence_event(state, REGISTRY, _post(), SOURCE))
    assert again == [works[0], works[2]]
    assert _done(sequence_event(state, REGISTRY, _post("other id"), ("events.p1", 2, 71))) == [], "a repeat of it"


def test_what_is_read_again_is_the_latest_of_its_kind_again() -> None:
    """A retraction came between: only the latest of a kind is marked, and what was written is told by its place."""
    state = _state()
    taken = EventWork(g=key_group("u"), stamp=T, src=(*SOURCE, key_group("u")), event=_event("e1"), users=["u"])
    later = EventWork(
        g=taken.g, stamp=T, src=("events.p1", 2, 71, key_group("u")), event=_event("r", retracts=True), users=["u"]
    )
    recover_record(state, REGISTRY, taken, 0)
    recover_record(state, REGISTRY, later, 0)
    assert _done(sequence_event(state, REGISTRY, _event("e1"), SOURCE)) == []
    assert _done(sequence_event(state, REGISTRY, _event("e2"), ("events.p1", 2, 72))) == [], "a repeat of e1"


# Settings -------------------------------------------------------------------------------


def test_a_setting_is_a_record_of_its_users_group() -> None:
    group = key_group("u")
    [work] = _setting(_state(), "preferences", user="u", doc={"master": False})
    assert work == PreferenceWork(g=group, stamp=T, src=("preferences", 0, 5, group), user="u", doc={"master": False})


def test_a_tombstone_is_nothing_and_what_does_not_fit_is_refused() -> None:
    assert sequence_setting(_state(), "preferences", b"", SOURCE).works == []
    for value in (b"{}", b"null", b'{"user":5}'):
        with pytest.raises(MalformedRecordError, match=r"^preference: "):
            sequence_setting(_state(), "preferences", value, SOURCE)


@pytest.mark.parametrize(
    ("accepted_ms", "written"), [(None, True), (T - 1001, False), (T - 1000, True), (T - 999, True), (T + 1, True)]
)
def test_of_settings_from_before_the_retained_log_only_the_placement_is_made(
    accepted_ms: int | None, written: bool
) -> None:
    state = _state()
    state.work_since = T - 1000
    works = _setting(state, "follows", accepted_ms, followee="star", follower="u")
    assert bool(works) == written
    assert state.placement.followees.of("star") == 1 << key_group("u")


def test_a_follow_counts_once_it_is_settled_and_its_end_leaves_the_group() -> None:
    state, group = _state(), key_group("u")
    sequenced = sequence_setting(state, "follows", b'{"followee":"star","follower":"u"}', ("follows", 0, 5))
    assert state.placement.followees.of("star") == 0
    follow = FollowWork(g=group, stamp=T, src=("follows", 0, 5, group), follower="u", followee="star", on=True)
    assert _done(sequenced) == [follow]
    assert _setting(state, "follows", followee="star", follower="u", on=False) == [
        msgspec.structs.replace(follow, on=False)
    ]
    assert state.placement.followees.of("star") == 1 << group


def test_reading_without_a_time_is_reading_all_so_far() -> None:
    for given, up_to in ((None, T), (7, 7), (0, 0)):
        [work] = _setting(_state(), "reads", user="u", up_to=given)
        assert isinstance(work, ReadWork)
        assert work.up_to == up_to


def test_a_kill_switch_is_for_every_group_and_the_door_for_none() -> None:
    [work] = _setting(_state(), "control", scope="type", value="like", on=True)
    assert work == KillWork(stamp=T, src=("control", 0, 5, -1), scope="type", value="like", on=True)
    assert _setting(_state(), "control", scope="door", value="s", on=True) == []


def _chunk(state: SequenceState, chunk: int | None, users: list[str] | None) -> list[Work]:
    return _setting(state, "segments", segment="seg", version=1, chunk=chunk, users=users)


def _commit(state: SequenceState, chunks: int) -> list[Work]:
    return _setting(state, "segments", segment="seg", version=1, chunks=chunks)


@pytest.mark.parametrize("told", [0, 2, 3])
def test_a_segment_counts_with_its_commit_record(told: int) -> None:
    """Chunks in any order, one of them without number or users; more than the commit tells of are no harm."""
    state = _state()
    assert [_chunk(state, 2, ["u1", "u2"]), _chunk(state, 1, ["u3"]), _chunk(state, None, None)] == [[], [], []]
    assert state.segment_chunks.users("seg", "1") == ["u3", "u1", "u2"]
    works = _commit(state, told)
    expected: dict[int, list[str]] = {}
    for user in ("u3", "u1", "u2"):
        expected.setdefault(key_group(user), []).append(user)
    assert works == [
        SegmentWork(g=group, stamp=T, src=("segments", 0, 5, group), segment="seg", users=expected[group])
        for group in sorted(expected)
    ]
    assert state.placement.segments.of("seg") == sum(1 << group for group in expected)
    assert state.segment_chunks.count("seg", "1") == 0


def test_a_segment_of_which_chunks_are_missing_counts_not_and_may_be_anywhere() -> None:
    state = _state()
    _chunk(state, 1, ["u1"])
    assert _commit(state, 2) == []
    assert state.placement.segments.of("seg") == ALL_GROUPS
    assert state.segment_chunks.count("seg", "1") == 0


# Records that were set aside ------------------------------------------------------------


def _retry(state: SequenceState, source: tuple[str, int, int], again: str = "letter", attempt: str = "1") -> list[Work]:
    value = encode_work(TickWork(stamp=1, src=("control", 0, 9, -1)))
    return _done(sequence_retry(state, value, 7, source, again=again, attempt=attempt))


def test_a_record_that_was_given_back_counts_once_an_attempt() -> None:
    state = _state()
    assert _retry(state, ("retries", 0, 1)) == [TickWork(g=7, stamp=T, src=("retries", 0, 1, 7))]
    assert _retry(state, ("retries", 0, 2)) == []
    assert len(_retry(state, ("retries", 0, 3), attempt="2")) == 1
    assert len(_retry(state, ("retries", 0, 4), again="another")) == 1
    state.stamp = T + RETRY_WINDOW_MS
    assert len(_retry(state, ("retries", 0, 5))) == 1


def test_a_record_that_was_given_back_is_told_by_its_place_when_it_is_read_again() -> None:
    """Also if a crash cut off what is not there; and the attempt is known, though its own record was not read yet."""
    state = _state()
    recover_record(state, REGISTRY, TickWork(g=7, stamp=T, src=("retries", 0, 1, 7)), 0, ("letter", "1"))
    assert len(state.repeats) == 1
    assert _retry(state, ("retries", 0, 2)) == []
    assert _retry(state, ("retries", 0, 1)) == []
    recover_record(state, REGISTRY, TickWork(g=8, stamp=T, src=("retries", 0, 3, 8)), 0, ("letter", "1"))
    assert len(_retry(state, ("retries", 0, 3))) == 1, "of another group: this one was cut off"


# The decision log beyond the checkpoint ---------------------------------------------------


def test_what_is_taken_over_sets_the_marks_of_its_events() -> None:
    """A slice without a plan is one of an earlier release; a record without a source is `sequence`'s own."""
    state = _state(T - 5)
    recover_record(state, REGISTRY, TickWork(stamp=T - 1), 0)
    assert (state.stamp, state.recovered, state.recovered_sources) == (T - 1, set(), set())
    event = EventWork(g=3, stamp=T, src=(*SOURCE, 3), event=_event("e1"), users=["u"])
    bare = SliceWork(g=4, stamp=T - 3, src=("events.p1", 2, 71, 4), event=_post())
    planned = SliceWork(g=4, stamp=T - 3, src=("events.p1", 2, 72, 4), event=_post("p2"), plan="1f")
    setting = PreferenceWork(g=5, stamp=T, src=("preferences", 0, 1, 5), user="u", doc={})
    for record in (event, bare, planned, setting):
        recover_record(state, REGISTRY, record, 1)
    assert state.stamp == T, "time never falls"
    assert state.recovered == {(*SOURCE, 3), ("events.p1", 2, 71, 4), ("events.p1", 2, 72, 4), setting.src}
    assert state.recovered_sources == {SOURCE, ("events.p1", 2, 71), ("events.p1", 2, 72), ("preferences", 0, 1)}
    assert state.recovered_plans == {("events.p1", 2, 72): 0x1F}
    expected = [entries_of(REGISTRY, each.event, each.stamp) for each in (event, bare, planned)]
    assert all(state.repeats.get(key, T) is not None for repeats in expected for key, _ in repeats)
    assert len(state.repeats) == len({key for repeats in expected for key, _ in repeats})


def test_what_was_away_is_known_after_a_restart_and_no_other_switch_is_taken_for_it() -> None:
    state = _state()
    recover_record(state, REGISTRY, KillWork(stamp=T, scope="type", value="like", on=True), 0)
    recover_record(state, REGISTRY, KillWork(stamp=T, scope="away", value="push/ios", on=True), 0)
    assert list(state.away) == ["push/ios"]


def test_a_record_for_every_group_comes_where_it_is_missing() -> None:
    state = _state()
    [kill] = _setting(state, "control", scope="type", value="like", on=True)
    assert isinstance(kill, KillWork)
    assert unwritten_partitions(state, kill, 4) == [0, 1, 2, 3]
    for partition in (1, 3):
        recover_record(state, REGISTRY, kill, partition)
    assert state.recovered == {("control", 0, 5, -2), ("control", 0, 5, -4)}
    [again] = _setting(state, "control", scope="type", value="like", on=True)
    assert unwritten_partitions(state, again, 4) == [0, 2]
    assert unwritten_partitions(state, TickWork(stamp=T), 4) == [0, 1, 2, 3]


def test_a_channel_is_announced_when_it_is_passed_over_and_when_it_no_more_is() -> None:
    state = _state()

    def announced(*away: str) -> list[tuple[str | None, bool]]:
        changes = announce_load(state, under_load=False, away=frozenset(away))
        return [(each.value, each.on) for each in changes if isinstance(each, KillWork)]

    assert announced("push", "email") == [("email", True), ("push", True)]
    assert announced("push", "email") == []
    assert announced("sms") == [("email", False), ("push", False), ("sms", True)]
    assert announced() == [("sms", False)]


def test_versions_are_announced_when_others_were_in_force() -> None:
    state, versions = _state(), versions_in_force(REGISTRY)
    assert announce_versions(state, versions) == [msgspec.structs.replace(versions, stamp=T)]
    assert announce_versions(state, versions) == []
    newer = msgspec.structs.replace(versions, registry=versions.registry + 1)
    assert announce_versions(state, newer) == [msgspec.structs.replace(newer, stamp=T)]


ONE, TWO = (VersionsWork(stamp=T + number, registry=number, tzdata="2025a", rules=1) for number in (1, 2))


@pytest.mark.parametrize(
    ("found", "in_force"),
    [
        ([ONE, ONE], ONE),
        ([ONE, msgspec.structs.replace(ONE, stamp=T + 9)], ONE),
        ([ONE, TWO], None),
        ([ONE], None),  # a crash cut it off before the other partition
    ],
)
def test_versions_that_were_taken_over_are_in_force_where_all_partitions_have_them(
    found: list[VersionsWork], in_force: VersionsWork | None
) -> None:
    state = _state()
    announce_versions(state, TWO)
    for partition, record in enumerate(found):
        recover_record(state, REGISTRY, record, partition)
    settle_versions(state, 2)
    assert state.versions == (encode_work(msgspec.structs.replace(in_force, stamp=0)) if in_force else b"")
    assert state.recovered_versions == {}


def test_versions_stay_as_the_checkpoint_has_them_where_none_were_taken_over() -> None:
    state = _state()
    announce_versions(state, ONE)
    before = state.versions
    settle_versions(state, 2)
    assert state.versions == before != b""


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (_event("post", "new_post", actor="star", target=None, fan_out_type="FOLLOWERS"), "star"),
        (_event("news", "announcement", actor="a", target=None, fan_out_type="SEGMENT", segment="seg"), "seg"),
        (_event("lost", target=None), "a"),
        (_event("lost", target=None, actor=None), "lost"),
    ],
)
def test_an_event_that_concerns_nobody_is_one_record_and_no_more_when_it_is_read_again(event: Event, name: str) -> None:
    """Those who come afterwards are not planned for, and what repeats it is told."""
    state, group = _state(), key_group(name)
    [work] = sequence_event(state, REGISTRY, event, SOURCE).works
    assert work == SliceWork(g=group, stamp=T, src=(*SOURCE, group), event=event, plan=f"{1 << group:x}")
    assert isinstance(work, SliceWork)
    recover_record(state, REGISTRY, work, 0)
    for other in GROUPS:
        state.placement.followees.add("star", other)
        state.placement.segments.replace("seg", GROUPS)
    assert _done(sequence_event(state, REGISTRY, event, SOURCE)) == []
    repeat = msgspec.structs.replace(event, event_id="repeat")
    assert _done(sequence_event(state, REGISTRY, repeat, ("events.p1", 2, 71))) == []


def test_a_broadcast_is_for_every_group() -> None:
    news = _event("news", "announcement", target=None, fan_out_type="BROADCAST")
    works = sequence_event(_state(), REGISTRY, news, SOURCE).works
    assert [work.g for work in works] == list(range(KEY_GROUPS))


def _versions(types: dict[str, dict[str, Any]]) -> VersionsWork:
    return VersionsWork(stamp=T, registry=1, tzdata="z", rules=1, types=types)


@pytest.mark.parametrize("by", ["the log", "the checkpoint"])
@pytest.mark.parametrize(
    ("table", "window_ms", "differs"),
    [
        ({"repeat_window_ms": 5}, 5, True), ({"ttl_ms": 5}, HOUR, False), ({}, HOUR, False),
        ({"repeat_window_ms": 5, "channels": ["a_channel_whose_package_is_gone"]}, 5, True),
    ],
)  # fmt: skip
def test_what_is_taken_over_repeats_for_as_long_as_was_configured_then(
    by: str, table: dict[str, Any], window_ms: int, differs: bool
) -> None:
    state, event = _state(), _event("e1")
    if by == "the log":
        recover_record(state, REGISTRY, _versions({"like": table}), 2)
        recover_record(state, REGISTRY, _versions({}), 1)  # of another partition
    else:
        state.versions = encode_work(_versions({"like": table}))
    group = key_group("u")
    recover_record(state, REGISTRY, EventWork(g=group, stamp=T, src=(*SOURCE, group), event=event, users=["u"]), 2)
    expected = load_registry({"like": table}, reader=True)
    assert {key: state.repeats.get(key, T) for key, _ in entries_of(REGISTRY, event, T)} == dict(
        entries_of(expected, event, T)
    )
    assert state.recovered_registries.keys() == ({SOURCE} if differs else set())
    again = sequence_event(state, REGISTRY, event, SOURCE)
    assert _done(again) == []
    (kind,) = (key for key, _ in entries_of(REGISTRY, event, T) if key[0] == "kind")
    assert state.repeats.get(kind, T + window_ms - 1) is not None
    assert state.repeats.get(kind, T + window_ms) is None
