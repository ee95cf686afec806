"""One fixed story of a key group, and all bytes that it leaves: records of `work`, checkpoints, outputs.

Whatever is written here by a release must be read by every later one. `write.py` writes the files, deliberately.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.ipc
from helpers.stored_rows import StoredRows

from connectors.log import NewRecord
from flows.steps.decide.outputs import OutputWriter
from operators.decide import apply
from operators.dedup import remember
from operators.sequence import sequence_event, sequence_setting, versions_in_force
from state.decide.audience import Audience
from state.decide.audience_rows import AudienceRows
from state.decide.checkpoint import GroupStore
from state.decide.group import GroupState
from state.decide.pending import GivenUp, PendingKey
from state.disk.rocksdb import prefixed_rows
from state.model.event import Event, RawEvent, resolve
from state.model.keys import key_group
from state.model.registry import load_registry
from state.model.work import (
    BULK_FROM_BEFORE,
    AnyWork,
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
    VersionsWork,
    encode_work,
)
from state.schedule.store import ScheduleStore
from state.sequence.store import SequenceState, SequenceStore

HERE = Path(__file__).resolve().parent
REGISTRY = load_registry()
NOON = 1_715_774_400_000
GROUP = 7
SKIPPED = {5: b'{"id":"decide/work/0/5/7","source":["work",0,5]}'}
"""Offset and dead letter of a record that decide skipped."""
GIVEN_UP = {9: {0: GivenUp("u1", PendingKey("window", "like", "o"), "KeyError in operators.emit:1")}}
"""By offset and number, what waited and was given up."""
PARTITIONS = 4
TZDATA = "golden"
"""Stands for the version of the zone data, which is upgraded without a change of format."""
PLAN = f"{1 << GROUP:x}"
Rows = dict[str, str]
"""Keys and values in hex, for stores."""


def users() -> list[str]:
    """Three users of the group, one of them not ASCII."""
    plain = [name for name in map("u{}".format, range(3000)) if key_group(name) == GROUP]
    other = next(name for name in map("\U0001f600é{}".format, range(3000)) if key_group(name) == GROUP)
    return [*plain[:2], other]


def event(event_id: str, type_name: str, at: int, **fields: Any) -> Event:
    """A resolved event."""
    given = {"actor": "anna", "object": "photo-1", "sender_id": "social"} | fields
    return resolve(RawEvent(event_id=event_id, type=type_name, **given), REGISTRY, ingested_at=at)


def _direct(event_id: str, type_name: str, user: str, at: int, offset: int, **fields: Any) -> EventWork:
    made = event(event_id, type_name, at, target=user, **fields)
    return EventWork(g=GROUP, stamp=at, src=("events.p1", 1, offset, GROUP), event=made, users=[user])


def _endpoint(user: str, channel: str, name: str, offset: int, **fields: Any) -> EndpointWork:
    given: dict[str, Any] = {"address": f"{channel}-{name}", "registered_at": NOON - 1000, "platform": "ios"} | fields
    return EndpointWork(
        g=GROUP, stamp=NOON, src=("endpoints", 0, offset, GROUP), user=user, channel=channel, id=name, **given
    )


def work_records() -> list[AnyWork]:
    """Every kind of record of the decision log, in an order that leaves something of everything."""
    one, two, three = users()
    critical = {"critical": True, "text": "é"}
    quiet = {"enabled": True, "start": "11:00", "end": "13:00", "timezone": "Europe/Paris"}
    fan_out: dict[str, Any] = {"fan_out_type": "SEGMENT", "segment": "seg", "payload": critical}
    return [
        VersionsWork(stamp=NOON, registry=3, tzdata=TZDATA, rules=1, types={"promo_may": {"klass": "P2"}}),
        PreferenceWork(
            g=GROUP, stamp=NOON, src=("preferences", 0, 0, GROUP), user=one,
            doc={"frequency_cap": {"max_per_hour": 2}, "muted": {"actors": ["troll"], "objects": ["o9"]}},
        ),
        PreferenceWork(
            g=GROUP, stamp=NOON, src=("preferences", 0, 1, GROUP), user=two,
            doc={"quiet_hours": quiet, "types": {"comment": {"channels": ["email", "in_app"]}}},
        ),
        _endpoint(one, "push", "phone", 0),
        _endpoint(one, "push", "tablet", 1),
        _endpoint(one, "push", "old", 2),
        EndpointWork(
            g=GROUP, stamp=NOON, src=("endpoints", 0, 3, GROUP), user=one, channel="push", id="old", state="invalid",
            gone_at=NOON,
        ),
        _endpoint(two, "push", "phone", 4, platform=None),
        _endpoint(two, "email", "mail", 5),
        _endpoint(three, "email", "mail", 6),
        ProfileWork(g=GROUP, stamp=NOON, src=("profiles", 0, 0, GROUP), user=one, locale="fr-CA", name="Zoé"),
        FollowWork(g=GROUP, stamp=NOON, src=("follows", 2, 0, GROUP), follower=one, followee="star", on=True),
        SegmentWork(g=GROUP, stamp=NOON, src=("segments", 3, 4, GROUP), segment="seg", users=[one, two, three]),
        KillWork(stamp=NOON, src=("control", 0, 0, -1), scope="type", value="share"),
        _direct("e1", "like", one, NOON + 1, 0),
        _direct("e2", "like", one, NOON + 2, 1, actor="bert", payload={"n": 1}),
        _direct("e3", "like", two, NOON + 3, 2),
        _direct("e4", "comment", two, NOON + 4, 3, object="post-1"),
        _direct("e5", "share", one, NOON + 5, 4),
        SliceWork(
            g=GROUP, stamp=NOON + 6, src=("events.p1", 0, 9, GROUP), plan=PLAN,
            event=event("news", "announcement", NOON + 6, actor=None, object="may", **fan_out),
        ),
        SliceWork(
            g=GROUP, stamp=NOON + 7, src=("events.p1", 0, 10, GROUP), plan=PLAN, hash_from="0",
            hash_to=str(1 << 63),
            event=event("post", "new_post", NOON + 7, actor="star", fan_out_type="FOLLOWERS"),
        ),
        _direct("e6", "mention", one, NOON + 8, 5, object="post-2"),
        _direct("e7", "mention", one, NOON + 9, 6, object="post-3"),
        _direct("r1", "like", one, NOON + 10, 7, actor="bert", retracts=True),
        ReadWork(g=GROUP, stamp=NOON + 11, src=("reads", 0, 0, GROUP), user=two, up_to=NOON + 3),
        TickWork(stamp=NOON + 61_000),
    ]  # fmt: skip


def decided() -> tuple[GroupState, list[NewRecord]]:
    """The state after the story, and everything that was written; several recipients are decided in columns."""
    state = GroupState(REGISTRY)
    return state, decide_into(state, list(enumerate(work_records())))


def decide_into(state: GroupState, placed: list[tuple[int, AnyWork]]) -> list[NewRecord]:
    """What records at their offsets lead to."""
    state.bulk_from, state.tzdata_version = 2, TZDATA
    writer, written = OutputWriter(GROUP, PARTITIONS), list[NewRecord]()
    for place, record in placed:
        written += writer.encode(state, apply(state, record, place), place)
    state.counted, state.bulk_from = state.count_terms(), BULK_FROM_BEFORE
    return [*written, writer.counts(state.counted, state.place)]


def rows_of(store: GroupStore | SequenceStore | ScheduleStore) -> Rows:
    """Everything in a store's database."""
    return {key.hex(): value.hex() for key, value in prefixed_rows(store._db, b"")}


