"""`carillon up --demo`: a workload of the shape of a social network, through the real HTTP interface, until stopped.

Targets follow Zipf's law, everybody likes what the star posted at once, somebody posts to all followers, mails go to
segments, and one-time passwords are asked for in the middle of every burst. It calls with the development credentials,
as anybody could.
"""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import structlog

from connectors.gateway.auth import user_token
from connectors.sandbox.options import browser_address
from flows.config.access import senders_in_force, user_tokens
from flows.config.served import has_push
from flows.config.settings import Settings
from flows.demo.people import Person, follows, people, pick, star
from flows.process.open import clock_ms
from state.model.errors import CarillonError

_REQUEST_DEADLINE_S = 10
_BEAT = timedelta(milliseconds=250)
_BURST_EVERY_BEATS = 40
_BURST_LIKED = ("photo", "video", "recipe")
_BURST_MENTIONS = 250
_BATCH = 100
_INTRODUCED_AT_ONCE = 8
_TOKEN_LIFE = timedelta(hours=1)
_logger = structlog.get_logger(__name__)


class DemoError(CarillonError):
    """The system refused what the demo sent; the text says which call and the status."""


class Api:
    """Calls to one gateway with one key over one kept connection; for one thread."""

    def __init__(self, url: str, bearer: str) -> None:
        self._host, self._bearer = url.removeprefix("http://"), bearer
        self._connection = http.client.HTTPConnection(self._host, timeout=_REQUEST_DEADLINE_S)

    def call(self, method: str, path: str, body: Any, *, bearer: str | None = None) -> tuple[int, Any]:
        """One request; gives status and JSON. A connection that was closed meanwhile is opened again once.

        :raises OSError: the gateway cannot be reached.
        """
        headers = {"authorization": f"Bearer {bearer or self._bearer}", "content-type": "application/json"}
        for last in (False, True):
            try:
                self._connection.request(method, path, orjson.dumps(body), headers)
                answer = self._connection.getresponse()
                content = answer.read()
                return answer.status, orjson.loads(content) if content else None
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if last:
                    raise ConnectionError(f"{method} {path}: {type(error).__name__}") from error
        raise AssertionError("the second attempt returns or raises")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def must(self, method: str, path: str, body: Any, *, bearer: str | None = None) -> Any:
        """As `call`, for what has to succeed.

        :raises DemoError: another status than 2xx.
        """
        status, answer = self.call(method, path, body, bearer=bearer)
        if status // 100 != 2:
            detail = answer.get("title") if isinstance(answer, dict) else None
            raise DemoError(f"{method} {path} answered {status} {detail or ''}".rstrip())
        return answer


@dataclass(slots=True)
class Feeding:
    """What the feeder tells the live view. Written by the feeder's threads, read by the view."""

    phase: str = "setting up people, devices, preferences and follows"
    answers: Counter[str] = field(default_factory=Counter)
    """By HTTP status: 202 new, 200 a repeat, 429 over the limit ..."""
    bursts: int = 0


