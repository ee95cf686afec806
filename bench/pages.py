"""How long the console's pages take with a million records on the ledger: `python -m bench.pages [--data DIR]`.

The directory is that of `bench/pages_site.py`; `--data` keeps it, or uses one that was kept. The real gateway answers,
by HTTP on loopback, one page after the other, as a rule in other words each time. The first page that reads the ledger
may have to wait for libraries, and is measured apart. `cpu` is what a page takes of the gateway's processor time: on a
shared machine the clock tells of others too.
"""

import argparse
import http.client
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

from bench.figures import record
from bench.pages_site import FOLLOWERS, HEAVY, LIGHT, build
from bench.processes import cpu_seconds, peak_rss_mb, started
from flows.config.credentials import development_credentials
from flows.config.settings import GatewayTable
from flows.up.ports import ReservedPorts

TABLE = "pages"
ROUNDS = 30
_START_S = 60
_CHOOSE = random.Random(11)


class _Person:
    """Signed in as admin, who sees every page."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        status, _, headers = self._call("POST", "/console/sign-in", urlencode({"key": key}))
        assert status == 303, status
        self._cookie = (headers["set-cookie"] or "").partition(";")[0]

    def seconds(self, path: str) -> tuple[float, str]:
        """Until the whole page is there, and its text."""
        began = time.perf_counter()
        status, text, _ = self._call("GET", path)
        took = time.perf_counter() - began
        assert status == 200, (path, status, re.sub("<[^>]*>", " ", text)[-300:])
        return took, text

    _cookie = ""

    def _call(self, method: str, path: str, body: str | None = None) -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        headers = {"cookie": self._cookie, "content-type": "application/x-www-form-urlencoded"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, answer.headers


def _follower() -> str:
    return f"user{_CHOOSE.randrange(FOLLOWERS):06}"


def _searched(**given: str) -> str:
    return "/console/events?" + urlencode(given)


def _of(user: str) -> str:
    return "/console/people?" + urlencode({"user": user, "reason": f"ticket {_CHOOSE.random()}"})


def _why(person: _Person, user: str) -> Callable[[], str]:
    """The explanations that a user's page leads to."""
    _, text = person.seconds(_of(user))
    events = re.findall(r"/console/explain\?user=\w+&amp;event=(\w+)", text)
    return lambda: (
        "/console/explain?"
        + urlencode({"user": user, "event": _CHOOSE.choice(events), "reason": f"ticket {_CHOOSE.random()}"})
    )


def pages(person: _Person) -> dict[str, Callable[[], str]]:
    """By name, what makes the address of a page."""
    number = _CHOOSE.randrange
    return {
        "now": lambda: "/console",
        "event_direct": lambda: _searched(event=f"ev{number(1_000, 200_000):08}"),
        "event_fanout": lambda: _searched(event=_CHOOSE.choice(posts(person))),
        "event_unknown": lambda: _searched(event=f"none{number(10**9)}"),
        "search_sender": lambda: _searched(sender=_CHOOSE.choice(("app", "shop", "blog"))),
        "search_type": lambda: _searched(type=_CHOOSE.choice(("mention", "reply", "share"))),
        "search_object": lambda: _searched(object=f"thread{number(5_000)}"),
        "search_object_unknown": lambda: _searched(object=f"none{number(10**9)}"),
        "search_outcome": lambda: _searched(outcome=_CHOOSE.choice(("SUPPRESSED", "EMITTED", "DEAD_LETTER"))),
        "search_outcome_superseded": lambda: _searched(outcome="HELD"),
        "search_reason_unknown": lambda: _searched(reason=f"none{number(10**9)}"),
        "search_reason": lambda: _searched(reason=_CHOOSE.choice(("cap_day", "type_off", "rejected"))),
        "user_light": lambda: _of(LIGHT),
        "user_follower": lambda: _of(_follower()),
        "user_heavy": lambda: _of(HEAVY),
        "user_unknown": lambda: _of(f"none{number(10**9)}"),
        "why_light": _why(person, LIGHT),
        "why_follower": _why(person, "user000001"),
        "why_heavy": _why(person, HEAVY),
        "senders": lambda: "/console/senders",
        "types": lambda: "/console/types",
        "type": lambda: "/console/types?name=" + _CHOOSE.choice(("mention", "reply", "share")),
        "templates": lambda: "/console/templates",
        "texts": lambda: "/console/templates?locale=pt&type=" + _CHOOSE.choice(("mention", "reply", "share")),
        "campaigns": lambda: "/console/campaigns",
        "letters": lambda: "/console/letters",
        "switches": lambda: "/console/switches",
        "approvals": lambda: "/console/approvals",
        "audit": lambda: "/console/audit",
        "audit_hits": lambda: "/console/audit?" + urlencode({"by": f"person{number(40)}"}),
        "audit_user": lambda: "/console/audit?" + urlencode({"user": _follower()}),
        "audit_no_hits": lambda: "/console/audit?" + urlencode({"by": f"nobody{number(10**9)}"}),
    }


