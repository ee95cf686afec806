"""What a row of the ledger costs on its way from the log to the merged archive: `python -m bench.track`.

The real flow over an embedded log, then the merge of its hour; once for the batches of fan-outs (200 slices of 2 500
followers of one partition), once for single records (mentions of one person each). Each in a process of its
own, so that the memory is its own too. What a run without records costs is taken off.
"""

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from bench.figures import own_peak_rss_mb, record
from bench.sites import PARTITIONS, phone_of, run_flow
from connectors.archive.manifest import read_manifest
from connectors.archive.parquet import ArchiveWriter
from connectors.log import NewRecord
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.topics import topic_specs
from flows import track
from flows.process.directories import LEDGER
from flows.process.memory import settle_memory
from flows.steps.decide.outputs import OutputWriter
from operators.decide import apply
from state.decide.group import GroupState
from state.model.durations import HOUR_MS
from state.model.event import Event
from state.model.keys import key_group
from state.model.registry import load_registry
from state.model.work import AnyWork, EventWork, FollowWork, PreferenceWork, SliceWork

GROUPS, FOLLOWERS, POSTS, MENTIONS = 4, 2_500, 50, 2
APART_MS = 420_000
"""Between two posts, so that no cap comes into play before the morning."""
HELD_EVERY = 25
"""One of so many followers has quiet hours now."""
NOW = 1_767_225_600_000
NIGHT = {"quiet_hours": {"enabled": True, "start": "20:00", "end": "07:00", "timezone": "UTC"}}


class Cost(NamedTuple):
    """Of one kind of records."""

    rows: int
    write_s: float
    """Processor seconds from the log to parts, and below from these to the hour's part."""
    merge_s: float
    merged_rows: int
    bytes_written: int
    bytes_merged: int
    peak_rss_mb: float


def _settings(group: int, users: list[str]) -> Iterator[AnyWork]:
    for number, user in enumerate(users):
        yield FollowWork(g=group, stamp=NOW, follower=user, followee="star", on=True)
        if number % HELD_EVERY == 0:
            yield PreferenceWork(g=group, stamp=NOW, user=user, doc=NIGHT)
        if number % 10:
            yield phone_of(user, group, NOW)


def _post(number: int) -> Event:
    return Event(
        event_id=f"ev_{number:032}", type="new_post", priority="P1", fan_out_type="FOLLOWERS", sender_id="bench",
        actor="star", object=f"post{number}", ttl_ms=86_400_000, ingested_at=NOW + number * APART_MS,
    )  # fmt: skip


def _mention(group: int, number: int, user: str) -> EventWork:
    event = Event(
        event_id=f"me_{group}_{number:028}", type="mention", priority="P1", fan_out_type="DIRECT", sender_id="bench",
        actor="star", target=user, object=f"photo{number}", ttl_ms=86_400_000, ingested_at=NOW + POSTS * APART_MS,
    )  # fmt: skip
    return EventWork(g=group, stamp=NOW + POSTS * APART_MS, event=event, users=[user])


def ledger_records() -> list[NewRecord]:
    """What decide writes to the ledger of posts in the night, and of mentions behind them."""
    users: dict[int, list[str]] = {group: [] for group in range(GROUPS)}
    number = 0
    while any(len(each) < FOLLOWERS for each in users.values()):
        number += 1
        chosen = users.get(key_group(f"user{number}"), [])
        if len(chosen) < FOLLOWERS:
            chosen.append(f"user{number}")
    states = {group: GroupState(load_registry()) for group in users}
    for group, state in states.items():
        for place, setting in enumerate(_settings(group, users[group])):
            apply(state, setting, place)
    found: list[NewRecord] = []
    posts = (
        (group, SliceWork(g=group, stamp=NOW + number * APART_MS, event=_post(number)))
        for number in range(POSTS)
        for group in states
    )
    mentions = (
        (group, _mention(group, number, user))
        for group in states
        for number, user in enumerate(users[group] * MENTIONS)
    )
    for place, (group, work) in enumerate(chain(posts, mentions), start=20_000):
        out = apply(states[group], work, place)
        found += OutputWriter(group, PARTITIONS).encode(states[group], out, place)
    return [each for each in found if each.topic == "ledger"]


def _open(directory: Path) -> EmbeddedLog:
    return EmbeddedLog(directory, clock=lambda: NOW)


def _archive(directory: Path) -> float:
    """Processor seconds of the flow until all is in parts."""
    began = time.process_time()
    flow = track.wire(lambda: _open(directory), directory, drain=lambda: True, now_ms=lambda: NOW)
    run_flow(flow)
    return time.process_time() - began


def measured(directory: Path) -> Cost:
    settle_memory()
    ledger = directory / LEDGER / "0"
    used = _archive(directory)
    used -= _archive(directory)
    written = read_manifest(ledger).parts
    writer, began = ArchiveWriter(ledger), time.process_time()
    writer.merge_hours(NOW + 2 * HOUR_MS)
    merge_s = time.process_time() - began
    merged = read_manifest(ledger).parts
    return Cost(
        sum(part.rows for part in written), used, merge_s, sum(part.rows for part in merged),
        sum(part.bytes for part in written), sum(part.bytes for part in merged), own_peak_rss_mb(),
    )  # fmt: skip


def _tell(kind: str, text: str, cost: Cost, log_bytes: int) -> None:
    def tell(figure: str, value: float, unit: str) -> None:
        record("track", f"{kind}_{figure}", value, unit, work=text, n=cost.rows, peak_rss_mb=cost.peak_rss_mb)

    tell("write_us", cost.write_s / cost.rows * 1e6, "us/row")
    tell("merge_us", cost.merge_s / cost.rows * 1e6, "us/row")
    tell("log_bytes", log_bytes / cost.rows, "bytes/row")
    tell("part_bytes", cost.bytes_written / cost.rows, "bytes/row")
    tell("merged_bytes", cost.bytes_merged / cost.merged_rows, "bytes/row")
    tell("peak_rss_mb", cost.peak_rss_mb, "MB")


def main() -> None:
    records = ledger_records()
    batches = [each for each in records if dict(each.headers)["schema"].endswith(b"+arrow")]
    singles = [each for each in records if not dict(each.headers)["schema"].endswith(b"+arrow")]
    for kind, text, chosen in (("batch", "slices of 2 500", batches), ("single", "mentions of one person", singles)):
        directory = Path(tempfile.mkdtemp())
        try:
            log = _open(directory)
            log.ensure_topics(topic_specs(PARTITIONS, timedelta(days=7)))
            for first in range(0, len(chosen), 100):
                log.append(chosen[first : first + 100])
            log.close()
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                _tell(kind, text, pool.apply(measured, (directory,)), sum(len(each.value) for each in chosen))
        finally:
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
