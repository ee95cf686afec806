"""`make crash`: a long crash run. Prints its seed first, then figures; on failure what is wrong, and keeps the files.

python tests/crash/run.py [--seed N] [--kills N] [--profile embedded|kafka] [--only decide,sequence]
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE.parents[1]), str(HERE.parent)]

from crash.harness import crash_run  # noqa: E402 - the path is set above
from crash.killer import NAMES  # noqa: E402 - the path is set above

from infra.services import start_kafka  # noqa: E402 - the path is set above

_PROFILES = ("embedded", "kafka")
_FROZEN_S = 30
"""Longer than a process may be silent: some are replaced while they stand still."""


def _arguments() -> argparse.Namespace:
    """Empty values, as make hands them on, are the defaults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", default="", help="what to run again (default: random)")
    parser.add_argument("--kills", default="", help="kills per profile (default 150)")
    parser.add_argument("--profile", default="", help="embedded or kafka (default: one after the other)")
    parser.add_argument("--only", default="", help="kill only these processes, separated by commas, and the supervisor")
    return parser.parse_args()


@contextmanager
def _environment(profile: str) -> Iterator[Mapping[str, str]]:
    if profile == "embedded":
        yield {"CARILLON_PROFILE": profile}
        return
    cluster = start_kafka()
    try:
        yield {
            "CARILLON_PROFILE": profile,
            "CARILLON_KAFKA__BOOTSTRAP": cluster.bootstrap,
            "CARILLON_LOG__PREFIX": f"crash{time.time_ns()}.",
        }
    finally:
        cluster.stop()


def _run(profile: str, seed: int, kills: int, names: tuple[str, ...]) -> bool:
    """One profile; true when everything was exact."""
    directory = Path(tempfile.mkdtemp(prefix=f"carillon-crash-{profile}-"))
    print(f"{profile}: seed {seed}, directory {directory}", flush=True)
    with _environment(profile) as environment:
        outcome = crash_run(directory, seed=seed, kills=kills, environment=environment, names=names, frozen_s=_FROZEN_S)
    print(f"{profile}: {outcome.table()}", flush=True)
    for problem in outcome.problems:
        print(f"WRONG {problem}", flush=True)
    if outcome.problems:
        print(f"again: make crash SEED={seed} KILLS={kills} PROFILE={profile}; kept: {directory}", flush=True)
        return False
    shutil.rmtree(directory)
    return True


def main() -> int:
    """Run the command line."""
    given = _arguments()
    seed = int(given.seed) if given.seed else random.SystemRandom().randrange(10**6)
    profiles = (given.profile,) if given.profile else _PROFILES
    names = tuple(given.only.split(",")) if given.only else NAMES
    results = [_run(profile, seed, int(given.kills or 150), names) for profile in profiles]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
