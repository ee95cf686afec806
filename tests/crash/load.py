"""A seeded, varied workload through the real gateways, at a bounded rate, whatever the answers are (open loop).

What is sent, and in which order, follows from the seed alone; answers and kills change only how often a call is tried.
Half of the events are tried until there is an answer, as a producer would; the others once.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from crash.people import SEGMENTS, SOON, STARS, USERS, endpoints, preferences, settle_in
from crash.truth import TruthWriter

WORKERS = 8
_PATIENCE_S = 240.0
"""Longer than a busy machine needs to start everything after the supervisor was killed, with its back-off."""
_NO_ANSWER = (0, 429, 500, 503)
_SOCIAL = ("like", "like", "like", "like", "comment", "comment", "comment", "follow", "reply", "mention", "share")
_STOPPED = (("type", "share"), ("campaign", "newsletter1"), ("channel", "push"), ("channel", "in_app"), ("all", None))
"""Switches that are set for a while; where they stop P0 a second person confirms."""


class Caller(Protocol):
    """Makes one request; status 0 when no answer came."""

    def __call__(
        self, method: str, path: str, body: Any = None, *, role: str = "producer", user: str | None = None
    ) -> tuple[int, Any, dict[str, str]]: ...


@dataclass
class Job:
    """One call of the schedule."""

    method: str
    path: str
    body: Any = None
    role: str = "producer"
    user: str | None = None
    number: int | None = None
    """Of the event that it sends or cancels."""
    persists: bool = True


@dataclass
class Script:
    """The events, one after the other; remembers what it sent, to repeat, retract and cancel it."""

    choose: random.Random
    sent: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    kept: list[tuple[int, str]] = field(default_factory=list)
    lifts: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    number: int = 0

    def next(self, progress: float) -> Job:
        """The next call; `progress` in calls so far over calls per second."""
        if self.lifts and self.lifts[0][0] <= progress:
            return self._switch(self.lifts.pop(0)[1])
        kinds: dict[Callable[[], Job], float] = {
            self._social_event: 56, self._fan_out: 4, self._kept_event: 6, self._p0_event: 12, self._retraction: 7,
            self._again: 7, self._other_body: 1, self._cancel: 2, self._preference: 4, self._endpoint: 2,
            self._read: 5, self._follow: 2, self._segment: 0.5,
        }  # fmt: skip
        if self.choose.random() < 0.006:
            return self._kill(progress)
        return self.choose.choices(list(kinds), list(kinds.values()))[0]()

    def rest(self) -> Iterator[Job]:
        """What must still come when the time is over: switches are lifted, also one whose gateway died and that was set
        behind its lift.
        """
        yield from (self._switch({"scope": scope, "value": value, "on": False}) for scope, value in _STOPPED)

    # Events --------------------------------------------------------------------

    def _event(self, body: dict[str, Any], *, p0: bool = False) -> Job:
        self.number += 1
        event = {name: value for name, value in body.items() if value is not None}
        event["payload"] = {**event.get("payload", {}), "n": self.number}
        if not p0 and self.choose.random() < 0.05:
            event["ttl_ms"] = self.choose.choice((300, 1500, 3000))
        self._name(event, p0=p0)
        self.sent.append((self.number, event))
        return self._post(self.number, event, p0=p0)

    def _name(self, event: dict[str, Any], *, p0: bool) -> None:
        """By what a repeat is recognised: an event_id, a key, both, or its content.

        Content is compared with the latest keyless event of its kind only. So such an event is the only keyless one of
        its kind: it has an object of its own, and its retraction a key.
        """
        way = 0.6 if str(event.get("object")).startswith("own") else self.choose.random()
        if way < 0.55 or p0 or "deliver_at" in event:
            event["event_id"] = f"e{self.number}"
        if 0.45 < way < 0.8:
            event["idempotency_key"] = f"key{self.number}"
        if "event_id" not in event and "idempotency_key" not in event:
            event["object"] = f"own{self.number}"

    def _post(self, number: int, event: dict[str, Any], *, p0: bool) -> Job:
        persists = self.choose.random() < 0.6 and "deliver_at" not in event
        role = "p0_producer" if p0 else "producer"
        return Job("POST", "/v1/notifications", event, role=role, number=number, persists=persists)

    def _pick(self) -> str:
        """Some people are spoken to more than others."""
        return USERS[min(int(self.choose.paretovariate(0.7)) - 1, len(USERS) - 1)]

    def _social_event(self) -> Job:
        kind = self.choose.choice(_SOCIAL)
        thing = None if kind == "follow" else f"photo{self.choose.randrange(4)}"
        actor = self.choose.choice(USERS)
        return self._event({"type": kind, "actor": actor, "target": self._pick(), "object": thing})

    def _fan_out(self) -> Job:
        kind = self.choose.choice(("new_post", "new_post", "announcement", "newsletter", "newsletter"))
        thing = f"{kind}{self.choose.randrange(6)}"
        if kind == "new_post":
            star = self.choose.choice(STARS)
            return self._event({"type": kind, "fan_out_type": "FOLLOWERS", "actor": star, "object": thing})
        payload = {"critical": self.choose.random() < 0.5}
        if kind == "announcement" and self.choose.random() < 0.3:
            return self._event({"type": kind, "fan_out_type": "BROADCAST", "object": thing, "payload": payload})
        segment = self.choose.choice(SEGMENTS)
        body = {"type": kind, "fan_out_type": "SEGMENT", "segment": segment, "object": thing, "payload": payload}
        return self._event(body)

    def _kept_event(self) -> Job:
        person = self.choose.choice(USERS)
        at = time.time_ns() // 1_000_000 + self.choose.randrange(200, 6000)
        job = self._event({"type": "reminder", "actor": person, "target": person, "object": "date", "deliver_at": at})
        self.kept.append((self.number, f"e{self.number}"))
        return job

    def _p0_event(self) -> Job:
        kind = self.choose.choice(("otp", "otp", "password_reset", "security_alert"))
        person = self.choose.choice(USERS)
        to = {"sms": f"+1555{3_000_000 + self.number}"} if self.choose.random() < 0.2 else None
        return self._event(
            {"type": kind, "target": person, "to": to, "payload": {"code": f"{self.number:06}"}}, p0=True
        )

    def _retraction(self) -> Job:
        """Of something sent lately; half of them name the event."""
        recent = [(n, event) for n, event in self.sent[-60:] if event["type"] in (*_SOCIAL, "reminder")]
        if not recent:
            return self._social_event()
        _, event = self.choose.choice(recent)
        like = {name: event.get(name) for name in ("type", "actor", "target", "object")}
        parent = event.get("event_id") if self.choose.random() < 0.5 else None
        return self._event({**like, "retracts": True, "parent_event_id": parent})

    def _again(self) -> Job:
        """The very same document once more: a producer that did not hear the answer.

        Nothing that was kept: cancelled, it would be a new event.
        """
        recent = [(number, event) for number, event in self.sent[-40:] if "deliver_at" not in event]
        if not recent:
            return self._social_event()
        number, event = self.choose.choice(recent)
        return self._post(number, event, p0=event["type"] in ("otp", "password_reset", "security_alert"))

    def _other_body(self) -> Job:
        """The key of another event: 409, unless that one was never accepted."""
        keyed = [event for _, event in self.sent[-40:] if "idempotency_key" in event and "deliver_at" not in event]
        job = self._social_event()
        if keyed:
            job.body["idempotency_key"] = self.choose.choice(keyed)["idempotency_key"]
        return job

    # Everything else -----------------------------------------------------------

    def _cancel(self) -> Job:
        if not self.kept:
            return self._kept_event()
        number, event_id = self.kept.pop()
        return Job("DELETE", f"/v1/notifications/{event_id}", number=number, persists=False)

    def _preference(self) -> Job:
        person = self._pick()
        if self.choose.random() < 0.4:
            patch = {"types": {"share": {"enabled": self.choose.random() < 0.5}}}
            return Job("PATCH", "/v1/preferences", patch, user=person)
        document = preferences(person, self.choose, datetime.now(UTC), SOON)
        return Job("PUT", "/v1/preferences", document, user=person)

    def _endpoint(self) -> Job:
        number = self.choose.randrange(len(USERS))
        calls = list(endpoints(number, self.choose))
        if not calls or self.choose.random() < 0.3:
            return Job("DELETE", f"/v1/users/{USERS[number]}/endpoints/push/phone0")
        method, path, body = self.choose.choice(calls)
        return Job(method, path, body)

    def _read(self) -> Job:
        body = {"up_to": time.time_ns() // 1_000_000 - 2000} if self.choose.random() < 0.3 else {}
        return Job("POST", "/v1/notifications/inbox/read", body, user=self.choose.choice(USERS))

    def _follow(self) -> Job:
        star, fan = self.choose.choice(STARS), self.choose.choice(USERS)
        return Job("POST", "/v1/follows", [{"followee": star, "follower": fan, "on": self.choose.random() < 0.5}])

    def _segment(self) -> Job:
        return Job("PUT", f"/v1/segments/{self.choose.choice(SEGMENTS)}", self.choose.sample(USERS, 25))

    def _kill(self, progress: float) -> Job:
        scope, value = self.choose.choice(_STOPPED)
        self.lifts.append((progress + 1.5, {"scope": scope, "value": value, "on": False}))
        return self._switch({"scope": scope, "value": value, "on": True})

    def _switch(self, body: dict[str, Any]) -> Job:
        return Job("POST", "/v1/ops/kill", body, role="ops")


class Schedule(Protocol):
    """What is called, one after the other; `Script` is one."""

    def next(self, progress: float) -> Job: ...

    def rest(self) -> Iterable[Job]: ...


class Load:
    """Runs a script on some threads. `settle_in`, `start`, `finish`."""

    def __init__(
        self, seed: int, call: Caller, truth: TruthWriter, *, rate_per_s: float, script: Schedule | None = None
    ) -> None:
        self._choose = random.Random(f"load {seed}")
        self._script = script
        self._call, self._truth, self._rate = call, truth, rate_per_s
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=400)
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._announced: set[int] = set()
        self.problems: list[str] = []

    def settle_in(self) -> None:
        """Everybody's settings, acknowledged."""
        self.do(Job(*call, user=user) for user, call in settle_in(self._choose))

    def do(self, jobs: Iterable[Job]) -> None:
        """These calls, as fast as they are answered; returns when all were."""
        self._begin()
        for job in jobs:
            self._hand_over(job)
        self._end()

    def start(self) -> None:
        """Begin to send."""
        self._begin()
        feeder = threading.Thread(target=self._feed, daemon=True)
        self._threads.append(feeder)
        feeder.start()

    def finish(self) -> None:
        """End the schedule and wait for the answers under way."""
        self._ending.set()
        self._threads.pop().join(_PATIENCE_S + 30)
        self._end()

    def _begin(self) -> None:
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
        for thread in self._threads:
            thread.start()

    def _end(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE_S + 30)
            assert not thread.is_alive(), "a call of the load does not end"
        assert not self.problems, self.problems[:5]

    def _feed(self) -> None:
        script, began, count = self._script or Script(self._choose), time.monotonic(), 0
        while not self._ending.wait(max(0.0, began + count / self._rate - time.monotonic())):
            self._hand_over(script.next(count / self._rate))
            count += 1
        for job in script.rest():
            self._hand_over(job)

    def _hand_over(self, job: Job) -> None:
        """Events are written down here, by one thread and before they are sent."""
        if job.number is not None and job.method == "POST" and job.number not in self._announced:
            self._announced.add(job.number)
            self._truth.write("event", n=job.number, body=job.body, p0=job.role == "p0_producer")
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._do(job)
            except Exception as error:  # noqa: BLE001 - nothing that goes wrong in a thread may go unheard
                self.problems.append(f"{job}: {error!r}")

    def _do(self, job: Job) -> None:
        end = time.monotonic() + _PATIENCE_S
        while True:
            status, answer, headers = self._call(job.method, job.path, job.body, role=job.role, user=job.user)
            self._note(job, status, answer, headers)
            if status not in _NO_ANSWER or not job.persists:
                break
            assert time.monotonic() < end, f"no answer to {job.method} {job.path} for {_PATIENCE_S} s"
            time.sleep(0.15)
        assert status in (200, 202, 204, 404, 409, *_NO_ANSWER), (status, answer, job)
        if status == 202 and job.path == "/v1/ops/kill":
            self._do(Job("POST", f"/v1/approvals/{answer['id']}", {"decision": "confirm"}, role="admin"))

    def _note(self, job: Job, status: int, answer: Any, headers: dict[str, str]) -> None:
        if job.number is not None and job.method == "POST":
            event_id = answer.get("event_id") if isinstance(answer, dict) else None
            self._truth.write("answer", n=job.number, status=status, event_id=event_id)
        elif job.number is not None:
            self._truth.write("cancel", n=job.number, status=status)
        elif job.path == "/v1/preferences" and status == 200:
            place = int(headers["etag"].strip('"')) - 1
            self._truth.write("preference", user=job.user, place=place)
        elif "/endpoints/" in job.path and job.method == "PUT" and status == 200:
            user, _, channel, name = job.path.split("/")[3:]
            self._truth.write("endpoint", user=user, channel=channel, id=name, place=answer["registered_at"])
