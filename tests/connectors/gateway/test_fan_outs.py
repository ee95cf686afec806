"""How many fan-outs an actor may send in an hour: any hour, new events only, and each actor for itself."""

import asyncio
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from helpers.gateway import running

from connectors.gateway.fan_outs import FanOutLimit
from connectors.gateway.notifications import Posts
from connectors.gateway.problems import ProblemError, retry_later
from state.model.admission import Admitted
from state.model.durations import HOUR_MS
from state.model.event import Event, RawEvent, resolve
from state.model.registry import load_registry

REGISTRY = load_registry()


def _event(**fields: Any) -> Event:
    given = {"type": "new_post", "actor": "bob", "fan_out_type": "FOLLOWERS", "sender_id": "shop"} | fields
    return resolve(RawEvent(event_id="e", **given), REGISTRY, ingested_at=0)


def test_the_hour_slides_and_each_actor_has_its_own() -> None:
    now = 0
    limit = FanOutLimit(2, clock=lambda: now)
    assert limit.refusal(_event()) is None
    now = 600_000
    assert limit.refusal(_event()) is None
    now = 1_200_000
    refused = limit.refusal(_event())
    assert refused is not None
    assert (refused.status, dict(refused.headers)) == (429, {"retry-after": "2400"})
    (error,) = msgspec.to_builtins(refused.document())["errors"]
    assert error["path"] == "actor"
    assert "limits.fan_outs_per_h" in error["remedy"]
    for other in (_event(actor="eve"), _event(type="like", fan_out_type="DIRECT", target="ann"), _event(retracts=True)):
        assert limit.refusal(other) is None
    now = HOUR_MS - 1
    assert limit.refusal(_event()) is not None
    now = HOUR_MS
    assert limit.refusal(_event()) is None
    assert limit.refusal(_event()) is not None


def test_a_clock_that_was_ahead_and_is_set_back_keeps_nobody_out() -> None:
    now = 5 * HOUR_MS
    limit = FanOutLimit(1, clock=lambda: now)
    assert limit.refusal(_event()) is None
    now = HOUR_MS
    assert limit.refusal(_event()) is None
    assert limit.refusal(_event()) is not None


def test_without_an_actor_the_sender_is_limited_and_what_was_not_accepted_does_not_count() -> None:
    limit = FanOutLimit(1, clock=lambda: 0)
    news = _event(type="maintenance", actor=None, fan_out_type="BROADCAST")
    assert limit.refusal(news) is None
    limit.give_back(news)
    assert limit.refusal(news) is None
    refused = limit.refusal(news)
    assert refused is not None
    assert msgspec.to_builtins(refused.document())["errors"][0]["path"] == "sender_id"


def test_memory_holds_the_actors_of_the_last_hour_only() -> None:
    now = 0
    limit = FanOutLimit(1, clock=lambda: now)
    for number in range(100):
        assert limit.refusal(_event(actor=f"a{number}")) is None
    now = HOUR_MS
    assert limit.refusal(_event()) is None
    assert list(limit._taken) == [("actor", "bob")]


def test_0_is_no_limit() -> None:
    limit = FanOutLimit(0, clock=lambda: 0)
    assert [limit.refusal(_event()) for _ in range(50)] == [None] * 50


class _Full:
    """An admission for which too many wait already."""

    async def admit(self, *_: object) -> list[Any]:
        raise retry_later(503, "too many events wait", 1_000)


def test_what_found_no_room_does_not_count() -> None:
    limit, nothing = FanOutLimit(1, clock=lambda: 0), cast("Any", None)
    posts = Posts(
        nothing, cast("Any", _Full()), nothing, nothing, None, nothing, limit, nothing, kind="ordinary",
        clock=lambda: 0, new_event_id=nothing,
    )  # fmt: skip
    for _ in range(3):
        with pytest.raises(ProblemError) as refused:
            asyncio.run(posts._admit([Admitted(_event(), nothing)], ()))
        assert refused.value.status == 503


def test_posts_and_batches_share_the_hour_and_repeats_take_nothing_of_it(tmp_path: Path) -> None:
    post = {"type": "new_post", "actor": "star", "fan_out_type": "FOLLOWERS"}
    with running(tmp_path, fan_outs_per_h=3) as gateway:
        assert gateway.post(post | {"object": "p1"}).status == 202
        assert [gateway.post(post | {"object": "p1"}).status for _ in range(4)] == [200] * 4
        batch = [post | {"object": f"p{number}"} for number in (2, 3, 4)]
        answers = gateway.call("POST", "/v1/notifications/batch", batch).json
        assert [answer["status"] for answer in answers] == [202, 202, 429]
        assert gateway.post(post | {"object": "p5"}).paths == {"actor"}
        assert gateway.post(post | {"object": "p1"}).json["reason"] == "content", "also where the hour is full"
        batch = [post | {"object": f"p{number}"} for number in (6, 3, 7)]
        answers = gateway.call("POST", "/v1/notifications/batch", batch).json
        assert [answer["status"] for answer in answers] == [429, 200, 429]
        assert gateway.post({"type": "like", "actor": "star", "target": "ann", "object": "o"}).status == 202