def posts(person: _Person) -> list[str]:
    """The events of fan-outs, as a search finds the newest of them; a busy machine needs several pages."""
    path, found = _searched(type="new_post"), list[str]()
    while not found:
        _, text = person.seconds(path)
        found = sorted(set(re.findall(r"event=(post\w+)", text)))
        onward = re.search(r'href="([^"]*cursor=[^"]*)"', text)
        assert found or onward, "the directory has posts"
        path = unescape(onward[1]) if onward else path
    return found


@contextmanager
def gateway(directory: Path) -> Iterator[tuple[_Person, int]]:
    """The real process, and a person who is signed in."""
    ports = ReservedPorts(GatewayTable())
    environment = {"CARILLON_DATA_DIR": str(directory), "CARILLON_GATEWAY__PORT": str(ports.ordinary)}
    key = development_credentials(directory).keys["admin"]
    with started([sys.executable, "-m", "flows.gateway", "ordinary"], environment=environment) as process:
        yield _signed_in(ports.ordinary, key), process.pid
    ports.close()


def _signed_in(port: int, key: str) -> _Person:
    give_up = time.monotonic() + _START_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return _Person(port, key)
        except ConnectionRefusedError:
            pass
        finally:
            connection.close()
        assert time.monotonic() < give_up, "the gateway does not start"
        time.sleep(0.1)


def measure(directory: Path, rows: int, rounds: int, only: str) -> None:
    """Every page so many times."""
    for name, pause_s, work in (
        ("first", 0.0, "at once after a start"),
        ("first_later", 1.0, "a second after a start"),
    ):
        with gateway(directory) as (person, _):
            time.sleep(pause_s)
            first, _ = person.seconds(_of(LIGHT))
            record(TABLE, f"{name}_ms", first * 1e3, "ms", work=f"the first page that reads the ledger, {work}", n=1)
    with gateway(directory) as (person, pid):
        for name, address in pages(person).items():
            if not re.search(only, name):
                continue
            used = cpu_seconds(pid)
            took = sorted(person.seconds(address())[0] for _ in range(rounds))
            used = cpu_seconds(pid) - used
            for figure, value in (
                ("p50", statistics.median(took)), ("p99", took[-1 - rounds // 100]), ("cpu", used / rounds)
            ):  # fmt: skip
                record(
                    TABLE, f"{name}_{figure}_ms", value * 1e3, "ms", work=f"{rows} records on the ledger", n=rounds,
                    peak_rss_mb=peak_rss_mb(pid),
                )  # fmt: skip


def main(data: Path | None, rounds: int, only: str) -> None:
    """Build, unless it is there, and measure."""
    directory = data or Path(tempfile.mkdtemp())
    count = directory / "rows"
    try:
        if not count.exists():
            count.write_text(str(build(directory)), encoding="ascii")
        measure(directory, int(count.read_text(encoding="ascii")), rounds, only)
    finally:
        if data is None:
            shutil.rmtree(directory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    os.environ.pop("CARILLON_DATA_DIR", None)
    main(given.data, given.rounds, given.only)
