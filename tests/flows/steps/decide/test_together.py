"""Slices of one event that are evaluated and encoded together leave the same records and the same state, byte for byte,
as when each group does it alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers.flow_bench import PARTITIONS, REGISTRY, START, user_in_group

from connectors.log import NewRecord
from flows.steps.decide.group import GroupDecider
from flows.steps.decide.together import evaluate_ahead
from flows.steps.decide.turns import SliceTurns, WorkEntry
from state.decide.checkpoint import GroupStore
from state.disk.poison import PoisonJournal, RecordLocation
from state.model.event import Event
from state.model.work import (
    EndpointWork,
    EventWork,
    FollowWork,
    KillWork,
    PreferenceWork,
    ProfileWork,
    ReadWork,
    SegmentWork,
    SliceWork,
    TickWork,
    Work,
    encode_work,
)

GROUPS = (1, 2, 3, 4, 5)
USERS = {group: [user_in_group(group, number) for number in range(45)] for group in GROUPS}
TYPES = ("new_post", "new_post", "newsletter", "campaign_x", "announcement", "mention")
SWITCHES = (("type", "new_post"), ("channel", "push"), ("away", "push/ios"), ("load", None), ("sender", "other"))
MINUTE_MS = 60_000


class Stream:
    """Works of several groups, seeded; those that are for all groups have none."""

    def __init__(self, seed: int) -> None:
        self._choose, self._now, self._ahead, self._events = random.Random(seed), START, 0, list[Event]()

    def works(self, steps: int) -> Iterator[Work]:
        for group, users in USERS.items():
            for user in users:
                yield FollowWork(g=group, stamp=self._now, follower=user, followee="star", on=True)
                if self._choose.random() < 0.6:
                    yield self._preference(group, user)
                for _ in range(self._choose.choice([0, 1, 1, 1, 2])):
                    yield self._endpoint(group, user)
            yield SegmentWork(g=group, stamp=self._now, segment="all", users=users[: self._choose.choice([20, 45])])
        for _ in range(steps):
            self._now += self._choose.choice([0, 1, 700, MINUTE_MS, 20 * MINUTE_MS])
            self._ahead = self._choose.choice([0, 0, 0, 90_000])
            if self._choose.random() < 0.7:  # else what is due comes with the next record
                yield TickWork(stamp=self._now)
            yield from self._step()

    def _step(self) -> Iterator[Work]:
        choose = self._choose
        group = choose.choice(GROUPS)
        user = choose.choice(USERS[group])
        match choose.choices(["slices", "setting", "read", "kill", "event"], [60, 15, 8, 4, 5])[0]:
            case "slices":
                event, (begin, end) = self._event(), choose.choice([(0, 1 << 64), (0, 1 << 64), (0, 1 << 63)])
                plan = choose.choice(["", "0f"])
                for each in choose.sample(GROUPS, choose.choice([3, 5, 5])):
                    yield SliceWork(
                        g=each, stamp=self._now, ahead=self._ahead, src=("events.p1", 0, len(self._events), each),
                        event=event, hash_from=str(begin), hash_to=str(end), plan=plan,
                    )  # fmt: skip
            case "setting":
                yield choose.choice([self._preference, self._endpoint, self._profile])(group, user)
            case "read":
                yield ReadWork(g=group, stamp=self._now, user=user, up_to=self._now)
            case "kill":
                scope, value = choose.choice(SWITCHES)
                yield KillWork(stamp=self._now, scope=scope, value=value, on=choose.random() < 0.4)
            case _:
                yield EventWork(g=group, stamp=self._now, event=self._event(fan_out_type="DIRECT"), users=[user])

    def _event(self, **fields: Any) -> Event:
        choose, kind = self._choose, self._choose.choice(TYPES)
        if self._events and choose.random() < 0.1:
            return msgspec.structs.replace(choose.choice(self._events), retracts=True, event_id=f"r{self._now}")
        given: dict[str, Any] = {
            "event_id": f"e{len(self._events)}", "type": kind, "priority": choose.choice(["P1", "P1", "P2"]),
            "fan_out_type": choose.choice(["FOLLOWERS", "FOLLOWERS", "SEGMENT", "BROADCAST"]), "segment": "all",
            "sender_id": "s", "actor": choose.choice(["star", USERS[1][0]]), "object": f"o{choose.randrange(3)}",
            "payload": {"title": "t"}, "ttl_ms": choose.choice([1, 6 * 3_600_000]), "ingested_at": self._now,
            "slot": True if choose.random() < 0.2 else msgspec.UNSET,
        }  # fmt: skip
        event = Event(**given | fields)
        self._events.append(event)
        return event

    def _preference(self, group: int, user: str) -> Work:
        choose = self._choose
        document: dict[str, Any] = {"master": choose.random() < 0.9, "types": {}}
        if choose.random() < 0.4:
            hours = {"enabled": True, "start": choose.choice(["00:00", "01:00"]), "end": "02:00", "timezone": "UTC"}
            document["quiet_hours"] = hours
        if choose.random() < 0.4:
            document["frequency_cap"] = {"max_per_hour": choose.choice([0, 1, 2]), "max_per_day": choose.choice([3, 9])}
        if choose.random() < 0.2:
            document["muted"] = {"actors": ["star"], "objects": ["o1"]}
        for kind in ("newsletter", "new_post"):
            if choose.random() < 0.7:
                channels = choose.choice([["push", "in_app"], ["email"], ["in_app"], ["email", "push"]])
                document["types"][kind] = {"enabled": choose.random() < 0.9, "channels": channels}
        return PreferenceWork(g=group, stamp=self._now, user=user, doc=document)

    def _endpoint(self, group: int, user: str) -> Work:
        choose, channel = self._choose, self._choose.choice(["push", "push", "email"])
        return EndpointWork(
            g=group, stamp=self._now, user=user, channel=channel, id=f"d{choose.randrange(3)}",
            platform=choose.choice(["ios", "android"]) if channel == "push" else None,
            address=f"{choose.getrandbits(64):x}@b.example", state=choose.choice(["active", "active", "inactive"]),
            registered_at=self._now,
        )  # fmt: skip

    def _profile(self, group: int, user: str) -> Work:
        return ProfileWork(g=group, stamp=self._now, user=user, locale=self._choose.choice(["de", "en"]), name="N")


class World:
    """Deciders of all groups over one store."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.store, self.journal = GroupStore(directory / "store"), PoisonJournal.open(directory / "journal")
        self.deciders = {
            group: GroupDecider(group, self.store, REGISTRY, self.journal, partitions=PARTITIONS) for group in GROUPS
        }
        for each in self.deciders.values():
            each.state.bulk_from = 8
        self.evaluated = 0

    def decide(self, run: list[tuple[int, WorkEntry]], *, together: bool) -> list[NewRecord]:
        waiting = [(self.deciders[group], entry) for group, entry in run]
        ahead = evaluate_ahead(iter(waiting)) if together else {}
        self.evaluated += sum(each is not None for each in ahead.values())
        return [record for each, entry in waiting for record in each.decide([entry], ahead.get(each))]

    def end_epoch(self) -> None:
        for each in self.deciders.values():
            each.collect()
        self.store.commit()

    def close(self) -> None:
        self.store.close()
        self.journal.close()


