"""What one post costs, from its acceptance to the archive: `python -m bench.post [--followers N ...] [--data DIR]`.

The running system's own processes of sequence, decide, inbox and track, over an embedded log. Times are those at which
this process saw it; memory and processor time are what the system tells of the processes (Linux). With several sizes,
the processor time of a recipient is compared.
"""

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from bench.figures import record
from bench.post_site import AUTHOR, EARLY_AUTHOR, Site, groups_of, prepare, running
from bench.processes import forget_peak
from connectors.archive.manifest import read_manifest
from connectors.inbox.rocksdb import RocksInboxReader
from connectors.log import Record
from flows.process.directories import ARCHIVE, INBOX
from state import slices
from state.model.arrow import batch_table, common_json
from state.model.keys import KEY_GROUPS

TABLE = "post"
_LOOK = timedelta(milliseconds=50)
_TOPICS = ("work", "ledger", "inbox", "deliver.push")
AT_REST_S = 5.0
"""So long after a post everything of it is done but what waits for a time."""


class Seen(NamedTuple):
    """Seconds from the acceptance of a post."""

    first_push_record: float
    last_decision: float
    inbox_readable: float
    on_parts: float


class Cost(NamedTuple):
    """Of one post."""

    seen: Seen
    outcomes: Counter[str]
    processor_s: dict[str, float]
    """By process, without what it takes when nothing happens."""
    peak_mb: float
    """Of decide."""
    extra_mb: dict[str, float]
    topic_bytes: Counter[str]


class _Watch:
    """Follows the ledger and the topics behind it, until everything of a post is where it belongs."""

    def __init__(self, site: Site, event_id: str, recipients: int, give_up_s: float) -> None:
        self._site, self._event_id, self._left = site, event_id, recipients
        self._reader = site.log.reader(site.ends("ledger", "inbox", "deliver.push"))
        self._inbox = RocksInboxReader(site.directory / INBOX, site.partitions, site.directory / "reader")
        self._give_up_s = give_up_s
        self._rows = 0
        """Rows of the inbox that decisions announce, less those that came."""
        self._marks: dict[int, tuple[int, int]] = {}
        self._ledger_ends: dict[int, int] = {}
        self.outcomes = Counter[str]()

    def follow(self, began: float) -> Seen:
        """Until all is done; `began` is a time of the monotonic clock."""
        at: dict[str, float] = {}
        while len(at) < len(Seen._fields):
            for found in self._reader.poll(200, _LOOK):
                self._note(found, at, time.monotonic() - began)
            seconds = time.monotonic() - began
            if self._left <= 0:
                at.setdefault("last_decision", seconds)
                if not self._rows and "inbox_readable" not in at and self._is_readable():
                    at["inbox_readable"] = time.monotonic() - began
                if "on_parts" not in at and self._is_archived():
                    at["on_parts"] = time.monotonic() - began
            assert seconds < self._give_up_s, (
                f"given up after {seconds:.0f} s: {self._left} decisions are missing; {at}"
            )
        return Seen(**at)

    def close(self) -> None:
        self._reader.close()
        self._inbox.close()

    def _note(self, found: Record, at: dict[str, float], seconds: float) -> None:
        headers = dict(found.headers)
        if found.topic == "deliver.push":
            at.setdefault("first_push_record", seconds)
        elif found.topic == "inbox":
            self._rows -= 1 if b"json" in headers["schema"] else batch_table(found.value, "inbox").num_rows
            _, group, offset, ordinal = headers["seq"].split(b":")
            self._marks[int(group)] = max(self._marks.get(int(group), (0, 0)), (int(offset), int(ordinal)))
        elif (endings := _endings(headers["schema"], found.value, self._event_id)) is not None:
            self._ledger_ends[found.partition] = found.offset + 1
            for (outcome, inbox), count in endings.items():
                self._left -= count
                self._rows += count * inbox
                self.outcomes[outcome] += count

    def _is_readable(self) -> bool:
        """By another process's reader, as the gateway has one. Groups that are there are not asked again."""
        for group in list(self._marks):
            if self._inbox.applied(group).get("d", (-1, -1)) < self._marks[group]:
                return False
            del self._marks[group]
        return True

    def _is_archived(self) -> bool:
        directory = self._site.directory / ARCHIVE / "ledger"
        return all(read_manifest(directory / str(part)).offset >= end for part, end in self._ledger_ends.items())


def _endings(schema: bytes, value: bytes, event_id: str) -> Counter[tuple[str, bool]] | None:
    """How many ended how, and whether with an inbox row; None for a record of anything else."""
    if schema == b"decision/1+json":
        single = msgspec.json.decode(value)
        if single["event_id"] != event_id:
            return None
        return Counter([(single["outcome"], single["inbox"])])
    if schema != slices.SCHEMA:
        return None
    table = batch_table(value, "slice")
    facts = msgspec.json.decode(common_json(table, "slice"), type=slices.SliceFacts)
    counts = np.bincount(table["ending"].to_numpy(), minlength=len(facts.endings)).tolist()
    found = Counter[tuple[str, bool]]()
    for ending, count in zip(facts.endings, counts, strict=True):
        found[ending.outcome, ending.inbox] += count
    return found


