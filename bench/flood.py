"""Whether codes notice a rush: `python -m bench.flood [--rounds N] [--followers N]`.

The whole system (`carillon up`, embedded). Providers are elsewhere in life, so nginx takes what goes to iPhones where
it is installed (`bench/native_servers.py`): a simulator in Python takes as much of the cores as what sends to it, and
a rush at it delays what else it takes. Codes go to Android phones, whose simulator has a process of its own. In each
round codes and mentions are posted for ten seconds while nothing else happens, and for ten seconds from the moment at
which a star's post to all followers (P1, pushed) and a campaign (P2, pushed) were accepted. The next phase begins
when nothing is sent any more. A latency runs from the answer 202 to the line that the provider writes of it, in whole
milliseconds of the same clock. Codes and mentions come at fixed rates, each in a thread of its own, whatever the
system takes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.figures import record
from bench.native_servers import native_server, taken_pushes
from bench.processes import call, ignore_output, journal, started, system_up
from bench.sites import open_log
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.sandbox.options import SandboxOptions, sandbox_options
from flows.process.open import clock_ms
from state.model.keys import key_group, partition_of_group
from state.model.settings import SETTINGS

TABLE = "flood"
ROUNDS, FOLLOWERS, MEMBERS = 9, 20_000, 5_000
"""A follower hears of one post in each round, and of ten in an hour at most."""
SECONDS = 10
PHASES = ("idle", "flood")
PER_S = {"p0": 50, "p1": 10}
TAKEN = "taken"
"""The file into which nginx writes."""
FIRST = "first"
"""Is called before anything is measured."""
QUANTILES = (50, 99)
_AT_REST_S = 2.0
_AT_REST_WITHIN_S = 180.0


def main(arguments: Sequence[str]) -> None:
    """Measure, and record medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--followers", type=int, default=FOLLOWERS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, provider(Path(name) / "p1") as many, provider(Path(name) / "p0") as one:
        directory = Path(name) / "site"
        with native_server("push", Path(name) / "p1" / "sandbox", taken=Path(name) / TAKEN) as native:
            environment = (native or apns_environment(many)) | fcm_environment(one)
            with system_up(directory, environment) as (process, up):
                ignore_output(process)
                people(
                    directory,
                    [f"{phase}{number}" for phase in PHASES for number in range(given.rounds)],
                    given.followers,
                )
                phases = run(Path(name), up, given.rounds)
    tell(phases, given.followers)