def _runs(works: Iterator[Work]) -> Iterator[list[tuple[int, WorkEntry]]]:
    """Slices of one event together, everything else alone; each with its group and its offset."""
    run: list[tuple[int, WorkEntry]] = []
    event: Event | None = None
    for offset, work in enumerate(works):
        mine = work.event if isinstance(work, SliceWork) else None
        if run and (mine is None or mine is not event):
            yield run
            run = []
        event = mine
        run += [(group, (offset, encode_work(work))) for group in (GROUPS if work.g is None else [work.g])]
        if mine is None:
            yield run
            run = []
    if run:
        yield run


@pytest.mark.parametrize("seed", range(12))
def test_together_is_as_alone(seed: int, tmp_path: Path) -> None:
    with closing(World(tmp_path / "alone")) as alone, closing(World(tmp_path / "together")) as together:
        slices = 0
        for number, run in enumerate(_runs(Stream(seed).works(120))):
            slices += run[0][1][1].startswith(b'{"k":"slice"') and len(run)
            assert together.decide(run, together=True) == alone.decide(run, together=False), run[0]
            if number % 7 == 0:
                alone.end_epoch()
                together.end_epoch()
        for each in (alone, together):
            each.end_epoch()
        assert dict(together.store.database.items()) == dict(alone.store.database.items())
        assert together.evaluated > slices / 3


