"""A log of the Higgs data set's shape, made up, for machines without the data: nothing in it is Twitter's.

`python tests/rules/higgs_sample.py` writes the files in `tests/rules/higgs_sample/`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SAMPLE = Path(__file__).resolve().with_suffix("")
WEEK = range(1_341_100_800, 1_341_705_600)
"""Seconds from 1 July 2012 on."""
BURST = range(1_341_379_800, 1_341_383_400)
"""The hour from 4 July, 05:30 on."""
PEOPLE = 900
INTERACTIONS = 3_000
FOLLOWS = 6_000
SEED = 2012


def interactions() -> pa.Table:
    """Who did what to whom and when: half of it in the burst, and most of it to a few people."""
    rng = random.Random(SEED)
    times = sorted(rng.choice(BURST if number % 2 else WEEK) for number in range(INTERACTIONS))
    return pa.table({
        "ts": pa.array(times, pa.int64()),
        "actor": pa.array([_anyone(rng) for _ in times], pa.int32()),
        "target": pa.array([_star(rng) for _ in times], pa.int32()),
        "verb": rng.choices(["retweet", "mention", "reply"], [60, 30, 10], k=len(times)),
        "object": pa.array(range(1, len(times) + 1), pa.int32()),
    })  # fmt: skip


def follows() -> pa.Table:
    """Who follows whom; everybody is followed by somebody, and a few by many."""
    rng = random.Random(SEED + 1)
    pairs = {(_anyone(rng), followee) for followee in range(1, PEOPLE + 1)}
    while len(pairs) < FOLLOWS:
        pairs.add((_anyone(rng), _star(rng)))
    follower, followee = zip(*sorted(pairs), strict=True)
    return pa.table({"follower": pa.array(follower, pa.int32()), "followee": pa.array(followee, pa.int32())})


TABLES = {"higgs_interactions.parquet": interactions, "higgs_follows.parquet": follows}


def _anyone(rng: random.Random) -> int:
    return rng.randint(1, PEOPLE)


def _star(rng: random.Random) -> int:
    """One of all, but the first are chosen far more often."""
    return 1 + int(PEOPLE * rng.random() ** 3)


def main() -> None:
    """See the module's text."""
    SAMPLE.mkdir(exist_ok=True)
    for name, make in TABLES.items():
        pq.write_table(make(), SAMPLE / name, compression="zstd")


if __name__ == "__main__":
    main()
