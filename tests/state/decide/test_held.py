"""The law of the two ways where people wait: those held in a batch end as those who are held alone, also when the state
is stored and loaded in between.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.deciding import NEVER
from helpers.night import GROUP, HOUR_MS, START, USERS, night
from helpers.rows import rows_of

from flows.steps.decide.outputs import OutputWriter
from operators.decide import apply
from state.decide.checkpoint import GroupStore
from state.decide.group import GroupState
from state.disk.rocksdb import prefixed_rows
from state.model.event import RawEvent, resolve
from state.model.registry import load_registry
from state.model.work import EndpointWork, FollowWork, PreferenceWork, SliceWork, TickWork, Work

REGISTRY = load_registry()
Facts = list[str]


class _Side:
    """One way to decide, with what it wrote."""

    def __init__(self, bulk_from: int, store: GroupStore | None = None) -> None:
        self._bulk_from, self._store, self._writer = bulk_from, store, OutputWriter(GROUP, 4)
        self.state = GroupState(REGISTRY)
        self.latest: dict[tuple[str, str], str] = {}
        self._marks: dict[str, int] = {}
        self._opened()

    def _opened(self) -> None:
        self.state.bulk_from = self._bulk_from
        self.state.tzdata_version = "t"

    def apply(self, place: int, work: Work) -> Facts:
        """Everything that the record leads to, one line for each recipient; and the laws' terms."""
        facts: Facts = [str(self.state.count_terms())]
        for record in self._writer.encode(self.state, apply(self.state, work, place), place):
            headers = dict(record.headers)
            self._mark(record.topic, int(headers["seq"].split(b":")[3]), place)
            for row in rows_of(record):
                full = {name: value for name, value in row.items() if value is not None} | {"windowed": ""}
                fact = orjson.dumps(full, option=orjson.OPT_SORT_KEYS).decode()
                facts.append(f"{record.topic} {record.partition} {fact}")
                if row.get("kind") == "decision":
                    self.latest[row["event_id"], row["user"]] = fact
        return sorted(facts)

    def _mark(self, topic: str, ordinal: int, place: int) -> None:
        """A consumer drops what is not above its mark."""
        assert (place << 32) + ordinal > self._marks.get(topic, -1)
        self._marks[topic] = (place << 32) + ordinal

    def store(self) -> None:
        assert self._store is not None
        self._store.collect(GROUP, self.state)
        self._store.commit()

    def reload(self) -> None:
        assert self._store is not None
        self.state = self._store.load(GROUP, REGISTRY)
        self._opened()


def _post(number: int, at: int) -> SliceWork:
    raw = RawEvent(event_id=f"e{number}", type="new_post", actor="star", object=f"p{number}", fan_out_type="FOLLOWERS")
    return SliceWork(g=GROUP, stamp=at, event=resolve(raw, REGISTRY, ingested_at=at))


@pytest.mark.parametrize("bulk_from", [2, NEVER])
def test_by_hand_two_followers_who_allow_one_an_hour(bulk_from: int) -> None:
    """RULES 3.D: e1 takes the hour of both. At its end e2, first in the log, passes, and e3 is held for another."""
    side, works = _Side(bulk_from), list[Work]()
    for user in USERS[:2]:
        works.append(EndpointWork(g=GROUP, stamp=START, user=user, channel="push", id="d", address="x"))
        works.append(PreferenceWork(g=GROUP, stamp=START, user=user, doc={"frequency_cap": {"max_per_hour": 1}}))
        works.append(FollowWork(g=GROUP, stamp=START, follower=user, followee="star", on=True))
    posts = [_post(number, START + number) for number in (1, 2, 3)]
    for place, work in enumerate([*works, *posts, TickWork(stamp=START + 1 + HOUR_MS)]):
        side.apply(place, work)
    latest = {key: orjson.loads(fact) for key, fact in side.latest.items()}
    for user in USERS[:2]:
        ends = [latest[event_id, user] for event_id in ("e1", "e2", "e3")]
        assert [each["outcome"] for each in ends] == ["EMITTED", "EMITTED", "HELD"]
        assert [each["decided_at"] - START for each in ends] == [1, 1 + HOUR_MS, 1 + HOUR_MS]
        assert [each.get("until") for each in ends] == [None, None, START + 1 + 2 * HOUR_MS]
        assert [each["cap_hour"] for each in ends] == [0, 0, 1]
        assert all(each["inbox"] and each["group"] == "single" for each in ends)
    assert side.state.count_terms() == (6, 2, 0, 4, 6)
    assert len(side.state.pending.batches) == (bulk_from == 2)


@pytest.mark.parametrize(("seed", "bulk_from"), [(9, 1), (1, 2), (2, 6), (3, 1), (8, 2), (10, 6), (6, 1), (7, 2)])
def test_batches_end_as_those_held_alone(seed: int, bulk_from: int, tmp_path: Path) -> None:
    choose, store = random.Random(seed), GroupStore(tmp_path / "state")
    together, alone, most = _Side(bulk_from, store), _Side(NEVER), 0
    for place, work in enumerate(night(seed)):
        found, expected = together.apply(place, work), alone.apply(place, work)
        assert found == expected, (place, work)
        assert together.latest == alone.latest, (place, work)
        most = max(most, len(together.state.pending.batches))
        dice = choose.random()
        if dice < 0.5:
            together.store()
        if dice < 0.15:
            together.reload()
    assert together.state.count_terms() == alone.state.count_terms()
    assert most > 3
    assert together.state.pending.batches == {}
    together.store()
    assert [key for kind in (b"H", b"h") for key, _ in prefixed_rows(store.database, kind)] == []
    store.close()


def test_what_is_decided_again_is_the_same_bytes(tmp_path: Path) -> None:
    """From any stored state on, whatever became of its batches before."""
    records, store = list(enumerate(night(99))), GroupStore(tmp_path / "state")
    state, stored_at = store.load(GROUP, REGISTRY), 0
    writer, written = OutputWriter(GROUP, 4), dict[int, Any]()
    choose = random.Random(1)
    for place, work in records:
        if choose.random() < 0.05:
            store.collect(GROUP, state)
            store.commit()
            stored_at = place
        state.bulk_from = 2
        written[place] = writer.encode(state, apply(state, work, place), place)
        if choose.random() < 0.2:
            again = store.load(GROUP, REGISTRY)
            again.bulk_from = 2
            for earlier in range(stored_at, place + 1):
                record = records[earlier][1]
                assert writer.encode(again, apply(again, record, earlier), earlier) == written[earlier]
            state = again
    store.close()
