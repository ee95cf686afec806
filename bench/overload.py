"""What happens when more is offered than can be done: `python -m bench.overload [--seconds N] [--factors N ...]`.

The whole system (`carillon up`, embedded). First its capacity for direct events is found, from their acceptance over
HTTP to their inbox rows: a client that never has more than `WINDOW` events under way. Then multiples of that are
offered by one that keeps its pace (`bench/open_loop.py`). The events are mentions of people who have only the app, in
batches of `BATCH`, one batch of `SHARE_P2` of class P2. Codes (P0) go to phones at 50/s all the time; their simulator
is a process of its own.

All is normal again when a mention of each class, posted after the rush, is accepted and readable in the inbox within
`NORMAL_S`, no place says that it is loaded, and every score is below the lowest threshold.
"""

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from bench.figures import record
from bench.flood import address, append, fcm_environment, phone, provider
from bench.open_loop import Answers, Offering, Pace, Request
from bench.processes import forget_peak, journal, peak_rss_mb, system_up
from bench.sites import open_log
from connectors.load import LoadLevels, is_load
from flows.process.open import clock_ms
from flows.up.ports import any_port
from operators.load import CLEARANCE, THRESHOLDS

TABLE = "overload"
SECONDS, FACTORS = 60, (2, 5, 10)
BATCH, WINDOW, CLIENTS = 50, 4_000, 4
SHARE_P2 = 5
"""Each so manyth batch."""
CODES_PER_S = 50
USERS = 20_000
NORMAL_S = 1.0
_WARM_S = 5.0
_GIVE_UP_S = 900.0
NICE = 19
"""As all but P0 have it: clients are on other machines, where they take nothing from P0."""
KEYS = {"producer": "bench-producer-key", "p0": "bench-p0-producer-key"}
BATCH_PATH, _PATH = "/v1/notifications/batch", "/v1/notifications"
_LOOK_S = 0.25
_NOW = timedelta(milliseconds=1)


def main(arguments: Sequence[str]) -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each phase")
    parser.add_argument("--factors", type=int, nargs="+", default=list(FACTORS))
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, provider(Path(name) / "p0") as one:
        config = Path(name) / "carillon.toml"
        config.write_text(SENDERS, encoding="utf-8")
        environment = {**fcm_environment(one), "CARILLON_CONFIG": str(config)}
        environment |= {f"CARILLON_GATEWAY__{name}": str(any_port("127.0.0.1")) for name in ("PORT", "P0_PORT")}
        with system_up(Path(name) / "site", environment) as (process, up):
            site = Site(process, up, Path(name))
            site.people(given.seconds, ("idle", *map(str, given.factors)))
            _run(site, given.seconds, given.factors)
            site.close()


SENDERS = "".join(
    f'[senders.{name}]\nkey = "{key}"\nrole = "{name}"\nlimit_per_s = 1000000\n' for name, key in KEYS.items()
)


def _run(site: "Site", seconds: int, factors: Sequence[int]) -> None:
    site.normal(site.capacity(_WARM_S)[1])  # everything is loaded
    idle = site.codes("idle", seconds)
    _tell_codes("idle", idle, seconds)
    peak, ended = site.capacity(seconds)
    record(TABLE, "capacity_events_per_s", peak, "events/s", work=_WORK, n=round(peak * seconds), seconds=seconds)
    site.normal(ended)
    for factor in factors:
        rush = site.rush(str(factor), factor * peak, seconds)
        _tell_codes(f"x{factor}", rush.codes, seconds, idle)
        _tell(f"x{factor}", rush, factor, peak, seconds)


_WORK = f"direct events in batches of {BATCH}, over HTTP to their inbox rows, {CODES_PER_S} codes/s besides"


class Codes(NamedTuple):
    """Milliseconds to the provider's note, sorted, from the answer 202 and from when a code was due."""

    accepted: list[float]
    due: list[float]
    missing: int
    """Those that were not accepted, or did not come to the provider."""