class Feeder:
    """Sends the workload from threads of its own until it is stopped."""

    def __init__(self, settings: Settings, url: str, p0_url: str) -> None:
        """Send to the gateways at these URLs."""
        senders = senders_in_force(settings)
        self._keys = {
            "ordinary": next(sender.key.reveal() for sender in senders.values() if sender.role == "producer"),
            "p0": next((sender.key.reveal() for sender in senders.values() if sender.role == "p0"), ""),
        }
        self._users = user_tokens(settings)
        window_s = settings.registry().profile("like").window_ms // 1000
        self._quiet = f"likes of one photo are joined for {window_s} s"
        self._url, self._p0_url = url, p0_url
        self._sandbox = None if has_push(settings) else settings.data_dir / "sandbox"
        """Who has the keys of browsers; None: no browser can be made up."""
        self._run = clock_ms() // 1000 % 10_000_000
        """Another one at every start: what was sent an hour ago would be a repeat (RULES 1)."""
        self._rng = random.Random(self._run)
        self._everybody = people()
        self._ending = threading.Event()
        self._burst = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(task,), name=f"demo-{task.__name__}", daemon=True)
            for task in (self._feed, self._log_in)
        ]
        self.state = Feeding()

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the request in flight."""
        self._ending.set()
        self._burst.set()
        for thread in self._threads:
            thread.join(_REQUEST_DEADLINE_S)

    def _guarded(self, task: Callable[[], None]) -> None:
        """A gateway that restarts is no reason to stop feeding."""
        while not self._ending.is_set():
            try:
                task()
            except (OSError, CarillonError) as error:
                self.state.answers[type(error).__name__] += 1
                _logger.warning("demo_call_failed", error=str(error))
                self._ending.wait(1)

    def _feed(self) -> None:
        api = Api(self._url, self._keys["ordinary"])
        self._set_up(api)
        for beat in self._beats():
            for event in self._events_of(beat):
                self._count(*api.call("POST", "/v1/notifications", event))
            if beat % _BURST_EVERY_BEATS == 4:
                self._send_burst(api)

    def _beats(self) -> Iterator[int]:
        beat = 0
        while not self._ending.wait(_BEAT.total_seconds()):
            yield beat
            beat += 1

    def _set_up(self, api: Api) -> None:
        with ThreadPoolExecutor(_INTRODUCED_AT_ONCE) as pool:
            for _ in pool.map(self._introduce, self._everybody):
                pass
        api.must("POST", "/v1/follows", follows(self._everybody, random.Random(0)))
        api.must("PUT", "/v1/segments/readers", [person.user for person in self._everybody[::2]])
        self.state.phase = self._quiet

    def _introduce(self, person: Person) -> None:
        if self._ending.is_set():
            return
        api = Api(self._url, self._keys["ordinary"])
        token = user_token(person.user, self._users, now_ms=clock_ms(), lifetime=_TOKEN_LIFE)
        api.must("PUT", "/v1/preferences", person.preferences(datetime.now(UTC)), bearer=token)
        api.must("PUT", f"/v1/users/{person.user}", {"locale": person.locale, "name": person.name})
        for channel, identity, document in person.endpoints():
            api.must("PUT", f"/v1/users/{person.user}/endpoints/{channel}/{identity}", document)
        if person.has_browser and self._sandbox is not None:
            document = {"platform": "web", "address": browser_address(self._sandbox, person.user)}
            api.must("PUT", f"/v1/users/{person.user}/endpoints/push/browser", document)
        api.close()

    def _events_of(self, beat: int) -> Iterator[dict[str, Any]]:
        rng = self._rng
        for _ in range(rng.randint(0, 2)):
            yield self._social()
        if beat % 24 == 4:
            author = self._everybody[rng.randint(0, 3)]
            yield self._event("new_post", author, fan_out_type="FOLLOWERS", object=self._thing("post", beat))
        if beat % 120 in (12, 20):
            payload = {"title": "New opening hours", "body": "We are open on Sundays too."}
            kind = "announcement" if beat % 120 == 12 else "newsletter"
            news = self._thing(kind, beat)
            yield {"type": kind, "fan_out_type": "SEGMENT", "segment": "readers", "object": news, "payload": payload}
        if beat % 30 == 10:
            person, payload = pick(self._everybody, rng), {"text": "Your train leaves in an hour"}
            yield {"type": "reminder", "target": person.user, "object": self._thing("date", beat), "payload": payload}

    def _thing(self, name: str, number: int) -> str:
        return f"{name}-{self._run}-{number}"

    def _event(self, kind: str, actor: Person, **rest: Any) -> dict[str, Any]:
        return {"type": kind, "actor": actor.user, "payload": {"actor_name": actor.name}, **rest}

    def _social(self) -> dict[str, Any]:
        rng = self._rng
        actor, target = rng.choice(self._everybody), pick(self._everybody, rng)
        kind = rng.choice(("like", "like", "like", "comment", "reply", "mention", "share", "follow"))
        event = self._event(kind, actor, target=target.user)
        if kind != "follow":
            event["object"] = self._thing(f"{target.user}-photo", rng.randint(1, 5))
        if kind == "like" and rng.random() < 0.1:
            event["retracts"] = True
        return event

    def _send_burst(self, api: Api) -> None:
        """Everybody likes what the star posted, and mentions somebody else; passwords are asked for meanwhile."""
        self.state.bursts += 1
        self.state.phase = f"burst {self.state.bursts}: everybody likes what {star().name} posted"
        self._burst.set()
        events = [*self._likes(), *(self._mention() for _ in range(_BURST_MENTIONS))]
        for start in range(0, len(events), _BATCH):
            status, items = api.call("POST", "/v1/notifications/batch", events[start : start + _BATCH])
            for item in items if status == http.HTTPStatus.OK and isinstance(items, list) else ():
                self._count(int(item.get("status", 0)), item)
        self.state.phase = self._quiet

    def _likes(self) -> Iterator[dict[str, Any]]:
        """The first like of each thing is heard of at once, the others as one: "Ada and 48 others"."""
        fans = [person for person in self._everybody[1:] if person is not star()]
        self._rng.shuffle(fans)
        for fan in (fans[0], self._everybody[0], *fans[1:]):
            for liked in _BURST_LIKED:
                event = self._event("like", fan, target=star().user, object=self._thing(liked, self.state.bursts))
                event["payload"]["object_label"] = liked
                yield event

    def _mention(self) -> dict[str, Any]:
        others = [person for person in self._everybody if person is not star()]
        actor, target = self._rng.choice(others), pick(others, self._rng)
        return self._event("mention", actor, target=target.user, object=self._thing("burst", self.state.bursts))

    def _log_in(self) -> None:
        """Somebody signs in now and then, and always while a burst is on its way."""
        if not self._keys["p0"]:
            self._ending.wait()
            return
        api = Api(self._p0_url, self._keys["p0"])
        rng = random.Random(self._run)
        while not self._ending.is_set():
            in_burst = self._burst.wait(3)
            self._burst.clear()
            for _ in range(5 if in_burst else 1):
                if self.state.phase.startswith("setting up"):
                    break
                self._count(*api.call("POST", "/v1/notifications", self._password(rng)))
                self._ending.wait(0.15)

    def _password(self, rng: random.Random) -> dict[str, Any]:
        person = rng.choice(self._everybody)
        kind = rng.choice(("otp", "otp", "otp", "password_reset"))
        return {"type": kind, "target": person.user, "payload": {"code": f"{rng.randrange(10**6):06}"}}

    def _count(self, status: int, _answer: Any) -> None:
        self.state.answers[str(status)] += 1
