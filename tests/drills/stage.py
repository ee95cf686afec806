"""Where a drill is played: a real `carillon up` beside simulated providers, calls at fixed times, and who watches it.

Everything is written into `truth.ndjson` as the crash harness does, so that its judge can judge the drill.
"""

import http.client
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from crash.left_behind import PROVIDERS, TAKEN, journal
from crash.load import Job, Load
from crash.truth import TruthWriter
from crash.whole_system import System
from helpers.steering import Steering
from prometheus_client.parser import text_string_to_metric_families

from connectors.metric_files import WRITE_EVERY

OPEN = 3
STATES = {0: "closed", 1: "reduced", 2: "half open", 3: "open"}
_LOOK_S = 0.5
Event = dict[str, Any]


@dataclass
class Repeating:
    """A schedule of events of one kind, each with a number; see `crash.load.Schedule`."""

    make: Callable[[int], Event]
    numbers: Iterator[int]
    role: str = "producer"

    def next(self, _progress: float) -> Job:
        return numbered(next(self.numbers), self.make, self.role)

    def rest(self) -> Iterable[Job]:
        return ()


def numbered(number: int, make: Callable[[int], Event], role: str = "producer") -> Job:
    """The call that posts an event, which bears its number for the judge."""
    event = {"event_id": f"e{number}", **make(number)}
    event["payload"] = {**event.get("payload", {}), "n": number}
    return Job("POST", "/v1/notifications", event, role=role, number=number)


@dataclass
class Stage:
    """One drill under way. Times of the drill are seconds at scale 1; `for_s` and `during` scale them."""

    system: System
    steering: Steering
    truth: TruthWriter
    seed: int
    scale: float
    began: float = field(default_factory=time.monotonic)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    marks: dict[str, int] = field(default_factory=dict)
    """When it happened, ms since 1970: `trouble` and `over` bound the incident."""
    seen: dict[str, float] = field(default_factory=dict)
    """The highest value of each metric that was looked at, by name and labels."""

    def __post_init__(self) -> None:
        self.choose = random.Random(f"drill {self.seed}")

    def say(self, text: str) -> None:
        """A line of the timeline."""
        print(f"  {time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def mark(self, name: str) -> None:
        self.marks[name] = time.time_ns() // 1_000_000

    def many(self, count: int) -> int:
        """So many at this scale."""
        return max(20, round(count * self.scale))

    def for_s(self, seconds: float) -> None:
        """Let it go on."""
        time.sleep(seconds * self.scale)

    def settle(self, jobs: Iterable[Job], what: str) -> None:
        """Settings, before anything happens."""
        count = itertools.count()
        Load(self.seed, self.system.call, self.truth, rate_per_s=1).do(job for job in jobs if next(count) >= 0)
        self.say(f"{what}: {next(count)} calls were acknowledged")

    def post(self, make: Callable[[int], Event], *, role: str = "producer") -> Job:
        """One event, until it is accepted."""
        job = numbered(next(self.numbers), make, role)
        Load(self.seed, self.system.call, self.truth, rate_per_s=1).do([job])
        return job

    @contextmanager
    def stream(self, rate_per_s: float, make: Callable[[int], Event], *, role: str = "producer") -> Iterator[None]:
        """Events at a fixed rate, whatever the answers are, until the block ends."""
        schedule = Repeating(make, self.numbers, role)
        load = Load(self.seed, self.system.call, self.truth, rate_per_s=rate_per_s, script=schedule)
        load.start()
        try:
            yield
        finally:
            load.finish()

    @contextmanager
    def trouble(self, provider: str, name: str, **more: Any) -> Iterator[None]:
        """A provider misbehaves until the block ends."""
        self.steering.put(provider, name, **more)
        said = "".join(f", {key} {value}" for key, value in more.items())
        self.say(f"{provider} does {name}{said}")
        self.mark("trouble")
        try:
            yield
        finally:
            self.steering.lift(provider=provider, name=name)
            self.mark("over")
            self.say(f"{provider} is itself again")

    def taken(self) -> dict[str, int]:
        """Messages that each provider took so far."""
        return {name: self._lines(name, taken=True) for name in PROVIDERS}

    def refused(self) -> dict[str, int]:
        return {name: self._lines(name, taken=False) for name in PROVIDERS}

    def _lines(self, provider: str, *, taken: bool) -> int:
        return sum((line["status"] in TAKEN) is taken for line in journal(self.system.directory, provider))

    def metrics(self) -> dict[str, float]:
        """What the gateways show of all processes: `name{label,...}` to value, without what is nil."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self._metrics_text()):
            for sample in family.samples:
                labels = ",".join(value for name, value in sorted(sample.labels.items()) if name != "le")
                if sample.value and not sample.name.endswith(("_bucket", "_created")):
                    found[f"{sample.name}{{{labels}}}"] = sample.value
        return found

    def _metrics_text(self) -> str:
        connection = http.client.HTTPConnection(self.system.up.first["url"].removeprefix("http://"), timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""  # the gateway is starting, or busy: there is another look
        finally:
            connection.close()


class Watcher:
    """Looks at the metrics all the time, and tells what changes."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._ending = stage, threading.Event()
        self._states: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        time.sleep(WRITE_EVERY.total_seconds())  # what happened last is not shown before
        self._ending.set()
        self._thread.join(30)

    def _run(self) -> None:
        told = time.monotonic()
        while not self._ending.wait(_LOOK_S):
            metrics = self._stage.metrics()
            for name, value in metrics.items():
                self._stage.seen[name] = max(value, self._stage.seen.get(name, 0))
            self._tell_changes(metrics)
            if time.monotonic() - told >= max(2.0, 10 * self._stage.scale):
                told = time.monotonic()
                self._tell_counts(metrics)

    def _tell_changes(self, metrics: dict[str, float]) -> None:
        watched = ("carillon_breaker_state{", "carillon_load_level{")
        now = {name: value for name, value in metrics.items() if name.startswith(watched)}
        for name in sorted(now.keys() | self._states.keys()):
            value = now.get(name, 0)
            if value != self._states.get(name, 0) and metrics:
                is_breaker = name.startswith(watched[0])
                self._stage.say(f"{name} is {STATES[int(value)] if is_breaker else int(value)}")
                self._states[name] = value

    def _tell_counts(self, metrics: dict[str, float]) -> None:
        waiting = sum(value for name, value in metrics.items() if name.startswith("carillon_deliveries_waiting{"))
        lines = {name: (count, self._stage.refused()[name]) for name, count in self._stage.taken().items()}
        said = ", ".join(f"{name} took {count} and refused {refused}" for name, (count, refused) in lines.items())
        self._stage.say(f"{said}; {waiting:.0f} deliveries wait")
