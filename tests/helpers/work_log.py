"""A decision log written by hand, for tests of decide that need no `sequence`: settings, events, fan-outs, time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from helpers.flow_bench import PARTITIONS, REGISTRY, START

from connectors.log import NewRecord
from state.model.event import Event, RawEvent, resolve
from state.model.keys import KEY_GROUPS, key_group, partition_of_group
from state.model.work import (
    EndpointWork,
    EventWork,
    PreferenceWork,
    SegmentWork,
    SliceWork,
    TickWork,
    Work,
    encode_work,
)

USERS = [f"u{number}" for number in range(300)]
HOT = USERS[:12]
HALF_HOUR_MS = 1_800_000


def work(record: Work, *, group: int | None = None, partition: int | None = None) -> NewRecord:
    """A record for one group, or for all of a partition."""
    if partition is not None:
        return NewRecord("work", partition, b"", encode_work(record))
    assert group is not None
    return NewRecord("work", partition_of_group(group, PARTITIONS), str(group).encode(), encode_work(record))


def ticks(stamp: int) -> list[NewRecord]:
    """One for every partition."""
    return [work(TickWork(stamp=stamp), partition=partition) for partition in range(PARTITIONS)]


def event(event_id: str, kind: str, stamp: int, **fields: Any) -> Event:
    raw = RawEvent(event_id=event_id, type=kind, **({"actor": "a", "sender_id": "s"} | fields))
    return resolve(raw, REGISTRY, ingested_at=stamp)


def settings(choose: random.Random, users: list[str] = USERS) -> Iterator[NewRecord]:
    """Addresses, quiet hours, caps, and a segment of all users."""
    members: dict[int, list[str]] = {}
    for user in users:
        group = key_group(user)
        members.setdefault(group, []).append(user)
        for channel in ("push", "email"):
            yield work(
                EndpointWork(g=group, stamp=START, user=user, channel=channel, id="d", address="x", registered_at=1),
                group=group,
            )
        hours = {"enabled": choose.random() < 0.5, "start": "01:00", "end": "03:00", "timezone": "Asia/Kathmandu"}
        document = {
            "quiet_hours": hours,
            "frequency_cap": {"max_per_hour": choose.choice([1, 2, 50])},
            "types": {"newsletter": {"enabled": True}, "comment": {"channels": ["email", "in_app"]}},
        }
        yield work(PreferenceWork(g=group, stamp=START, user=user, doc=document), group=group)
    for group, names in members.items():
        yield work(SegmentWork(g=group, stamp=START, segment="all", users=names), group=group)


def direct(choose: random.Random, number: int, stamp: int, users: list[str] = HOT) -> NewRecord:
    user = choose.choice(users)
    kind = choose.choice(["like", "like", "comment", "mention", "follow"])
    what = event(
        f"e{number}", kind, stamp, target=user, object=f"o{choose.randrange(3)}", actor=f"a{choose.randrange(4)}",
        retracts=choose.random() < 0.1,
    )  # fmt: skip
    group = key_group(user)
    return work(EventWork(g=group, stamp=stamp, event=what, users=[user]), group=group)


def fan_out(number: int, stamp: int) -> Iterator[NewRecord]:
    kind = ("announcement", "newsletter")[number % 2]
    what = event(f"f{number}", kind, stamp, fan_out_type="SEGMENT", segment="all", payload={"critical": True})
    for group in range(KEY_GROUPS):
        yield work(SliceWork(g=group, stamp=stamp, event=what), group=group)


def day(choose: random.Random, *, events: int = 150) -> list[NewRecord]:
    """Settings, then a day of half hours with events, some fan-outs, and a tick at the end of each."""
    records, stamp, number = list(settings(choose)), START, 0
    for hour in range(48):
        for _ in range(events // 48 + 1):
            stamp += 1000
            records.append(direct(choose, number, stamp))
            number += 1
        if hour % 16 == 3:
            records += fan_out(hour // 16, stamp)
        stamp = START + (hour + 1) * HALF_HOUR_MS
        records += ticks(stamp)
    return records
