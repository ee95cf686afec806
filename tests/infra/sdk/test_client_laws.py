"""What every client holds: for Python, waiting and awaited, and for JavaScript, in Node; against a real gateway."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import pytest
from carillon_client import BODY_BYTES_MAX, AsyncClient, CarillonError, Client, keyed
from carillon_client.types import NewEvent
from helpers.callers import ANNE, ROWS
from helpers.front import BUSY_S, Front
from helpers.gateway import Gateway, token

from infra.sdk.generate import document, operations
from infra.services import free_port, require

DRIVER = Path(__file__).with_name("driver.mjs")
Make = Callable[..., Any]
SMALLEST: dict[str, list[Any]] = {"send_batch": [{}], "put_follows": [{}], "put_segment": ["ada"]}
"""Bodies of calls that take more than one thing."""


class Awaited:
    """An `AsyncClient` that is called as a `Client` is, in a loop of its own."""

    def __init__(self, runner: asyncio.Runner, *arguments: Any, **options: Any) -> None:
        self._runner, self._client = runner, AsyncClient(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: self._runner.run(getattr(self._client, name)(*given, **named))

    def close(self) -> None:
        self._runner.run(self._client.__aexit__())


class Node:
    """A client of JavaScript, in a process of its own, that is called as one of Python is."""

    def __init__(self, url: str, key: str, *, budget_s: float = 30) -> None:
        command = [require("node"), str(DRIVER), url, key, json.dumps({"budgetMs": budget_s * 1000})]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __getattr__(self, name: str) -> Any:
        call = re.sub("_(.)", lambda letter: letter[1].upper(), name)
        return lambda *given, **query: self._call(call, [*given, *([query] if query else [])])

    def _call(self, call: str, given: list[Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"call": call, "given": given}, default=list), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "problem" not in answer:
            return answer["value"]
        error = CarillonError(answer["problem"])
        assert str(error) == answer["message"]
        raise error

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
        assert self._process.returncode == 0


@pytest.fixture(params=["waiting", "awaited", "node"])
def make(request: pytest.FixtureRequest, before: Front) -> Iterator[Make]:
    """Makes a client of the front, or of another url."""
    made: list[Any] = []

    def client(key: str = "key-shop", *, url: str = "", **options: Any) -> Any:
        kinds: dict[str, Make] = {"waiting": Client, "awaited": partial(Awaited, runner), "node": Node}
        kind = kinds[request.param]
        made.append(kind(url or before.url, key, **options))
        return made[-1]

    with asyncio.Runner() as runner:
        yield client
        for one in made:
            one.__exit__() if isinstance(one, Client) else one.close()


def like(**changes: Any) -> NewEvent:
    event: NewEvent = {"type": "like", "actor": "ada", "target": "grace", "object": uuid4().hex}
    return event | changes  # type: ignore[return-value] # what changes is typed by its use


def logged(gateway: Gateway, event: NewEvent) -> list[Any]:
    return [value for value in gateway.values("events.p1") if value["object"] == event["object"]]


def test_every_call_asks_what_the_document_says(make: Make, before: Front) -> None:
    client, values = make(), {"integer": 7, "boolean": True, "string": "a/b"}
    for call in operations(document()):
        body: list[Any] = [SMALLEST.get(call.name, {})] if call.body else []
        query = {name: values[schema["type"]] for name, schema in call.query.items()}
        with suppress(CarillonError):
            getattr(client, call.name)(*("a/b" for _ in call.parts), *body, **query)
        asked = before.passed[-1]
        path, _, searched = asked.path.partition("?")
        assert f"{asked.method} {path}" == f"{call.method} /v1/{re.sub('{.*?}', 'a%2Fb', call.path)}"
        assert dict(parse_qsl(searched)) == {name: json.dumps(value).strip('"') for name, value in query.items()}
        assert bool(asked.body) == bool(body)


def test_two_calls_are_two_events_and_a_kept_one_is_one(make: Make, gateway: Gateway) -> None:
    client, event, kept = make(), like(), keyed(like())
    assert [client.send(event)["status"] for _ in range(2)] == [202, 202]
    assert [client.send(kept)["status"] for _ in range(2)] == [202, 200]
    assert len(logged(gateway, event)) == 2
    assert len(logged(gateway, kept)) == 1


@pytest.mark.parametrize("fault", ["lose", "bad gateway", "busy", "page", "half", "list"])
def test_what_was_lost_or_refused_for_now_is_sent_again_and_is_one_event(
    make: Make, gateway: Gateway, before: Front, fault: Any
) -> None:
    event = like()
    before.faults.append(fault)
    accepted = make().send(event)
    assert accepted["status"] == (200 if fault == "lose" else 202)
    assert len(logged(gateway, event)) == 1
    assert before.passed[0] == before.passed[1]
    assert before.times[1] - before.times[0] >= (BUSY_S if fault == "busy" else 0)


def test_a_batch_that_was_lost_is_sent_again_and_is_no_second_one(make: Make, gateway: Gateway, before: Front) -> None:
    event = like()
    before.faults += ["lose", "bad gateway"]
    answers = make().send_batch([event, event])
    assert [answer["status"] for answer in answers] == [200, 200]
    assert len(logged(gateway, event)) == 2


def test_the_limit_of_a_sender_is_waited_for(make: Make, before: Front) -> None:
    client = make("key-slow")
    assert {client.send(like())["status"] for _ in range(7)} == {202}
    assert [answer["status"] for answer in client.send_batch(like() for _ in range(12))] == [202] * 12
    bodies = [len(one.body.splitlines()) for one in before.passed if one.path.endswith("/batch")]
    assert bodies == sorted(bodies, reverse=True), "what was accepted is not sent again"
    assert bodies[-1] < bodies[0] == 12


def test_batches_fill_bodies_and_answers_keep_the_order(make: Make, before: Front) -> None:
    events = [like(event_id=uuid4().hex, payload={"text": "é" * 500}) for _ in range(400)]
    events[7] = like(type="poke")
    events[300] = like(payload={"text": "x" * BODY_BYTES_MAX})
    answers = make().send_batch(events)
    assert (answers[7]["status"], answers[300]["status"]) == (403, 413)
    others = [place for place in range(400) if place not in (7, 300)]
    assert [answers[place]["event_id"] for place in others] == [events[place]["event_id"] for place in others]
    sizes = [len(one.body) for one in before.passed]
    assert sorted(sizes)[-2] <= BODY_BYTES_MAX < sum(sorted(sizes)[:-1]), "all but the one that is too large by itself"
    assert make().send_batch([]) == []


def test_the_budget_ends_what_does_not_pass(make: Make, gateway: Gateway) -> None:
    client, refuse = make(budget_s=0.5), gateway.directory / "faults" / "refuse"
    refuse.touch()
    try:
        with pytest.raises(CarillonError) as refused:
            client.send(like())
        answers = client.send_batch([like(), like(type="poke")])
    finally:
        refuse.unlink()
    assert refused.value.problem["status"] == 503
    assert [answer["status"] for answer in answers] == [503, 403]


def test_a_log_that_comes_back_in_time_is_waited_for(make: Make, gateway: Gateway) -> None:
    refuse = gateway.directory / "faults" / "refuse"
    refuse.touch()
    back = threading.Timer(1.5, refuse.unlink)
    back.start()
    assert make().send(like())["status"] in (200, 202)
    back.join()


def test_nobody_there_is_an_error_of_status_0(make: Make) -> None:
    with pytest.raises(CarillonError) as refused:
        make(url=f"http://127.0.0.1:{free_port()}/v1", budget_s=0.3).send(like())
    assert refused.value.problem["status"] == 0
    assert "connect" in refused.value.problem["detail"].lower()


def test_what_is_no_answer_of_the_gateway_is_an_error_of_status_0(make: Make, before: Front) -> None:
    client, event = make(budget_s=0.3), like()
    before.faults += ["page"] * 20
    with pytest.raises(CarillonError) as refused:
        client.send(event)
    assert refused.value.problem["status"] == 0
    assert [answer["status"] for answer in client.send_batch([event, event])] == [0, 0]


def test_a_problem_is_raised_at_once_with_its_document(make: Make, before: Front) -> None:
    with pytest.raises(CarillonError, match=r"400 Bad Request: .*; target is missing") as refused:
        make().send({"type": "like"})
    assert [error["path"] for error in refused.value.problem["errors"]] == ["target"]
    for key, status in (("no key", 401), (token(ANNE), 403)):
        with pytest.raises(CarillonError) as refused:
            make(key).send(like())
        assert refused.value.problem["status"] == status
    assert len(before.passed) == 3


def test_what_a_host_application_says_of_users(make: Make, gateway: Gateway, before: Front) -> None:
    client, user, segment = make(), f"ü/{uuid4().hex}?%", uuid4().hex
    assert client.put_user(user, {"locale": "fr", "name": "Zoé"}) == {"user": user, "locale": "fr", "name": "Zoé"}
    assert client.put_endpoint(user, "email", "a/b", {"address": "z@example.com"})["removed"] == []
    assert [one["id"] for one in client.endpoints(user)["endpoints"]] == ["a/b"]
    assert client.link_preferences(user, {"lifetime_s": 60})["ends_at"] > 0
    assert client.delete_endpoint(user, "email", "a/b") is None
    with pytest.raises(CarillonError, match="404"):
        client.delete_endpoint(user, "email", "a/b")
    follows = [{"followee": user, "follower": f"{number:0200}"} for number in range(2_000)]
    assert client.put_follows(follows) == 2_000
    assert max(len(one.body) for one in before.passed) <= BODY_BYTES_MAX
    assert client.put_segment(segment, (f"user{number}" for number in range(30_000)))["users"] == 30_000
    assert client.put_segment(segment, [])["users"] == 0
    assert client.delete_user(user) is None
    assert [one.get("name") for one in gateway.values("profiles") if one["user"] == user] == ["Zoé", None]


def test_what_users_see_and_say(make: Make) -> None:
    anne = make(token(ANNE))
    page = anne.inbox(limit=ROWS - 5)
    assert len(page["items"]) == ROWS - 5
    assert len(anne.inbox(cursor=page["cursor"])["items"]) == 5
    assert anne.read({"up_to": page["items"][-1]["at"]})["up_to"] == page["items"][-1]["at"]
    assert anne.stream_ticket()["ticket"]
    opened = anne.post_feedback({"event_id": page["items"][-1]["first_event_id"], "outcome": "opened"})
    assert opened["channel"] == "in_app"
    assert anne.read() == {"up_to": None}
    bob = make(token(uuid4().hex))
    assert bob.put_preferences({"master": True, "muted": {"actors": ["max"]}})["master"] is True
    assert "/preferences/" in bob.link_own_preferences({"locale": "fr"})["url"]
    bob.patch_preferences({"muted": None, "frequency_cap": {"max_per_day": 3}})
    assert bob.preferences() == {"master": True, "frequency_cap": {"max_per_day": 3}}
    device = {"device_id": "phone", "platform": "ios", "token": "0" * 64}
    assert bob.register_device(device)["device_id"] == "phone"
    assert [one["id"] for one in bob.devices()["endpoints"]] == ["phone"]
    assert bob.delete_device("phone") is None


def test_how_far_an_event_is(make: Make) -> None:
    client = make()
    event_id = client.send(like())["event_id"]
    assert client.progress(event_id)["event_id"] == event_id
    with pytest.raises(CarillonError) as refused:
        client.cancel(event_id)
    assert refused.value.problem["status"] == 409


def test_what_goes_in_stages_is_paused_by_its_sender(make: Make) -> None:
    client = make()
    staged = {"type": "maintenance", "fan_out_type": "BROADCAST", "object": uuid4().hex}
    event_id = client.send(staged | {"rollout": {"stages": [1, 100]}})["event_id"]
    assert client.turn_rollout(event_id, {"verb": "pause"})["state"] == "paused"
