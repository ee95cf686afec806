"""Whether memory is flat over a day of traffic: `python -m bench.day [--minutes N] [--per-s N]`.

The whole system (`carillon up`, embedded), whose clock is so fast that `HOURS` hours pass in so many minutes
(`bench/fast_clock`). All that time the same comes in: mentions, likes that wait for each other, comments with digests,
P2, codes, posts to `FOLLOWERS` followers, phones that register again, and new preferences. Some of the users have
phones, some quiet hours, some both. Resident memory of each process is looked at all the time; the median of an hour
counts. The last quarter of the day is held against the second one, when everything is loaded. `lag_max` is 0: a backlog
of half a second would be one of minutes here.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.figures import ROOT, record
from bench.flood import append, phone
from bench.open_loop import Offering, Pace, Request
from bench.overload import BATCH_PATH, KEYS, NICE, SENDERS, port_of
from bench.processes import ignore_output, resident_bytes, system_up
from connectors.log.embedded.log import EmbeddedLog
from flows.up.ports import any_port

TABLE = "day"
HOURS, MINUTES, PER_S = 24, 12.0, 1_000
BATCH, POSTS_EVERY, CODES_EVERY = 20, 100, 10
"""Each so manyth batch is one post, and each so manyth batch is followed by a code."""
USERS, FOLLOWERS = 20_000, 2_000
SETTINGS_PER_S = 10
_KINDS = ("mention", "mention", "mention", "mention", "comment", "comment", "like", "like", "follow", "mention")
_LOOK_S = 1.0
_SIMULATORS = "sandbox"


def main(arguments: Sequence[str]) -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of real time")
    parser.add_argument("--per-s", type=int, default=PER_S, help="events in a second of real time")
    parser.add_argument("--data", type=Path, help="a directory that stays")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        directory = given.data or Path(name)
        config = Path(name) / "carillon.toml"
        config.write_text(SENDERS + '[limits]\nlag_max = "0s"\n', encoding="utf-8")
        clock = Clock(time.time(), HOURS * 60 / given.minutes)
        environment = {
            "CARILLON_CONFIG": str(config), "BENCH_CLOCK": f"{clock.begin_s}:{clock.speed}",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "bench" / "fast_clock"), os.environ.get("PYTHONPATH", "")]),
        }  # fmt: skip
        environment |= {f"CARILLON_GATEWAY__{name}": str(any_port("127.0.0.1")) for name in ("PORT", "P0_PORT")}
        with system_up(directory / "site", environment) as (process, up):
            ignore_output(process)
            log = EmbeddedLog(directory / "site", clock=clock.now_ms)
            people(log, clock)
            hours = live(up, log, clock, given.minutes * 60, given.per_s)
            assert process.poll() is None, "the system ended"
            log.close()
    tell(hours, given.minutes * 60, given.per_s)


class Clock:
    """That of the system."""

    def __init__(self, begin_s: float, speed: float) -> None:
        self.begin_s, self.speed = begin_s, speed

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int((self.begin_s + (time.time() - self.begin_s) * self.speed) * 1000)


Hours = dict[str, list[float]]
"""Of each process, resident megabytes by hour."""


def live(up: dict[str, Any], log: EmbeddedLog, clock: Clock, seconds: float, per_s: int) -> Hours:
    """A day."""
    port, p0_port = port_of(up["url"]), port_of(up["p0_url"])
    events = Pace(port, KEYS["producer"], BATCH_PATH, partial(mixture, "day"), per_s / BATCH, seconds, NICE)
    codes = Pace(p0_port, KEYS["p0"], "/v1/notifications", code, per_s / BATCH / CODES_EVERY, seconds, NICE)
    seen: dict[str, list[list[float]]] = defaultdict(list)
    begun = time.monotonic()
    with Offering(events) as offered, Offering(codes) as called:
        while (passed := time.monotonic() - begun) < seconds:
            hour = int(passed / seconds * HOURS)
            for process in up["processes"]:
                by_hour = seen[process["name"]]
                by_hour += [[] for _ in range(hour + 1 - len(by_hour))]
                by_hour[hour].append(resident_bytes(process["pid"]) / (1 << 20))
            if passed % 30 < _LOOK_S:
                print(hour, {name: round(hours[-1][-1]) for name, hours in seen.items()}, file=sys.stderr)
            settings(log, clock, int(passed))
            time.sleep(_LOOK_S)
        for each in (offered, called):
            answers = each.answers().events
            print(f"{'':12} answers {dict(answers)}", flush=True)
            assert sum(count for (_, answer), count in answers.items() if answer == "202") > 0.9 * answers.total()
    return {name: [statistics.median(hour) for hour in hours if hour] for name, hours in seen.items()}


def tell(hours: Hours, seconds: float, per_s: int) -> None:
    """Record how the last quarter compares with the second."""
    work = f"{HOURS} h in {seconds / 60:g} min, {per_s} events/s of real time"
    late: dict[str, float] = {}
    early: dict[str, float] = {}
    for name, found in hours.items():
        quarter = len(found) // 4
        if name != _SIMULATORS:
            early[name] = statistics.median(found[quarter : 2 * quarter])
            late[name] = statistics.median(found[-quarter:])
            record(TABLE, f"day_{name}_growth_mb", late[name] - early[name], "MB", work=work, n=round(seconds * per_s),
                   seconds=seconds, peak_rss_mb=max(found), by_hour=[round(each, 1) for each in found])  # fmt: skip
    total, before = sum(late.values()), sum(early.values())
    for figure, value, unit in (
        ("day_memory_growth_mb", total - before, "MB"), ("day_memory_growth_share", total / before - 1, "of all"),
        ("day_rss_mb", total, "MB"),
    ):  # fmt: skip
        record(TABLE, figure, value, unit, work=work, n=round(seconds * per_s), seconds=seconds, peak_rss_mb=total,
               against=f"hours {HOURS // 4} to {HOURS // 2}: {before:.0f} MB in all processes")  # fmt: skip


# what happens


def mixture(phase: str, number: int) -> Request:
    """A batch of events for one person each, or a post."""
    if number % POSTS_EVERY == 0:
        post = {"type": "new_post", "fan_out_type": "FOLLOWERS", "actor": "star", "object": f"{phase}{number}"}
        return Request("post", json.dumps([post]).encode(), 2)
    events = [_event(phase, each) for each in range(number * BATCH, (number + 1) * BATCH)]
    return Request("direct", json.dumps(events).encode(), BATCH)


def _event(phase: str, number: int) -> dict[str, Any]:
    """Of ten: four mentions, two comments, two likes of things that many like, a follow, a mention of class P2."""
    kind = _KINDS[number % len(_KINDS)]
    event: dict[str, Any] = {
        "event_id": f"{phase}{number}", "type": kind, "actor": f"actor{number * 31 % 9973}",
        "target": f"user{number * 7919 % USERS}", "object": f"object{number}",
    }  # fmt: skip
    if kind == "like":
        event |= {"target": f"user{number // 50 % 500}", "object": f"object{number // 50 % 500}"}
    elif kind == "follow":
        event["object"] = None
    return event | ({"priority": "P2"} if number % 10 == 9 else {})


def code(number: int) -> Request:
    """For one of those with a phone."""
    body = {"type": "otp", "target": f"user{number * 4 % USERS}", "payload": {"code": f"{number % 10**6:06}"}}
    return Request("code", json.dumps(body).encode())


def people(log: EmbeddedLog, clock: Clock) -> None:
    """Of ten users four have a phone, two mail; two have quiet hours of eight hours, one caps."""
    phones = (user for number, user in _users() if number % 4 == 0 or number % 10 < 2)
    append(log, "endpoints", ((f"{user}\0push\0d", user, _phone(user, clock)) for user in phones))
    mails = (user for number, user in _users() if number % 10 in (3, 4))
    append(log, "endpoints", ((f"{user}\0email\0m", user, _mail(user, clock)) for user in mails))
    choosy = ((user, {"user": user, "doc": _document(n, clock)}) for n, user in _users() if n % 10 < 3)
    append(log, "preferences", ((user, user, value) for user, value in choosy))
    follows = ((user, {"followee": "star", "follower": user, "on": True}) for n, user in _users() if n < FOLLOWERS)
    append(log, "follows", ((f"star\0{user}", "star", value) for user, value in follows))


def _users() -> list[tuple[int, str]]:
    return [(number, f"user{number}") for number in range(USERS)]


def _phone(user: str, clock: Clock) -> dict[str, Any]:
    return phone(user) | {"registered_at": clock.now_ms()}


def _mail(user: str, clock: Clock) -> dict[str, Any]:
    return {
        "user": user, "channel": "email", "id": "m", "address": f"{user}@example.com", "state": "active",
        "registered_at": clock.now_ms(),
    }  # fmt: skip


def _document(number: int, clock: Clock) -> dict[str, Any]:
    if number % 10 == 2:
        return {"frequency_cap": {"max_per_hour": 3, "max_per_day": 20}}
    start = (clock.now_ms() // 3_600_000 + number) % 24
    hours = {"start": f"{start:02}:00", "end": f"{(start + 8) % 24:02}:00", "timezone": "UTC"}
    return {"quiet_hours": {"enabled": True, **hours}}


def settings(log: EmbeddedLog, clock: Clock, second: int) -> None:
    """Phones that register again, and preferences that change."""
    numbers = [(second * SETTINGS_PER_S + each) * 10 % USERS for each in range(SETTINGS_PER_S)]
    users = [(number, f"user{number}") for number in numbers]
    append(log, "endpoints", ((f"{user}\0push\0d", user, _phone(user, clock)) for _, user in users))
    append(log, "preferences", ((user, user, {"user": user, "doc": _document(n, clock)}) for n, user in users))


if __name__ == "__main__":
    main(sys.argv[1:])
