"""What a fan-out costs decide: decided, encoded, stored, and released in the morning; in columns or one by one.

Nine in ten have a phone. Of 100 people 18 have quiet hours, and are held until these end.
"""

import gc
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.figures import record
from bench.sites import phone_of
from flows.process.memory import settle_memory
from flows.steps.decide.outputs import OutputWriter
from operators.decide import apply
from state.decide.checkpoint import GroupStore
from state.decide.group import GroupState
from state.model.event import Event
from state.model.registry import load_registry
from state.model.work import BULK_FROM, FollowWork, PreferenceWork, SliceWork, TickWork, Work

NOW = 1_767_225_600_000
"""Midnight, UTC."""
HOUR_MS = 3_600_000
QUIET = {"quiet_hours": {"enabled": True, "start": "22:00", "end": "07:00", "timezone": "UTC"}}
WAYS = {"columns": BULK_FROM, "single": 1 << 40}
POSTS = 3
"""To each key group: no cap is reached."""
RECIPIENTS = 30_000


class Cost(NamedTuple):
    """For all recipients together."""

    evening_s: float
    """Processor time to decide, encode and store."""
    morning_s: float
    """The same for those who were held."""
    topic_bytes: Counter[str]


def measure(size: int, bulk_from: int) -> Cost:
    """Posts to so many followers in each of several key groups."""
    written: Counter[str] = Counter()
    evening_s = morning_s = 0.0
    for _ in range(RECIPIENTS // (size * POSTS)):
        with tempfile.TemporaryDirectory() as directory:
            state, store, writer = _followed(size), GroupStore(Path(directory)), OutputWriter(0, 4)
            state.bulk_from = bulk_from
            _store(store, state)
            gc.collect()
            gc.freeze()
            posts = [_post(number) for number in range(POSTS)]
            evening_s += _apply(state, store, writer, posts, written)
            morning_s += _apply(state, store, writer, [TickWork(stamp=NOW + 8 * HOUR_MS)], written)
            store.close()
            gc.unfreeze()
    return Cost(evening_s, morning_s, written)


def _followed(size: int) -> GroupState:
    state, choose = GroupState(load_registry()), random.Random(7)
    for number in range(size):
        for work in _settings(f"user{number}", choose):
            apply(state, work, state.place + 1)
    return state


def _apply(
    state: GroupState, store: GroupStore, writer: OutputWriter, works: Sequence[Work], written: Counter[str]
) -> float:
    """Seconds of processor."""
    started = time.process_time()
    for work in works:
        place = state.place + 1
        for each in writer.encode(state, apply(state, work, place), place):
            written[each.topic] += len(each.value)
        _store(store, state)
    return time.process_time() - started


def _settings(user: str, choose: random.Random) -> list[Work]:
    found: list[Work] = [FollowWork(g=0, stamp=NOW, follower=user, followee="star", on=True)]
    if choose.random() < 0.18:
        found.append(PreferenceWork(g=0, stamp=NOW, user=user, doc=QUIET))
    if choose.random() < 0.9:
        found.append(phone_of(user, 0, NOW, address=f"{choose.getrandbits(256):064x}"))
    return found


def _post(number: int) -> SliceWork:
    event = Event(
        event_id=f"post{number}", type="new_post", priority="P1", fan_out_type="FOLLOWERS", sender_id="bench",
        actor="star", object=f"o{number}", payload={"title": "a new post"}, ttl_ms=24 * HOUR_MS,
        ingested_at=NOW + number,
    )  # fmt: skip
    return SliceWork(g=0, stamp=event.ingested_at, event=event)


def _store(store: GroupStore, state: GroupState) -> None:
    store.collect(0, state)
    store.commit()


def main() -> None:
    """Each size in both ways, one after the other."""
    settle_memory()
    for size in (250, 2_500, 10_000):
        work = f"posts to {size} followers in a key group, 18 % held"
        costs = {way: measure(size, WAYS[way]) for way in WAYS}
        for way, cost in costs.items():
            record("slices", f"{way}_us_{size}", cost.evening_s / RECIPIENTS * 1e6, "us/recipient", work=work)
            held_us = cost.morning_s / (0.18 * RECIPIENTS) * 1e6
            record("slices", f"{way}_release_us_{size}", held_us, "us/held", work=work)
            for topic, number in cost.topic_bytes.items():
                record("slices", f"{way}_{topic}_bytes_{size}", number / RECIPIENTS, "B/recipient", work=work)
        whole = {way: cost.evening_s + cost.morning_s for way, cost in costs.items()}
        record("slices", f"ratio_{size}", whole["single"] / whole["columns"], "x", work=work, against="one by one")


if __name__ == "__main__":
    main()
