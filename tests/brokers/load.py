"""A steady load through both gateways, open loop and seeded, and what became of each post: the ground truth.

Every event is posted until it is accepted, with the same event_id, as a producer does. The moments at which events are
due are fixed beforehand, so that a stall delays answers and never the load.
"""

import http.client
import json
import queue
import random
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from helpers.up import Up

P1_USERS = 24
P0_USERS = 6
CLIENT_TIMEOUT_S = 15.0
PAUSE_S = 0.3
"""Between two posts of the same event."""
OPEN = {"quiet_hours": {"enabled": False}, "frequency_cap": {"max_per_hour": 100_000, "max_per_day": 100_000}}


@dataclass(frozen=True, slots=True)
class Answer:
    """One post: 0 stands for no answer."""

    status: int
    began_s: float
    took_s: float


@dataclass(slots=True)
class Posted:
    """One event: to whom, and every answer until it was accepted. Times by `time.time`."""

    event: dict[str, Any]
    p0: bool
    user: str
    due_s: float
    answers: list[Answer] = field(default_factory=list)
    accepted_s: float | None = None


def device_of(user: str) -> str:
    """The token of a user's one device; the provider's journal names it."""
    return user.encode().hex().rjust(64, "0")


class Load:
    """P1 and P0 events at fixed rates until `stop`."""

    def __init__(self, up: Up, *, seed: int, p1_per_s: float = 30.0, p0_per_s: float = 5.0) -> None:
        self._up, self._random = up, random.Random(seed)
        self.posted: list[Posted] = []
        self._ending = threading.Event()
        self._lanes = [_Lane(up, p0=False, workers=48), _Lane(up, p0=True, workers=16)]
        self._rates = (p1_per_s, p0_per_s)
        self._threads = [
            threading.Thread(target=self._feed, args=(lane, rate), daemon=True)
            for lane, rate in zip(self._lanes, self._rates, strict=True)
        ]

    def settle_in(self) -> None:
        """Everybody's settings and device, by the calls of people and of the host application."""
        for user in [f"reader{n}" for n in range(P1_USERS)] + [f"holder{n}" for n in range(P0_USERS)]:
            token = self._up.session(user)
            _ok(self._up.call("PUT", "/v1/preferences", OPEN, bearer=token))
            device = {"platform": "ios", "address": device_of(user)}
            _ok(self._up.call("PUT", f"/v1/users/{user}/endpoints/push/phone", device))

    def start(self) -> None:
        """Begin to post."""
        for thread in self._threads:
            thread.start()

    def stop(self, within_s: float) -> None:
        """Post nothing new, and wait until all that was posted is accepted."""
        self._ending.set()
        for thread in self._threads:
            thread.join(10)
        end = time.monotonic() + within_s
        while waiting := [each for each in self.posted if each.accepted_s is None]:
            assert time.monotonic() < end, f"{len(waiting)} events are accepted nowhere: {waiting[0]}"
            time.sleep(0.1)
        for lane in self._lanes:
            lane.close()

    def _feed(self, lane: "_Lane", per_s: float) -> None:
        begin, number = time.time(), 0
        while not self._ending.is_set():
            due = begin + number / per_s
            if self._ending.wait(max(0.0, due - time.time())):
                return
            posted = self._event(lane, number, due)
            self.posted.append(posted)
            lane.put(posted)
            number += 1

    def _event(self, lane: "_Lane", number: int, due: float) -> Posted:
        if lane.p0:
            user = f"holder{self._random.randrange(P0_USERS)}"
            event = {"event_id": f"code-{number}", "type": "password_reset", "payload": {"code": str(number)}}
        else:
            user = f"reader{self._random.randrange(P1_USERS)}"
            event = {"event_id": f"mention-{number}", "type": "mention", "actor": "friend", "object": f"thread{number}"}
        return Posted(event | {"target": user}, lane.p0, user, due)


class _Lane:
    """The connections to one gateway."""

    def __init__(self, up: Up, *, p0: bool, workers: int) -> None:
        self.p0 = p0
        self._host = up.first["p0_url" if p0 else "url"].removeprefix("http://")
        self._key = up.first["keys"]["p0_producer" if p0 else "producer"]
        self._waiting: queue.Queue[Posted | None] = queue.Queue()
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    def put(self, posted: Posted) -> None:
        self._waiting.put(posted)

    def close(self) -> None:
        for _ in self._workers:
            self._waiting.put(None)
        for worker in self._workers:
            worker.join(60)

    def _work(self) -> None:
        with closing(http.client.HTTPConnection(self._host, timeout=CLIENT_TIMEOUT_S)) as connection:
            while (posted := self._waiting.get()) is not None:
                while posted.accepted_s is None:
                    self._post(connection, posted)

    def _post(self, connection: http.client.HTTPConnection, posted: Posted) -> None:
        began, clock = time.time(), time.monotonic()
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        try:
            connection.request("POST", "/v1/notifications", json.dumps(posted.event), headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        posted.answers.append(Answer(status, began, time.monotonic() - clock))
        if status in (200, 202):
            posted.accepted_s = time.time()
        else:
            assert status in (0, 429, 503), status
            time.sleep(PAUSE_S)


def _ok(answered: tuple[int, Any]) -> None:
    assert answered[0] == 200, answered