def _posts(stamps: dict[int, int]) -> list[tuple[int, WorkEntry]]:
    event = Event(
        event_id="e", type="new_post", priority="P1", fan_out_type="FOLLOWERS", sender_id="s", actor="star",
        object="o", payload={"title": "t"}, ttl_ms=21_600_000, ingested_at=START,
    )  # fmt: skip
    return [
        (group, (100_000 + group, encode_work(SliceWork(g=group, stamp=stamp, event=event))))
        for group, stamp in stamps.items()
    ]


def _with_followers(world: World) -> None:
    for group, users in USERS.items():
        works = [FollowWork(g=group, stamp=START, follower=user, followee="star", on=True) for user in users]
        world.deciders[group].decide(enumerate(map(encode_work, works)))


def test_only_slices_that_say_the_same_are_taken_together(tmp_path: Path) -> None:
    with closing(World(tmp_path / "world")) as world:
        _with_followers(world)

        def found(run: list[tuple[int, WorkEntry]]) -> list[tuple[int, bool]]:
            ahead = evaluate_ahead(iter([(world.deciders[group], entry) for group, entry in run]))
            return [(decider.group, each is not None) for decider, each in ahead.items()]

        same = _posts(dict.fromkeys(GROUPS, START + 5))
        assert found(same) == [(group, True) for group in GROUPS]
        assert found(_posts({1: START + 5, 2: START + 5, 3: START + 6})) == [(1, True), (2, True)]
        assert found([same[0], (2, same[2][1])]) == [(1, False)], "that of another group"
        assert found([same[0], (2, (7, encode_work(TickWork(stamp=START))))]) == [(1, False)]
        world.deciders[2].decide([(99_000, encode_work(KillWork(stamp=START, scope="sender", value="x")))])
        assert found(same) == [(group, group != 2) for group in GROUPS]
        world.deciders[3].decide([(99_000, encode_work(TickWork(stamp=START + 9)))])
        assert found(same) == [(group, group not in (2, 3)) for group in GROUPS], "its time is another"
        world.deciders[1].decide([same[0][1]])
        assert found(same) == [], "it was decided"


def test_what_is_too_large_together_is_taken_with_those_behind_it(tmp_path: Path) -> None:
    """Not alone: it has company in the next look."""
    with closing(World(tmp_path / "world")) as world:
        sizes = {1: 1_500, 2: 1_500, 3: 1_500, 4: 2_000, 5: 2_200}
        for group, size in sizes.items():
            follows = [
                FollowWork(g=group, stamp=START, follower=f"u{n}", followee="star", on=True) for n in range(size)
            ]
            world.deciders[group].decide(enumerate(map(encode_work, follows)))
        run = _posts(dict.fromkeys(GROUPS, START + 5))

        def found(first: int) -> list[tuple[int, bool]]:
            ahead = evaluate_ahead(iter([(world.deciders[group], entry) for group, entry in run[first - 1 :]]))
            return [(decider.group, each is not None) for decider, each in ahead.items()]

        assert found(1) == [(1, True), (2, True)]
        assert found(3) == [(3, True), (4, True)]
        assert found(4) == [(4, False), (5, False)], "no two of them"


def test_after_a_process_died_each_slice_is_taken_alone(tmp_path: Path) -> None:
    with closing(World(tmp_path / "world")) as world:
        _with_followers(world)
        world.journal.counts[RecordLocation("work", 0, 100_001, 1)] = 1
        run = _posts(dict.fromkeys(GROUPS, START + 5))
        assert evaluate_ahead(iter([(world.deciders[group], entry) for group, entry in run])) == {}


def test_turns_look_ahead_and_keep_their_order(tmp_path: Path) -> None:
    run = _posts(dict.fromkeys(GROUPS, START + 5))
    found = []
    for name, look_ahead in (("alone", lambda _waiting: {}), ("together", evaluate_ahead)):
        with closing(World(tmp_path / name)) as world:
            _with_followers(world)
            turns = SliceTurns(100, lambda: 0.0, look_ahead)
            for group, entry in run:
                assert not turns.decide("leader", world.deciders[group], [entry])
            found.append(list(turns.rest()))
    assert found[0] == found[1]
    assert {record.key for record in found[0]} == {b"%d" % group for group in GROUPS}
