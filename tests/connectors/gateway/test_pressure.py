"""A loaded system at the door: P2 is told to wait first, then half of P1, then all of it, never P0."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from helpers.gateway import Gateway, now_ms, running
from helpers.obeying import wait_until_obeyed

from connectors.gateway.pressure import Pressure
from connectors.load import LoadLevels, load_record
from state.model.event import Event
from state.model.load import LoadReport

_numbers = itertools.count()
OTP = {"type": "otp", "target": "bob", "payload": {"code": "123456"}}


def like(**fields: Any) -> dict[str, Any]:
    return {"type": "like", "actor": "ann", "target": "bob", "object": f"photo{next(_numbers)}", **fields}


def _loaded(gateway: Gateway, level: int) -> None:
    """Say so, and wait until the gateway has read it."""
    gateway.log.append([load_record(LoadReport("decide/0", level, 0.9))])
    wait_until_obeyed(gateway.directory, gateway.log)


def _statuses(gateway: Gateway, event: dict[str, Any], posts: int = 4) -> list[int]:
    return [gateway.post(event | {"object": f"o{next(_numbers)}"}).status for _ in range(posts)]


def test_p2_waits_first_then_half_of_p1_then_all_of_it_and_never_p0(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        low = like(priority="P2")
        _loaded(gateway, 1)
        refused = gateway.post(low)
        assert refused.status == 429
        assert refused.json["detail"].startswith("the system is loaded, and P2 waits")
        assert 5 <= int(refused.headers["retry-after"]) <= 15
        assert _statuses(gateway, like()) == [202] * 4
        assert gateway.post(low | {"retracts": True}).status == 202, "it takes work away"
        assert gateway.post(low | {"deliver_at": now_ms() + 600_000}).status == 202, "it comes later"

        _loaded(gateway, 2)
        assert sorted(_statuses(gateway, like())) == [202, 202, 429, 429]
        batch = gateway.call("POST", "/v1/notifications/batch", [like(), low, like()]).json
        assert sorted(answer["status"] for answer in batch) == [202, 429, 429]

        _loaded(gateway, 3)
        assert _statuses(gateway, like()) == [429] * 4
        assert gateway.post(OTP, key="key-p0").status == 202

        _loaded(gateway, 0)
        assert _statuses(gateway, like()) + _statuses(gateway, low) == [202] * 8


def test_a_repeat_of_what_was_accepted_has_its_answer_however_loaded_the_system_is(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        first, keyed = like(), like(idempotency_key="k")
        accepted = [gateway.post(first).json["event_id"], gateway.post(keyed).json["event_id"]]
        _loaded(gateway, 3)
        repeats = [gateway.post(first), gateway.post(keyed), gateway.post(keyed | {"object": "other"})]
        assert [repeat.status for repeat in repeats] == [200, 200, 409]
        assert [repeat.json["event_id"] for repeat in repeats] == [*accepted, accepted[1]]
        assert gateway.post(like()).status == 429
        metrics = gateway.get("/metrics", key=None).body.decode()
        assert 'carillon_gateway_shed_total{priority="P1"} 1.0' in metrics


def test_those_who_wait_are_told_different_times(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        _loaded(gateway, 1)
        assert len({gateway.post(like(priority="P2")).json["retry_after_ms"] for _ in range(8)}) > 4


def test_a_gateway_that_is_half_full_itself_leaves_the_rest_of_its_room_to_p1() -> None:
    """A rush that it hardly takes leaves the flows idle; 503 met P1 as often as P2."""
    full = False
    pressure = Pressure(LoadLevels(), lambda: full, uniform=lambda low, _high: low)

    def refused(klass: str) -> int:
        event = Event(event_id="e", type="like", priority=klass, ttl_ms=1, target="bob", sender_id="s", ingested_at=1)
        refusal = pressure.refusal(event, now_ms(), pressure.level(now_ms()))
        return 0 if refusal is None else refusal.status

    assert [refused(klass) for klass in ("P0", "P1", "P2")] == [0, 0, 0]
    full = True
    assert [refused(klass) for klass in ("P0", "P1", "P2")] == [0, 0, 429]


def test_while_the_log_takes_nothing_p2_gets_429_for_half_of_the_room(tmp_path: Path) -> None:
    """Two appends are under way, and what waits for them fills the room."""
    with running(tmp_path, patience_s=5, serving={"pending_max": 4}) as gateway, gateway.fault("hang"):
        with ThreadPoolExecutor(12) as callers:
            low = [callers.submit(gateway.post, like(priority="P2")) for _ in range(12)]
        assert {429, 503} == {each.result().status for each in low}
        assert "the system is loaded, and P2 waits" in " ".join(str(each.result().json) for each in low)
        with ThreadPoolExecutor(12) as callers:
            assert {each.status for each in callers.map(lambda _: gateway.post(like()), range(12))} == {503}
