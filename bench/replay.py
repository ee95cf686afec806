"""How fast the decision log is decided again, against deciding it live: `python -m bench.replay [--rounds N]`.

One system: users with settings, an export of their state, then minutes of direct events. Live: the real flow, its
checkpoint and its outputs on the embedded log. Replay: the same records, from the export, out of the log and out of the
archive, outputs encoded and thrown away. Rebuild: decide's lost state, from the export and what
followed. All sides run in this process, on the same records, in the same run, in turns.
`processor_ratio` compares processor time: on a shared machine the clock tells of others too.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from bench.figures import record
from bench.recovery import Site
from bench.sites import PARTITIONS, append_works, run_flow
from connectors.archive.manifest import archived_up_to
from flows import decide, track
from flows.process.cluster import ClusterPlace
from flows.process.open import clock_ms
from flows.recovery.replay import ReplayRange, opened_origin, rebuild_state, replayed
from flows.recovery.slots import DecideSlot
from state.decide.exports import group_source
from state.disk.exports import write_export

TABLE = "replay"
USERS, MINUTES, PER_S, ROUNDS = 100_000, 10, 100, 3


class Run(NamedTuple):
    """One stretch, decided once."""

    records: int
    seconds: float
    processor_s: float


def main(arguments: Sequence[str]) -> None:
    """Measure, and record medians of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--minutes", type=int, default=MINUTES, help="of events in the log, 100 in each second")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(Site(Path(directory), given.users, given.minutes, PER_S)) as site,
    ):
        measure(site, given.rounds)


def measure(site: Site, rounds: int) -> None:
    """Decide the stretch live, then again and again."""
    append_works(site.log, site.scene())
    site.decide()
    _export(site)
    before = _records(site)
    append_works(site.log, site.stretch())
    live = Run(_records(site) - before, *site.decide())
    _archive(site)
    text = f"{site.events} direct events, {site.users} users"
    record(TABLE, "live_records_per_s", live.records / live.seconds, "records/s", work=text, n=live.records,
           seconds=live.seconds)  # fmt: skip
    found: dict[str, list[Run]] = {"replay": [], "replay_archive": [], "rebuild": []}
    for _ in range(rounds):
        found["replay"].append(_replay(site, site.directory))
        found["replay_archive"].append(_replay(site, site.directory / "archive"))
        found["rebuild"].append(_rebuild(site))
    for name, runs in found.items():
        _tell(name, runs, live, text)


def _tell(name: str, runs: list[Run], live: Run, text: str) -> None:
    seconds = statistics.median(run.seconds / run.records for run in runs)
    processor = statistics.median(run.processor_s / run.records for run in runs)
    n = runs[0].records
    record(TABLE, f"{name}_records_per_s", 1 / seconds, "records/s", work=f"{text}, the state's loading included", n=n,
           seconds=seconds * n)  # fmt: skip
    record(TABLE, f"{name}_vs_live", live.seconds / live.records / seconds, "ratio", work=text, n=n,
           seconds=seconds * n, against=f"the decide flow, {live.records / live.seconds:.0f} records/s",
           processor_ratio=round(live.processor_s / live.records / processor, 3))  # fmt: skip


def _records(site: Site) -> int:
    return sum(site.log.end_offset("work", part) for part in range(PARTITIONS))


def _export(site: Site) -> None:
    slot = DecideSlot(site.directory / decide.DIRECTORY, ClusterPlace(0, 1, 1))
    write_export(site.directory / "exports", group_source(0, slot.store.database), at=clock_ms())
    slot.close()


def _archive(site: Site) -> None:
    """Until everything in `work` is archived."""
    archived = archived_up_to(site.directory / "archive")
    while any(archived("work", part) != site.log.end_offset("work", part) for part in range(PARTITIONS)):
        flow = track.wire(site.open_log, site.directory, drain=lambda: True, now_ms=clock_ms)
        run_flow(flow)


def _replay(site: Site, source: Path) -> Run:
    records = 0

    def told(done: int, _all: int) -> None:
        nonlocal records
        records = done

    begun, processor = time.perf_counter(), time.process_time()
    with opened_origin(str(source), site.settings()) as origin:
        deque(replayed(origin, ReplayRange(site.begin, site.end + 1), told), maxlen=0)
    return Run(records, time.perf_counter() - begun, time.process_time() - processor)


def _rebuild(site: Site) -> Run:
    shutil.rmtree(site.directory / decide.DIRECTORY)
    begun, processor = time.perf_counter(), time.process_time()
    with opened_origin(str(site.directory), site.settings()) as origin:
        rebuilt = rebuild_state(origin, site.settings(), force=False, at_ms=clock_ms())
    return Run(rebuilt.records, time.perf_counter() - begun, time.process_time() - processor)


if __name__ == "__main__":
    main(sys.argv[1:])
