"""A data directory with a million records on the ledger, as a day leaves it, for `bench/pages.py`.

Everything is decided and written by the product's own code, at the times of a day that ends with the last full hour:
posts to followers in columns, mentions of single people, holds that end in the morning, caps, people who have switched
something off, and what became of each push. Hours that are over are merged; the newest came in parts of three seconds,
and the last seconds are in the log alone. Beside it are dead letters and acts of people, in number.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from bench.sites import phone_of
from connectors.archive.forms import LEDGER, RAW, raw_table
from connectors.archive.parquet import ArchiveWriter
from connectors.audit import audit_record
from connectors.log import NewRecord, Record
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.read_to_ends import stored_batches
from connectors.log.topics import topic_specs
from flows.config.settings import Settings
from flows.process.directories import ARCHIVE
from flows.steps.dead_letters import dead_letter
from flows.steps.decide.outputs import OutputWriter
from operators.decide import apply
from state.decide.group import GroupState
from state.ledger import ledger_table, packed_ledger
from state.model.audit import AuditRecord
from state.model.durations import HOUR_MS
from state.model.event import Event
from state.model.keys import KEY_GROUPS, key_group, partition_of_group
from state.model.ledger import DELIVERY, AttemptMade, DeliveryRecord
from state.model.registry import load_registry
from state.model.work import (
    AnyWork,
    EventWork,
    FollowWork,
    PreferenceWork,
    SliceWork,
    TickWork,
    encode_work,
)

STAR, HEAVY, LIGHT = "star", "heavy", "light"
FOLLOWERS, POSTS, MENTIONS, OF_HEAVY, OF_LIGHT = 12_000, 20, 160_000, 100_000, 10
LETTERS, ACTS = 20_000, 100_000
HOURS = 26
_PARTITIONS = Settings().log.partitions
_MINUTE_MS, _PART_MS = 60_000, 3_000
_SENDERS = ("app", "shop", "blog", "club")
_TYPES = ("mention", "reply", "share", "comment")
_NIGHT = {"quiet_hours": {"enabled": True, "start": "22:00", "end": "07:00", "timezone": "UTC"}}


class _Day:
    """The log, with a clock that the builder turns, and the state of every key group."""

    def __init__(self, directory: Path, end_ms: int) -> None:
        self.directory, self.end_ms, self.now_ms = directory, end_ms, end_ms - HOURS * HOUR_MS
        self.log = EmbeddedLog(directory, clock=lambda: self.now_ms)
        self.log.ensure_topics(topic_specs(_PARTITIONS, timedelta(days=7)))
        self.choose = random.Random(7)
        self._states = [GroupState(load_registry()) for _ in range(KEY_GROUPS)]
        self._work_ends = [0] * _PARTITIONS
        self._waiting: list[NewRecord] = []

    def take(self, work: AnyWork) -> None:
        """What sequence, decide and deliver write of it, at this time of the day."""
        group = work.g or 0
        partition = partition_of_group(group, _PARTITIONS)
        place = self._work_ends[partition]
        self._work_ends[partition] += 1
        state = self._states[group]
        made = OutputWriter(group, _PARTITIONS).encode(state, apply(state, work, place), place)
        ledger = [each for each in made if each.topic == "ledger"]
        self._waiting += [NewRecord("work", partition, b"%d" % group, encode_work(work)), *ledger]
        for each in ledger:
            if dict(each.headers)["schema"].startswith((b"emission", b"slice")):
                self._waiting += self._deliveries(each)

    def flush(self) -> None:
        """To the log, with the time that it is."""
        if self._waiting:
            self.log.append(self._waiting)
            self._waiting = []

    def _deliveries(self, made: NewRecord) -> Iterator[NewRecord]:
        row = Record(made.topic, made.partition, 0, self.now_ms, made.key, made.value, made.headers)
        table, _ = ledger_table([row])
        names = ["kind", "emission_id", "user", "first_event_id", "type"]
        for kind, emission, user, first, of_type in zip(*(table[name].to_pylist() for name in names), strict=True):
            if kind != "emission":
                continue
            share = self.choose.random()
            outcome, reason, answer = (
                ("DEAD_LETTER", "rejected", "410") if share < 0.01
                else ("EXPIRED", None, "503") if share < 0.03 else ("DELIVERED", None, "200")
            )  # fmt: skip
            tried = [AttemptMade("apns", self.now_ms, answer)]
            delivery = DeliveryRecord(
                emission_id=emission, user=user, channel="push", device="phone", outcome=outcome, reason=reason,
                at=self.now_ms, first_event_id=first, type=of_type, provider="apns", provider_id=None,
                fell_back_to=None, attempts=tried,
            )  # fmt: skip
            yield NewRecord("ledger", made.partition, user.encode(), DELIVERY.encode(delivery), DELIVERY.headers)


def build(directory: Path) -> int:
    """Make the directory; gives the rows on the ledger."""
    day = _Day(directory, time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - 1)
    with closing(day.log):
        _people(day)
        _live(day)
        _beside(day)
        return _archived(day)


def _people(day: _Day) -> None:
    now = day.now_ms
    for number in range(FOLLOWERS):
        user = f"user{number:06}"
        group = key_group(user)
        day.take(FollowWork(g=group, stamp=now, follower=user, followee=STAR, on=True))
        if number % 10 < 2:
            document = _NIGHT if number % 20 == 0 else {"types": {"mention": {"enabled": False}}}
            day.take(PreferenceWork(g=group, stamp=now, user=user, doc=document))
        if number % 10 < 7:
            day.take(phone_of(user, key_group(user), now))
    for user in (HEAVY, LIGHT):
        day.take(phone_of(user, key_group(user), now))
    day.flush()


def _live(day: _Day) -> None:
    """Minute by minute; the last hour in steps of three seconds."""
    began, number = day.now_ms, 0
    due = {
        name: _spread(began, day.end_ms, count)
        for name, count in (("post", POSTS), ("mention", MENTIONS), (HEAVY, OF_HEAVY), (LIGHT, OF_LIGHT))
    }
    while day.now_ms < day.end_ms:
        day.now_ms += _PART_MS if day.end_ms - day.now_ms <= HOUR_MS else _MINUTE_MS
        if not day.now_ms // _MINUTE_MS % 10:
            for group in range(KEY_GROUPS):
                day.take(TickWork(g=group, stamp=day.now_ms))
        for name, is_due in due.items():
            for _ in range(is_due(day.now_ms)):
                number += 1
                _post(day, number) if name == "post" else _mention(day, number, name)
        day.flush()


def _spread(began: int, end: int, count: int) -> Callable[[int], int]:
    """How many of so many are due at a time, since it was last asked; none at the very end."""
    done = 0

    def due(now: int) -> int:
        nonlocal done
        before, done = done, ((now - began) * count + (end - began) // 2) // (end - began)
        return done - before

    return due


def _post(day: _Day, number: int) -> None:
    event = Event(
        event_id=f"post{number:08}", type="new_post", priority="P1", fan_out_type="FOLLOWERS", sender_id="app",
        actor=STAR, object=f"film{number}", payload={"title": "a new post"}, ttl_ms=21_600_000, ingested_at=day.now_ms,
    )  # fmt: skip
    for group in range(KEY_GROUPS):
        day.take(SliceWork(g=group, stamp=day.now_ms, event=event))


def _mention(day: _Day, number: int, user: str) -> None:
    who = f"user{day.choose.randrange(FOLLOWERS):06}" if user == "mention" else user
    event = Event(
        event_id=f"ev{number:08}", type=_TYPES[number % 4], priority="P1", fan_out_type="DIRECT",
        sender_id=_SENDERS[number % 3], actor=f"actor{number % 997}", target=who, object=f"thread{number % 5_000}",
        payload={"title": "x"}, ttl_ms=3_600_000, ingested_at=day.now_ms,
    )  # fmt: skip
    day.take(EventWork(g=key_group(who), stamp=day.now_ms, event=event, users=[who]))


def _beside(day: _Day) -> None:
    """Dead letters and acts."""
    began = day.end_ms - HOURS * HOUR_MS
    for count, made in ((LETTERS, _letter), (ACTS, _act)):
        for first in range(0, count, 500):
            day.now_ms = began + (first + 500) * (day.end_ms - began) // count
            day.log.append([made(number, day.now_ms) for number in range(first, first + 500)])
    day.now_ms = day.end_ms


def _letter(number: int, at: int) -> NewRecord:
    source = Record("events.p1", number % _PARTITIONS, number, at, b"", _NAMES % (number, number % 3), ())
    return dead_letter(source, ValueError(), stage="sequence", at=at, partitions=_PARTITIONS)


_NAMES = b'{"event_id":"lost%08d","sender_id":"app%d","type":"mention"}'


def _act(number: int, at: int) -> NewRecord:
    about = {"user": f"user{number % FOLLOWERS:06}"}
    return audit_record(
        AuditRecord(at=at, by=f"person{number % 40}", role="support", act="history", about=about, reason="ticket 4711")
    )


def _archived(day: _Day) -> int:
    """As track leaves it: the hours that are over merged, and the last seconds not there yet."""
    rows = 0
    for topic, form, table in (
        ("ledger", LEDGER, _columns),
        *((name, RAW, raw_table) for name in ("work", "dead_letters", "audit")),
    ):
        for partition in range(day.log.partitions(topic)):
            writer = ArchiveWriter(day.directory / ARCHIVE / topic / str(partition), form=form)
            every = _PART_MS if topic == "ledger" else _MINUTE_MS
            for records in _parts(day, topic, partition, every):
                writer.write(table(records), records[-1].offset + 1)
                writer.merge_hours(records[-1].timestamp_ms)
            writer.merge_hours(day.end_ms)
            writer.remove_retired(day.end_ms + HOUR_MS)
            rows += sum(part.rows for part in writer.manifest.parts) if topic == "ledger" else 0
    return rows


def _columns(records: Sequence[Record]) -> pa.Table:
    return packed_ledger(records)[0]


def _parts(day: _Day, topic: str, partition: int, every_ms: int) -> Iterable[list[Record]]:
    batches = stored_batches(day.log, {(topic, partition): 0})
    records = (each for batch in batches for each in batch if each.timestamp_ms < day.end_ms - 2 * _PART_MS)
    for _, part in groupby(records, key=lambda each: each.timestamp_ms // every_ms):
        yield list(part)
