"""Events in stages by HTTP: posted, looked at, and turned by their sender; nothing runs beside the gateway."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.gateway import Gateway, now_ms, running
from helpers.obeying import wait_until_obeyed

from connectors.gateway.records import event_records
from connectors.load import load_record
from state.model.durations import DAY_MS
from state.model.event import RawEvent, RolloutPlan, resolve
from state.model.load import LoadReport
from state.model.registry import load_registry

NEWS = {"type": "announcement", "fan_out_type": "BROADCAST", "payload": {"title": "New"}}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("rollouts")) as gateway:
        yield gateway


def post(gateway: Gateway, plan: Any, **fields: Any) -> Any:
    return gateway.post({**NEWS, "object": str(now_ms()), **fields, "rollout": plan})


def rollout(gateway: Gateway, event_id: str) -> Any:
    return gateway.get(f"/v1/notifications/{event_id}").json["rollout"]


def turn(gateway: Gateway, event_id: str, verb: str, **more: Any) -> Any:
    return gateway.call("POST", f"/v1/notifications/{event_id}/rollout", {"verb": verb}, **more)


@pytest.mark.parametrize(
    ("plan", "path"),
    [
        ({"stages": []}, "rollout.stages"),
        ({"stages": [10, 10, 100]}, "rollout.stages"),
        ({"stages": [1, 99]}, "rollout.stages"),
        ({"stages": [0, 100]}, "rollout.stages[0]"),
        ({"stages": [100], "hold_ms": 999}, "rollout.hold_ms"),
        ({"stages": [100], "spread_ms": 59_999}, "rollout.spread_ms"),
        ({"stages": [100], "speed": 1}, "rollout.speed"),
        ({}, "rollout.stages"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_with_its_field(told: Gateway, plan: Any, path: str) -> None:
    reply = post(told, plan)
    assert (reply.status, reply.paths) == (400, {path})


def test_what_goes_to_one_person_or_takes_back_goes_in_no_stages(told: Gateway) -> None:
    one = told.post({"type": "like", "target": "ann", "object": "photo", "rollout": {"stages": [100]}})
    assert (one.status, one.paths) == (400, {"rollout"})
    assert post(told, {"stages": [100]}, retracts=True).status == 400
    event_id = told.post({"type": "like", "actor": "bob", "target": "ann", "object": "p"}).json["event_id"]
    assert turn(told, event_id, "pause").status == 409
    assert rollout(told, event_id) is None


def test_it_is_shown_turned_and_ended_and_the_audit_says_by_whom(told: Gateway) -> None:
    reply = post(told, {"stages": [1, 10, 100], "hold_ms": 60_000}, idempotency_key="k")
    event_id = reply.json["event_id"]
    began = rollout(told, event_id)
    assert reply.status == 202
    assert (began["state"], began["stage"], began["percent"], began["stages"]) == ("running", 1, 0, [1, 10, 100])
    assert began["next_at"] <= now_ms()
    assert turn(told, event_id, "pause").json == {**began, "state": "paused", "next_at": None}
    assert turn(told, event_id, "pause").status == 409, "it is paused"
    assert turn(told, event_id, "advance").json["stage"] == 2
    assert turn(told, event_id, "jump").status == 400
    assert turn(told, event_id, "resume").json["state"] == "running"
    assert turn(told, event_id, "pause", key="key-ops").status == 403
    assert told.call("DELETE", f"/v1/notifications/{event_id}").status == 200
    assert turn(told, event_id, "resume").status == 409
    assert rollout(told, event_id)["state"] == "cancelled"
    acts = [each for each in told.get("/v1/audit", key="key-admin").json["acts"] if "verb" in each["about"]]
    assert {(each["about"]["verb"], each["about"]["event"], each["by"]) for each in acts} == {
        (verb, event_id, "shop") for verb in ("pause", "advance", "resume", "cancel")
    }


def test_a_repeat_begins_nothing_and_another_plan_under_its_key_is_a_conflict(told: Gateway) -> None:
    event_id = post(told, {"stages": [50, 100]}, idempotency_key="once", object="once").json["event_id"]
    again = post(told, {"stages": [50, 100]}, idempotency_key="once", object="once")
    assert (again.status, again.json["event_id"]) == (200, event_id)
    assert post(told, {"stages": [60, 100]}, idempotency_key="once", object="once").status == 409


def test_one_for_later_says_when_it_begins(told: Gateway) -> None:
    at = now_ms() + 3_600_000
    event_id = post(told, {"stages": [1, 100]}, deliver_at=at).json["event_id"]
    assert rollout(told, event_id)["next_at"] == at
    assert told.call("DELETE", f"/v1/notifications/{event_id}").status == 200


def test_it_is_still_known_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        event_id = post(gateway, {"stages": [1, 100]}).json["event_id"]
        turn(gateway, event_id, "pause")
    with running(tmp_path) as gateway:
        assert rollout(gateway, event_id)["state"] == "paused"


def begun_before(gateway: Gateway, event_id: str, at: int) -> None:
    """In the log alone: the admission store has forgotten it, or was down."""
    raw = RawEvent(
        event_id=event_id, type="announcement", fan_out_type="BROADCAST", sender_id="shop", payload={"title": "New"},
        rollout=RolloutPlan([1, 10, 100]),
    )  # fmt: skip
    event = resolve(raw, load_registry(), ingested_at=at)
    gateway.log.append(event_records(event, gateway.log.partitions, kept=False))


def test_what_takes_longer_than_its_event_id_is_remembered_is_still_its_senders(told: Gateway) -> None:
    begun_before(told, "long", now_ms() - 3 * DAY_MS)
    assert rollout(told, "long")["state"] == "running"
    assert told.get("/v1/notifications/long").json["state"] == "accepted"
    assert turn(told, "long", "pause").json["state"] == "paused"
    assert turn(told, "long", "advance").json["stage"] == 2
    assert turn(told, "long", "resume", key="key-other").status == 404
    assert told.get("/v1/notifications/long", key="key-other").status == 404
    assert told.call("DELETE", "/v1/notifications/long").status == 200
    assert rollout(told, "long")["state"] == "cancelled"


def test_its_event_id_stays_taken_until_it_has_been_over_for_a_day(told: Gateway) -> None:
    begun_before(told, "taken", now_ms() - 3 * DAY_MS)
    before = now_ms()
    for _ in range(2):
        again = post(told, {"stages": [1, 100]}, event_id="taken")
        assert (again.status, again.json["repeat_of"], again.json["reason"]) == (200, "taken", "event_id")
        assert before + DAY_MS <= again.json["until"] <= now_ms() + DAY_MS
        told.call("DELETE", "/v1/notifications/taken")
    begins = [
        each for each in told.values("campaigns") if (each["campaign"], each["verb"]) == ("event:taken", "create")
    ]
    assert len(begins) == 1
    assert post(told, {"stages": [1, 100]}, event_id="free").status == 202
    with told.fault("unreadable"):
        assert post(told, {"stages": [1, 100]}, event_id="other").status == 503


def test_a_repeat_of_it_has_its_answer_however_loaded_the_system_is(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        begun_before(gateway, "taken", now_ms() - 3 * DAY_MS)
        gateway.log.append([load_record(LoadReport("decide/0", 3, 0.9))])
        wait_until_obeyed(gateway.directory, gateway.log)
        assert post(gateway, {"stages": [1, 100]}, event_id="taken").json["repeat_of"] == "taken"
        assert post(gateway, {"stages": [1, 100]}, event_id="new").status == 429


def test_a_later_event_of_its_event_id_is_another_senders_and_no_way_to_it(told: Gateway) -> None:
    begun_before(told, "both", now_ms() - 3 * DAY_MS)
    assert told.post({**NEWS, "event_id": "both"}, key="key-other").status == 202
    assert turn(told, "both", "pause", key="key-other").status == 409
    assert told.get("/v1/notifications/both", key="key-other").json["rollout"] is None
    assert turn(told, "both", "pause").json["state"] == "paused"