class Rush(NamedTuple):
    """A time in which too much was offered."""

    codes: Codes
    answers: Answers
    rows: int
    """Inbox rows that were written meanwhile."""
    normal_s: float
    """From its end until all was normal."""
    shed: Counter[str]
    """Events of it that ended as SHED, by class."""
    grown_mb: dict[str, float]
    """Of each process, the most resident memory since it began, above that at the beginning."""
    level: int
    """The highest."""


def _quantile(latencies: list[float], quantile: int) -> float:
    return max(0.0, latencies[len(latencies) * quantile // 100])


def _tell_codes(phase: str, codes: Codes, seconds: float, idle: Codes | None = None) -> None:
    for name, found in (("", codes.accepted), ("_due", codes.due)):
        for quantile in (50, 99):
            value, figure = _quantile(found, quantile), f"p0_{phase}{name}_p{quantile}"
            more: dict[str, Any] = {"n": len(found), "seconds": seconds, "missing": codes.missing}
            record(TABLE, f"{figure}_ms", value, "ms", work=f"codes, {name[1:] or 'accepted'} to provider", **more)
            if idle is not None:
                before = _quantile(idle.due if name else idle.accepted, quantile)
                record(TABLE, f"{figure}_ratio", value / max(before, 1.0), "x", against="only codes", **more)


def _tell(phase: str, rush: Rush, factor: int, peak: float, seconds: float) -> None:
    offered = f"{factor} times the capacity for {seconds} s"
    share = rush.rows / seconds / peak
    figure = f"goodput_at_{factor}x"
    answers = {f"{kind} {answer}": count for (kind, answer), count in sorted(rush.answers.events.items()) if count}
    record(TABLE, figure, share, "of peak", work=offered, n=rush.rows, seconds=seconds, against=f"{peak:.0f} events/s",
           answers=answers, shed=dict(rush.shed), level=rush.level)  # fmt: skip
    record(TABLE, f"{phase}_normal_after_s", rush.normal_s, "s", work=offered)
    record(TABLE, f"{phase}_extra_rss_mb", sum(rush.grown_mb.values()), "MB", work=offered,
           by_process={name: round(grown, 1) for name, grown in rush.grown_mb.items()})  # fmt: skip
    print(f"{'':12} answers {answers}, shed {dict(rush.shed)}, level {rush.level}", flush=True)


# the system


class Site:
    """The running system, and what is seen of it."""

    def __init__(self, process: subprocess.Popen[str], up: dict[str, Any], directory: Path) -> None:
        self._up = up
        self._exits: list[str] = []
        threading.Thread(target=self._read, args=(process.stdout,), daemon=True).start()
        self._directory = directory
        self._pids = {each["name"]: each["pid"] for each in self._up["processes"]}
        self._log = open_log(directory / "site")
        self._levels, self._level_seen = LoadLevels(), 0
        self._number = 0
        self._ended = threading.Event()
        threading.Thread(target=self._watch_load, daemon=True).start()

    def _read(self, lines: Any) -> None:
        for line in lines:
            said = json.loads(line)
            if said.get("event") in ("exit", "hung", "stalled") and not self._ended.is_set():
                self._exits.append(line)
                print(line, file=sys.stderr)

    def _watch_load(self) -> None:
        reader = self._log.reader({("control", 0): self._log.end_offset("control", 0)})
        while not self._ended.wait(_LOOK_S):
            for each in filter(is_load, reader.poll(1_000, _NOW)):
                self._levels.note(each)
                print("load", each.value.decode(), file=sys.stderr)
            self._level_seen = max(self._level_seen, self._levels.level(clock_ms()))
        reader.close()

    def close(self) -> None:
        """From here on processes may end."""
        self._ended.set()
        assert not self._exits, f"processes ended: {self._exits}"

    def people(self, seconds: int, phases: Sequence[str]) -> None:
        """Those who are called, each with a phone; the others have only the app and need no record."""
        called = [_called(phase, number) for phase in phases for number in range(seconds * CODES_PER_S)]
        append(self._log, "endpoints", ((f"{user}\0push\0d", user, phone(user)) for user in called))

    def rows(self) -> int:
        """Inbox rows so far: each direct event has a record of its own."""
        return sum(self._ends("inbox").values())

    def _ends(self, topic: str) -> dict[tuple[str, int], int]:
        return self._log.end_offsets([(topic, part) for part in range(self._log.partitions(topic))])

    # capacity

    def capacity(self, seconds: float) -> tuple[float, float]:
        """(Events per second in a steady state, when it ended)."""
        self._number += 1
        begun, done, counted = self.rows(), threading.Event(), Counter[str]()
        arguments = [(begun, done, counted, client) for client in range(CLIENTS)]
        clients = [threading.Thread(target=self._keep_posting, args=each) for each in arguments]
        with Offering(self._codes_pace("none", seconds + _WARM_S)):
            for client in clients:
                client.start()
            time.sleep(_WARM_S)
            before, at = self.rows(), time.monotonic()
            time.sleep(seconds)
            found = (self.rows() - before) / (time.monotonic() - at)
            done.set()
            for client in clients:
                client.join()
        return found, time.monotonic()

    def _keep_posting(self, begun: int, done: threading.Event, counted: Counter[str], client: int) -> None:
        connection = http.client.HTTPConnection(*self._address("url"), timeout=60)
        headers = {"authorization": f"Bearer {KEYS['producer']}", "content-type": "application/json"}
        number = client
        while not done.is_set():
            if sum(counted.values()) - (self.rows() - begun) > WINDOW:
                time.sleep(0.005)
                continue
            request = batch(f"capacity{self._number}", number)
            connection.request("POST", BATCH_PATH, request.body, headers)
            body = connection.getresponse().read()
            counted[str(client)] += body.count(b'"status":202')
            number += CLIENTS
        connection.close()

    def _address(self, name: str) -> tuple[str, int]:
        return "127.0.0.1", port_of(self._up[name])

    # codes

    def _codes_pace(self, phase: str, seconds: float) -> Pace:
        port = self._address("p0_url")[1]
        return Pace(port, KEYS["p0"], _PATH, partial(code, phase), CODES_PER_S, seconds)

    def codes(self, phase: str, seconds: float) -> Codes:
        """Nothing but codes."""
        with Offering(self._codes_pace(phase, seconds)) as offering:
            return self._codes(phase, offering.answers(), round(CODES_PER_S * seconds))

    def _codes(self, phase: str, answers: Answers, count: int) -> Codes:
        until = time.monotonic() + 60
        while True:
            seen = {entry["to"]: entry["ts"] for entry in journal(self._directory / "p0", "fcm")}
            came = {number: seen[to] for number in answers.times if (to := address(_called(phase, number))) in seen}
            if len(came) == len(answers.times) or time.monotonic() > until:
                break
            time.sleep(0.5)
        accepted = sorted(at - answers.times[number][1] for number, at in came.items())
        due = sorted(at - answers.times[number][0] for number, at in came.items())
        return Codes(accepted, due, count - len(came))

    # the rush

    def rush(self, phase: str, per_s: float, seconds: float) -> Rush:
        """Offer so many events, with codes besides, and wait until all is normal."""
        self._level_seen = 0
        before, resident = self.rows(), self._forget_peaks()
        ledger = self._ends("ledger")
        pace = Pace(
            self._address("url")[1], KEYS["producer"], BATCH_PATH, partial(batch, f"x{phase}"), per_s / BATCH, seconds,
            NICE,
        )  # fmt: skip
        with Offering(self._codes_pace(phase, seconds)) as codes, Offering(pace) as offering:
            time.sleep(seconds)
            rows, ended = self.rows() - before, time.monotonic()
            answers = offering.answers()
            called = self._codes(phase, codes.answers(), round(CODES_PER_S * seconds))
        normal = self.normal(ended)
        grown = {name: peak_rss_mb(pid) - resident[name] for name, pid in self._pids.items()}
        return Rush(called, answers, rows, normal, self._shed(ledger), grown, self._level_seen)

    def _shed(self, begin: dict[tuple[str, int], int]) -> Counter[str]:
        found, reader = Counter[str](), self._log.reader(begin)
        while records := reader.poll(5_000, _NOW):
            for each in records:
                if b'"SHED"' in each.value:
                    found["P1" if b"-P1-" in each.value else "P2"] += 1
        reader.close()
        return found

    def _forget_peaks(self) -> dict[str, float]:
        for pid in self._pids.values():
            forget_peak(pid)
        return {name: peak_rss_mb(pid) for name, pid in self._pids.items()}

    # normal again

    def normal(self, since: float) -> float:
        """Seconds until all is as it was; `since` is a time of the monotonic clock."""
        while True:
            posted = time.monotonic()
            if self._probe() and self._at_rest():
                return posted - since
            assert posted - since < _GIVE_UP_S, "it does not become normal"
            time.sleep(_LOOK_S)

    def _probe(self) -> bool:
        """Whether a mention of each class is accepted, and readable in time; waits for those that are accepted."""
        self._number += 1
        accepted = [user for klass in ("P1", "P2") if self._mention(user := f"probe{self._number}{klass}", klass)]
        begun = time.monotonic()
        for user in accepted:
            while not self._has_row(user):
                assert time.monotonic() - begun < _GIVE_UP_S, f"{user} waits for too long"
                time.sleep(0.05)
        return len(accepted) == 2 and time.monotonic() - begun < NORMAL_S

    def _mention(self, user: str, klass: str) -> bool:
        body = {"type": "mention", "actor": "ann", "target": user, "object": "o", "priority": klass}
        return self._call("POST", _PATH, KEYS["producer"], json.dumps(body))[0] == 202

    def _has_row(self, user: str) -> bool:
        token = jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, self._up["user_secret"], "HS256")
        status, body = self._call("GET", f"{_PATH}/inbox", token, None)
        return status == 200 and bool(json.loads(body)["items"])

    def _call(self, method: str, path: str, key: str, body: str | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._address("url"), timeout=60)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def _at_rest(self) -> bool:
        text = self._call("GET", "/metrics", KEYS["producer"], None)[1].decode()
        scores = [float(line.split()[-1]) for line in text.splitlines() if line.startswith("carillon_load_score{")]
        return self._levels.level(clock_ms()) == 0 and max(scores) < THRESHOLDS[0] - CLEARANCE


def port_of(url: str) -> int:
    """Of an address that `up` printed."""
    return int(url.rpartition(":")[2])


# what is posted


def _called(phase: str, number: int) -> str:
    return f"p0-{phase}-{number}"


def code(phase: str, number: int) -> Request:
    """A code for somebody of his own."""
    body = {"type": "otp", "target": _called(phase, number), "payload": {"code": "123456"}}
    return Request("P0", json.dumps(body).encode())


def batch(phase: str, number: int) -> Request:
    """Mentions of one class."""
    klass = "P2" if number % SHARE_P2 == 0 else "P1"
    events = ",".join(
        f'{{"event_id":"{phase}-{klass}-{each}","idempotency_key":"{phase}{each}","type":"mention","priority":"{klass}",'
        f'"actor":"a{each % 97}","target":"u{each * 7919 % USERS}","object":"o{each}",'
        '"payload":{"title":"you were mentioned"}}'
        for each in range(number * BATCH, (number + 1) * BATCH)
    )
    return Request(klass, f"[{events}]".encode(), BATCH)


if __name__ == "__main__":
    main(sys.argv[1:])
