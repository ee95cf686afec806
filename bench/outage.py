"""Whether codes notice that another provider hangs: `python -m bench.outage [--rounds N] [--followers N]`.

The whole system (`carillon up`, embedded), with codes for Android phones and all else for iPhones, whose simulators are
two processes. Codes and mentions are posted for ten seconds in each round, first while both providers answer. Then the
iPhones' process is stopped: it takes connections and bytes, and answers nothing, while each round begins with a star's
post to all followers (P1, pushed) and a campaign (P2, pushed). It is the same outage in all of these rounds, so its
breaker opens in the first, and what is for iPhones waits. Latencies are as in `bench/flood.py`.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.flood import (
    FOLLOWERS,
    apns_environment,
    come_behind_settings,
    fcm_environment,
    people,
    post_all,
    provider,
    quantiles,
    rush,
    simulators,
    tell_beside,
    wait_for,
)
from bench.processes import ignore_output, system_up

TABLE = "outage"
ROUNDS = 5
PHASES = ("answers", "hangs")


def main(arguments: Sequence[str]) -> None:
    """Measure, and record medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--followers", type=int, default=FOLLOWERS)
    given = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as name,
        simulators(Path(name) / "p1") as (many, hanging),
        provider(Path(name) / "p0") as one,
    ):
        site = Path(name) / "site"
        with system_up(site, apns_environment(many) | fcm_environment(one)) as (process, up):
            ignore_output(process)
            people(site, [f"{phase}{number}" for phase in PHASES for number in range(given.rounds)], given.followers)
            come_behind_settings(Path(name), up)
            answers = [_latencies(Path(name), up, f"answers{number}") for number in range(given.rounds)]
            hanging.send_signal(signal.SIGSTOP)
            try:
                hangs = [_beside_rush(Path(name), up, number) for number in range(given.rounds)]
            finally:
                hanging.send_signal(signal.SIGCONT)
    work = f"beside a post to {given.followers} and a campaign for a provider that hangs"
    tell_beside(TABLE, "p0", ("answers", "both providers answer", answers), ("hangs", work, hangs))


def _beside_rush(directory: Path, up: dict[str, Any], number: int) -> list[float]:
    rush(up, number)
    return _latencies(directory, up, f"hangs{number}")


def _latencies(directory: Path, up: dict[str, Any], phase: str) -> list[float]:
    """Of the codes of a round, sorted, in milliseconds."""
    accepted = post_all(up, phase)["p0"]
    seen = wait_for(directory, set(accepted))
    found = sorted(seen[to] - at for to, at in accepted.items())
    print(phase, quantiles(found), file=sys.stderr)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