def decide_rows(directory: Path) -> Rows:
    """The checkpoint of the story."""
    store = GroupStore(directory)
    state, _ = decided()
    store.collect(GROUP, state)
    store.commit()
    for offset, letter in SKIPPED.items():
        store.skip(GROUP, offset, letter)
    give_up(store)
    rows = rows_of(store)
    store.close()
    return rows


def audience() -> Audience:
    """So many small sets that they are stored in blocks."""
    followers = Audience()
    for number in range(100):
        followers.replace(f"é{number}", np.arange(0, number % 5 * 100, 100))
    return followers


def audience_rows(directory: Path) -> Rows:
    """The rows of its blocks, of sets that changed since, of a large one, and of one in no block."""
    directory.mkdir()
    rows, stored, followers = AudienceRows(b"F", GROUP), StoredRows(), audience()
    rows.collect(followers, stored.put, stored.delete)
    change_audience(followers)
    rows.collect(followers, stored.put, stored.delete)
    return {key.hex(): value.hex() for key, value in stored.rows.items()}


def change_audience(followers: Audience) -> None:
    """What happens after most was stored."""
    followers.add("é3", 70_000)
    followers.discard("é4", 0)
    followers.replace("é5", np.arange(600))
    followers.add("new", 1)


def give_up(store: GroupStore) -> None:
    """Store what was given up."""
    for offset, numbered in GIVEN_UP.items():
        for number, each in numbered.items():
            store.give_up(GROUP, offset, number, each)


