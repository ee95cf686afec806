"""One crash run: load through the gateways, kills, rest, stop, judgement.

crash_run(directory, seed=1, kills=35, environment={...}) -> Outcome
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from crash.killer import NAMES, Killer
from crash.left_behind import Follower, headers_of, key_of, log_of, p0_decisions, read_topic
from crash.load import Load
from crash.truth import Truth, TruthWriter
from crash.verdict import judge
from crash.verdict_admission import must_be_there
from crash.whole_system import System, running_system
from helpers.rows import rows_of

from connectors.log.interface import Log, Record
from connectors.log.kafka.log import KafkaLog

_REST_S = 150
_STOPS_MAX = 3
TRUTH = "truth.ndjson"


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    directory: Path
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    felt: Counter[tuple[str, str]] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        """Figures of the run, one per line."""
        lines = [f"seed {self.seed}: {self.felt.total()} kills"]
        lines += [f"  {count:6}  kill -9 of {name} {when}" for (name, when), count in sorted(self.felt.items())]
        lines += [f"  {count:6}  stops of {name}" for name, count in sorted(self.stopped.items())]
        lines += [f"  {count:6}  {name}" for name, count in sorted(self.counts.items())]
        lines += [f"  {count:6}  s {name}" for name, count in self.seconds.items()]
        return "\n".join(lines)

    def assert_exact(self) -> None:
        """Fail with what is wrong, and how to see it again."""
        shown = "\n".join(self.problems[:40])
        assert not self.problems, f"seed {self.seed}, directory {self.directory}\n{shown}\n{self.table()}"


def crash_run(
    directory: Path,
    *,
    seed: int,
    kills: int,
    environment: Mapping[str, str],
    rate_per_s: float = 30,
    names: tuple[str, ...] = NAMES,
    quiet_s: float = 0,
    frozen_s: float = 2,
) -> Outcome:
    """See the module. After the last kill the load goes on for `quiet_s`; some stand still for up to `frozen_s`."""
    outcome = Outcome(seed, directory)
    writer = TruthWriter(directory / TRUTH)
    began = time.monotonic()
    with running_system(directory, environment) as system:
        outcome.seconds["starting"] = _since(began)
        load = Load(seed, system.call, writer, rate_per_s=rate_per_s)
        began = time.monotonic()
        load.settle_in()
        outcome.seconds["settling in"] = _since(began)
        began = time.monotonic()
        load.start()
        killer = Killer(system, seed, kills, names=names, frozen_s=frozen_s)
        killer.run()
        time.sleep(quiet_s)
        outcome.felt, outcome.stopped = killer.felt, killer.stopped
        outcome.seconds["under fire"] = _since(began)
        began = time.monotonic()
        load.finish()
        writer.close()
        truth = Truth(directory / TRUTH)
        outcome.problems += come_to_rest(system, truth)
        outcome.seconds["coming to rest"] = _since(began)
    began = time.monotonic()
    verdict = judge(directory, system.environment, truth)
    outcome.seconds["judging"] = _since(began)
    outcome.problems += verdict.problems
    outcome.counts = verdict.counts
    return outcome


def _since(began: float) -> int:
    return round(time.monotonic() - began)


def come_to_rest(system: System, truth: Truth) -> list[str]:
    """Rest, a stop in order, and the three laws.

    A hold may end while the system stops: what is emitted then is sent after the next start, so there is one. So there
    is after a stop that ran out of time on a busy machine, where all but P0 gives way to everything else.
    """
    problems: list[str] = []
    for stops_left in reversed(range(_STOPS_MAX)):
        problems = rest(system, truth)
        is_stuck, code = bool(problems), system.stop()
        if code:
            problems.append(f"`carillon up` ended with {code}: {system.up.lines[-3:]}")
        if is_stuck or not stops_left or (not code and not _open_deliveries(system)):
            break
        system.start()
    checked = system.up.carillon("ledger", "--check")
    if checked.returncode:
        problems.append(f"carillon ledger --check: {checked.stdout} {checked.stderr}")
    return problems


def _open_deliveries(system: System) -> int:
    with log_of(system.directory, system.environment) as (_, log):
        balance = _Balance()
        for record in read_topic(log, "ledger"):
            balance.take(record)
    return balance.open()


def rest(system: System, truth: Truth) -> list[str]:
    """Wait until every accepted event is in a decision log and every emission's deliveries have ended.

    What does not come in time is for the judge to name; here it is only said that time was up.
    """
    end = time.monotonic() + _REST_S
    with log_of(system.directory, system.environment) as (_, log):
        work, ledger = Follower(log, "work"), Follower(log, "ledger")
        seen, missing, balance = set[int](), must_be_there(truth), _Balance()
        try:
            while time.monotonic() < end:
                works = [line for record in work.more() for line in rows_of(record) if "event" in line]
                seen |= {line["event"]["payload"]["n"] for line in works}
                seen |= {decision.event["payload"]["n"] for decision in p0_decisions(system.directory)}
                for record in ledger.more():
                    balance.take(record)
                missing -= seen
                if not missing and not balance.open():
                    return []
                time.sleep(0.5)
        finally:
            work.close()
            ledger.close()
        _keep_topics(system.directory, log)
    named = f"{len(missing)} events ({sorted(missing)[:9]}) are not decided"
    return [f"after {_REST_S} s {named} and {balance.open()} deliveries have not ended"]


def _keep_topics(directory: Path, log: Log) -> None:
    """What the log holds of the ways to a decision, also what is void, for whoever looks for what was not decided."""
    with (directory / "topics.ndjson").open("w") as file:
        for topic in ("schedule", "events.p0", "events.p1", "events.p2", "owners"):
            places = {(topic, number): log.begin_offset(topic, number) for number in range(log.partitions(topic))}
            reader = log.raw_reader(places) if isinstance(log, KafkaLog) else log.reader(places)
            while records := reader.poll(10_000, timedelta(seconds=3)):
                for each in records:
                    headers = {name: value.decode("utf-8", "replace") for name, value in each.headers}
                    line = [topic, each.partition, each.offset, each.timestamp_ms, headers, each.value.decode()]
                    file.write(json.dumps(line) + "\n")
            reader.close()


class _Balance:
    """Deliveries that were handed out and have not ended."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, ...], int] = {}
        self._ended: dict[tuple[str, ...], bool] = {}

    def take(self, record: Record) -> None:
        """A record of the ledger."""
        kind = headers_of(record)["schema"].partition("/")[0]
        for row in rows_of(record):
            if kind == "emission":
                self._due[key_of(row | {"kind": kind})] = row["deliveries"]
            elif kind == "delivery":
                self._ended[key_of(row | {"kind": kind})] = row["outcome"] == "FELL_BACK"

    def open(self) -> int:
        """A delivery that fell back stands for at least one more."""
        fallbacks = sum(self._ended.values())
        return max(0, sum(self._due.values()) + fallbacks - len(self._ended)) if self._due else 0
