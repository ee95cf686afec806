"""What a fan-out leads to is written while the rest of it is decided, so that it is never in memory as a whole."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

from bytewax.testing import cluster_main
from helpers.flow_bench import PARTITIONS, REGISTRY, START
from helpers.records import now_ms
from helpers.work_log import fan_out, settings

from connectors.log import NewRecord
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.topics import topic_specs
from flows import decide
from state.decide.checkpoint import GroupStore
from state.disk.poison import PoisonJournal

REACHED = 175
"""Key groups with users."""
AT_ONCE = 6
"""Of these: by this clock a turn is over after every slice, and after some more questions it goes on without a look."""


class Noting(EmbeddedLog):
    """A log that notes how many key groups' decisions came in an append."""

    groups: list[int]

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        decided = {dict(each.headers)["seq"].split(b":")[1] for each in records if each.topic == "ledger"}
        self.groups.append(len(decided))
        return super().append(records)


def test_few_slices_of_a_fan_out_are_decided_before_their_outputs_are_written(tmp_path: Path) -> None:
    Noting.groups = []
    log = EmbeddedLog(tmp_path, clock=now_ms)
    log.ensure_topics(topic_specs(PARTITIONS, timedelta(days=7)))
    log.append([*settings(random.Random(1)), *fan_out(0, START)])
    store, journal = GroupStore(tmp_path / "state"), PoisonJournal.open(tmp_path / "poison")
    flow = decide.wire(
        lambda: Noting(tmp_path, clock=now_ms), store, REGISTRY, journal, partitions=PARTITIONS, budget=20_000,
        drain=lambda: sum(Noting.groups) >= REACHED, monotonic=partial(next, count(0, 0.021)),
    )  # fmt: skip
    cluster_main(flow, [], 0, worker_count_per_proc=1, epoch_interval=timedelta(milliseconds=50))
    assert max(Noting.groups) <= AT_ONCE
    for opened in (store, journal, log):
        opened.close()