@contextmanager
def simulators(directory: Path) -> Iterator[tuple[SandboxOptions, subprocess.Popen[str]]]:
    """Simulated providers in a process of their own."""
    with started([sys.executable, "-m", "connectors.sandbox", "--dir", str(directory)]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield sandbox_options(directory / "sandbox"), process


@contextmanager
def provider(directory: Path) -> Iterator[SandboxOptions]:
    """The same, for who only sends to them."""
    with simulators(directory) as (options, _process):
        yield options


def apns_environment(many: SandboxOptions) -> dict[str, str]:
    """The settings by which iPhones are this simulator's."""
    apns = ("origin", "team_id", "key_id", "topic", "signing_key", "ca_file")
    return {f"CARILLON_PROVIDERS__APNS__{name.upper()}": str(getattr(many.apns, name)) for name in apns}


def fcm_environment(one: SandboxOptions) -> dict[str, str]:
    """The settings by which Android phones are this simulator's."""
    fcm = ("origin", "token_url", "service_account", "ca_file")
    return {f"CARILLON_PROVIDERS__FCM__{name.upper()}": str(getattr(one.fcm, name)) for name in fcm}


Measured = tuple[str, str, list[list[float]]]
"""A phase: its name, what happens in it, and the latencies of one kind in each round, sorted."""
Phases = dict[str, list[dict[str, list[float]]]]
"""`idle` and `flood`, of each round: latencies in milliseconds of `p0` and `p1`, sorted."""


def run(directory: Path, up: dict[str, Any], rounds: int) -> Phases:
    """The rounds, one after the other."""
    phases: Phases = {phase: [] for phase in PHASES}
    come_behind_settings(directory, up)
    for number in range(rounds):
        for phase, found in phases.items():
            if phase == "flood":
                rush(up, number)
            posted = post_all(up, f"{phase}{number}")
            seen = wait_for(directory, {to for each in posted.values() for to in each})
            found.append({kind: sorted(seen[to] - at for to, at in posted[kind].items()) for kind in PER_S})
            print(number, phase, {kind: quantiles(each) for kind, each in found[-1].items()}, file=sys.stderr)
    return phases


def come_behind_settings(directory: Path, up: dict[str, Any]) -> None:
    """Wait until somebody was called."""
    _one(up, {}, "p1", FIRST, 0.0)
    wait_for(directory, {address(FIRST)})


def tell(phases: Phases, followers: int) -> None:
    """Record each kind."""
    work = f"beside a post to {followers} and a campaign to {MEMBERS}, all pushed"
    for kind in PER_S:
        quiet, flood = ([each[kind] for each in phases[phase]] for phase in PHASES)
        tell_beside(TABLE, kind, ("quiet", "nothing else happens", quiet), ("flood", work, flood))


def tell_beside(table: str, kind: str, before: Measured, beside: Measured) -> None:
    """Record the medians of both over their rounds, and the ratios."""
    seconds = len(before[2]) * SECONDS
    n = seconds * PER_S[kind]
    for place, quantile in enumerate(QUANTILES):
        medians = []
        for phase, work, rounds in (before, beside):
            medians.append(statistics.median(quantiles(each)[place] for each in rounds))
            record(table, f"{kind}_{phase}_p{quantile}_ms", medians[-1], "ms", work=work, n=n, seconds=seconds)
        record(
            table, f"{kind}_{beside[0]}_p{quantile}_ratio", medians[1] / max(medians[0], 1.0), "x",
            work=beside[1], n=n, seconds=seconds, against=before[1],
        )  # fmt: skip


def quantiles(latencies: list[float]) -> list[float]:
    return [max(0.0, latencies[len(latencies) * quantile // 100]) for quantile in QUANTILES]


# what is posted


def rush(up: dict[str, Any], number: int) -> None:
    """A post and a campaign."""
    for event in (
        {"type": "new_post", "fan_out_type": "FOLLOWERS", "actor": "star", "object": f"post{number}"},
        {"type": "promotion", "fan_out_type": "SEGMENT", "segment": "buyers", "object": f"sale{number}"},
    ):
        call(up["url"], "/v1/notifications", up["keys"]["producer"], "POST", event)


def post_all(up: dict[str, Any], phase: str) -> dict[str, dict[str, float]]:
    """Codes and mentions at their rates; of each kind, when the answer was read in ms, by address."""
    accepted: dict[str, dict[str, float]] = {kind: {} for kind in PER_S}
    threads = [
        threading.Thread(target=_one, args=(up, accepted[kind], kind, name_of(phase, kind, number), number / per_s))
        for kind, per_s in PER_S.items()
        for number in range(SECONDS * per_s)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return accepted


def _one(up: dict[str, Any], accepted: dict[str, float], kind: str, user: str, after_s: float) -> None:
    time.sleep(after_s)
    body: dict[str, Any] = {"type": "mention", "actor": "ann", "target": user, "object": user}
    url, key = "url", "producer"
    if kind == "p0":
        url, key, body = "p0_url", "p0_producer", {"type": "otp", "target": user, "payload": {"code": "123456"}}
    call(up[url], "/v1/notifications", up["keys"][key], "POST", body)
    accepted[address(user)] = time.time() * 1000


def wait_for(directory: Path, called: set[str]) -> dict[str, float]:
    """When the provider noted each address, once all who were called are among them and nothing is sent any more."""
    seen: dict[str, float] = {}
    begun = changed = time.monotonic()
    while called - seen.keys() or time.monotonic() - changed < _AT_REST_S:
        assert time.monotonic() - begun < _AT_REST_WITHIN_S, f"{len(called - seen.keys())} were not called"
        time.sleep(0.5)
        now_seen = _taken(directory)
        if len(now_seen) != len(seen):
            seen, changed = now_seen, time.monotonic()
    return seen


def _taken(directory: Path) -> dict[str, float]:
    simulators = (("p1", "apns"), ("p0", "fcm"))
    seen = {entry["to"]: float(entry["ts"]) for place, name in simulators for entry in journal(directory / place, name)}
    native = directory / TAKEN
    return seen | taken_pushes(native) if native.exists() else seen


# who is there


def name_of(phase: str, kind: str, number: int) -> str:
    """Everybody is called once: mentions count for the caps."""
    return f"{kind}-{phase}-{number}"


def address(user: str) -> str:
    """The token of his phone."""
    return sha256(user.encode()).hexdigest()


def people(directory: Path, phases: Sequence[str], followers: int) -> None:
    """Followers of the star, members of the segment, and those who are called in a phase; all have a phone."""
    fans, members = [f"f{number}" for number in range(followers)], [f"m{number}" for number in range(MEMBERS)]
    to_call = [
        name_of(phase, kind, number)
        for phase in phases
        for kind, per_s in PER_S.items()
        for number in range(SECONDS * per_s)
    ]
    on = {"types": {"promotion": {"enabled": True, "channels": ["push"]}}}
    buyers: list[tuple[str, dict[str, Any]]] = [
        ("buyers\0" + "0", {"segment": "buyers", "version": 1, "chunk": 0, "users": members}),
        ("buyers\0commit", {"segment": "buyers", "version": 1, "chunks": 1}),
    ]
    log = open_log(directory)
    append(log, "endpoints", ((f"{user}\0push\0d", user, phone(user)) for user in [*fans, *members, *to_call, FIRST]))
    append(log, "preferences", ((user, user, {"user": user, "doc": on}) for user in members))
    follows = ((fan, {"followee": "star", "follower": fan, "on": True}) for fan in fans)
    append(log, "follows", ((f"star\0{fan}", "star", value) for fan, value in follows))
    append(log, "segments", ((key, "buyers", value) for key, value in buyers))
    log.close()


def phone(user: str) -> dict[str, Any]:
    """A device: of Android, if it is called by codes."""
    return {
        "user": user, "channel": "push", "id": "d", "platform": "android" if user.startswith("p0-") else "ios",
        "address": address(user), "state": "active", "registered_at": clock_ms(),
    }  # fmt: skip


def append(log: EmbeddedLog, topic: str, records: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
    """Append settings: of each its key, what places it, and its value."""
    partitions, headers = log.partitions(topic), SETTINGS[topic].headers
    waiting: list[NewRecord] = []
    for key, placed_by, value in records:
        partition = partition_of_group(key_group(placed_by), partitions)
        waiting.append(NewRecord(topic, partition, key.encode(), json.dumps(value).encode(), headers))
        if len(waiting) == 1000:
            log.append(waiting)
            waiting = []
    log.append(waiting)


if __name__ == "__main__":
    main(sys.argv[1:])