def sequence_state() -> SequenceState:
    """What `sequence` remembers after a few records."""
    state = SequenceState()
    state.stamp = NOON
    state.positions = {("events.p1", 0): 4, ("preferences", 3): 1}
    state.work_ends = {0: 5, 1: 9}
    state.versions = encode_work(msgspec.structs.replace(versions_in_force(REGISTRY), bulk_from=0))
    one, two, three = users()
    settings: list[tuple[str, bytes]] = [
        ("follows", b'{"followee":"star","follower":"%s","on":true}' % one.encode()),
        ("segments", b'{"segment":"seg","version":1,"chunk":0,"users":["%s","u1"]}' % three.encode()),
        ("segments", b'{"segment":"seg","version":1,"chunks":1}'),
        ("segments", b'{"segment":"next","version":"v2","chunk":7,"users":["u2"]}'),
    ]
    for offset, (topic, value) in enumerate(settings):
        sequence_setting(state, topic, value, (topic, 0, offset)).settle()
    keyed = event("e2", "like", NOON, target=two, idempotency_key="k")
    for offset, accepted in enumerate([event("e1", "like", NOON, target=two), keyed]):
        sequence_event(state, REGISTRY, accepted, ("events.p1", 0, offset)).settle()
    remember(state.repeats, REGISTRY, event("e3", "otp", NOON, target=two), NOON)
    state.versions = state.versions.replace(b'"tzdata":"%s"' % tzdata().encode(), b'"tzdata":"golden"')
    return state


def tzdata() -> str:
    """The version in use now."""
    return versions_in_force(REGISTRY).tzdata


def sequence_rows(directory: Path) -> Rows:
    """The checkpoint of `sequence`."""
    store = SequenceStore(directory)
    store.collect(sequence_state())
    store.commit()
    rows = rows_of(store)
    store.close()
    return rows


def schedule_rows(directory: Path) -> Rows:
    """Two kept events."""
    store = ScheduleStore(directory)
    kept = store.load()
    for number, name in enumerate(("k2", "k1")):
        kept.keep(event(name, "reminder", NOON, target="u1", deliver_at=NOON + 1000 - number, payload={"é": [1, None]}))
    store.collect(kept, 12)
    store.commit()
    rows = rows_of(store)
    store.close()
    return rows


def arrow_rows(value: bytes) -> tuple[str, list[dict[str, Any]]]:
    """(schema as text, rows) of a batch."""
    table = pyarrow.ipc.open_stream(io.BytesIO(value)).read_all()
    shown = [
        {name: each.hex() if isinstance(each, bytes) else each for name, each in row.items()}
        for row in table.to_pylist()
    ]
    return table.schema.to_string(truncate_metadata=False), shown