def measure(directory: Path, followers: int, at_rest_s: float = AT_REST_S, *, exported: bool = True) -> Cost:
    """One post, in a system that has done one small post and rests; `exported`: its first exports are written too."""
    give_up_s = 60 + followers / 8_000  # the first post waits until decide has loaded everybody
    _in_process_of_its_own(directory, followers)
    with running(directory) as site:
        _post(site, EARLY_AUTHOR, groups_of(followers), give_up_s)
        while exported and not any((directory / "exports" / "decide").glob("*/*/manifest.json")):
            time.sleep(1)
        time.sleep(at_rest_s)
        idle = site.processor_s()
        time.sleep(at_rest_s)
        before, starts = site.processor_s(), site.ends(*_TOPICS)
        for pid in site.pids.values():
            forget_peak(pid)
        resident, began = site.peaks_mb(), time.monotonic()
        seen, outcomes = _post(site, AUTHOR, followers, give_up_s)
        time.sleep(at_rest_s)
        seconds, after, peaks = time.monotonic() - began, site.processor_s(), site.peaks_mb()
        at_rest = {name: (before[name] - idle[name]) / at_rest_s for name in before}
        processor = {name: max(0.0, after[name] - before[name] - seconds * at_rest[name]) for name in before}
        extra = {name: peaks[name] - resident[name] for name in peaks}
        return Cost(seen, outcomes, processor, peaks["decide"], extra, _written(site, starts))


def _in_process_of_its_own(directory: Path, followers: int) -> None:
    """Ours stays small."""
    process = multiprocessing.get_context("spawn").Process(target=prepare, args=(directory, followers))
    process.start()
    process.join()
    assert not process.exitcode, "the users could not be stored"


def _post(site: Site, author: str, recipients: int, give_up_s: float) -> tuple[Seen, Counter[str]]:
    with closing(_Watch(site, f"post_of_{author}", recipients, give_up_s)) as watch:
        print(f"post of {author}; processes: {site.pids}", flush=True)
        began = time.monotonic()
        site.post(author)
        return watch.follow(began), watch.outcomes


def _written(site: Site, starts: dict[tuple[str, int], int]) -> Counter[str]:
    """Bytes of keys, values and headers by topic, as the log got them."""
    found = Counter[str]()
    with closing(site.log.reader(starts)) as reader:
        while records := reader.poll(200, timedelta(milliseconds=300)):
            for each in records:
                headers = sum(len(name) + len(value) for name, value in each.headers)
                found[each.topic] += len(each.key) + len(each.value) + headers
    return found


def label(followers: int) -> str:
    """As names of figures have it: 10k, 1m."""
    for unit, letter in ((1_000_000, "m"), (1_000, "k")):
        if followers % unit == 0:
            return f"{followers // unit}{letter}"
    return str(followers)


def publish(followers: int, cost: Cost) -> float:
    """Record the figures of a size; gives microseconds of processor per recipient."""
    name, at_ten_million = f"fanout_{label(followers)}", followers == 10_000_000
    held = cost.outcomes["HELD"] / followers
    work = f"one post to {followers} followers in {KEY_GROUPS} key groups, {held:.0%} held, nothing sent"

    def note(figure: str, value: float, unit: str) -> None:
        record(TABLE, figure, value, unit, work=work, n=followers, seconds=cost.seen.on_parts, peak_rss_mb=cost.peak_mb)

    for which, seconds in cost.seen._asdict().items():
        note(f"{name}_{which}_s", seconds, "s")
    short = "fanout" if at_ten_million else name
    note(f"{short}_log_bytes_per_recipient", cost.topic_bytes.total() / followers, "B/recipient")
    for topic, number in sorted(cost.topic_bytes.items()):
        note(f"{name}_{topic}_bytes", number / followers, "B/recipient")
    note(f"{short}_extra_rss_mb", cost.extra_mb["decide"], "MB")
    note(f"{name}_inbox_extra_rss_mb", cost.extra_mb["inbox"], "MB")
    for process, processor in cost.processor_s.items():
        note(f"{name}_{process}_us", processor / followers * 1e6, "us/recipient")
    each = sum(cost.processor_s.values()) / followers * 1e6
    note(f"{name}_us", each, "us/recipient")
    return each


def main(sizes: Sequence[int], data: Path | None = None) -> None:
    """`data`: where the directories are made, and stay."""
    costs = {}
    for followers in sizes:
        directory = Path(tempfile.mkdtemp(dir=data))
        try:
            costs[followers] = publish(followers, measure(directory, followers))
        finally:
            if data is None:
                shutil.rmtree(directory)
    if len(costs) > 1:
        work = "processor time of a recipient: the largest over the smallest, of " + ", ".join(map(label, costs))
        record(TABLE, "fanout_cost_spread", max(costs.values()) / min(costs.values()), "ratio", work=work)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--followers", type=int, nargs="+", default=[10_000])
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    main(given.followers, given.data)
