"""What stops or destroys P0 needs a second person, on real gateways over one log."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers.console import Browser
from helpers.gateway import Gateway, Reply, now_ms, running
from helpers.waiting import wait_for

from connectors.audit import audit_record
from connectors.log.interface import NewRecord
from state.model.audit import Act, ApprovalRecord, AuditRecord
from state.model.dead_letter import LETTER_SCHEMA, DeadLetter, encode_letter

STOP_ALL = {"scope": "all", "reason": "spam"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("approvals")) as started:
        yield started


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways over the log of the first."""
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with running(tmp_path / "one") as one, running(tmp_path / "other", log=str(tmp_path / "one")) as other:
        yield one, other


def propose(gateway: Gateway, body: dict[str, Any], *, key: str = "key-ops") -> str:
    reply = gateway.call("POST", "/v1/ops/kill", body, key=key)
    assert reply.status == 202, reply.body
    assert reply.json["may_confirm"] == ["admin", "ops"]
    assert 500_000 < reply.json["until"] - now_ms() <= 600_000
    name: str = reply.json["id"]
    return name


def decide(gateway: Gateway, name: str, decision: str = "confirm", *, key: str = "key-admin") -> Reply:
    return gateway.call("POST", f"/v1/approvals/{name}", {"decision": decision, "reason": "seen"}, key=key)


def switches(gateway: Gateway) -> list[tuple[str, str | None, str | None]]:
    shown = gateway.get("/v1/ops/kill", key="key-ops").json["switches"]
    return [(one["scope"], one["value"], one["by"]) for one in shown]


def lift(gateway: Gateway, scope: str, value: str | None = None) -> None:
    body = {"scope": scope, "value": value, "on": False}
    assert gateway.call("POST", "/v1/ops/kill", body, key="key-ops").status == 200, "to lift needs one person"


def shown(gateway: Gateway, name: str) -> dict[str, Any]:
    found = gateway.get("/v1/approvals", key="key-ops").json["approvals"]
    return next(each for each in found if each["id"] == name)


def test_a_stop_of_everything_waits_for_another_person(gateway: Gateway) -> None:
    before = len(gateway.values("audit"))
    name = propose(gateway, STOP_ALL)
    assert switches(gateway) == []
    own = decide(gateway, name, key="key-ops")
    assert own.status == 403
    assert "another person" in own.json["detail"]
    assert decide(gateway, name, key="key-support").status == 403
    assert shown(gateway, name)["state"] == "proposed"
    done = decide(gateway, name)
    told = done.json
    assert (done.status, told["state"], told["decided_by"], told["done"]) == (200, "confirmed", "admin", True)
    assert switches(gateway) == [("all", None, "ops")]
    assert decide(gateway, name).status == 409
    noted = [(act["by"], act["act"], act.get("step"), act.get("reason")) for act in gateway.values("audit")[before:]]
    assert noted == [
        ("ops", "kill", "proposed", "spam"), ("admin", "kill", "confirmed", "seen"), ("ops", "kill", None, "spam"),
    ]  # fmt: skip
    listed = gateway.get("/v1/audit?limit=3", key="key-ops").json["acts"]
    assert [(act.get("step"), act.get("approval"), act["before"], act["after"]) for act in listed] == [
        (None, None, {"on": False}, {"on": True}),
        ("confirmed", name, {"on": False}, {"on": True}),
        ("proposed", name, {"on": False}, {"on": True}),
    ]
    assert listed[0]["about"] == {"scope": "all", "approval": name}
    lift(gateway, "all")


@pytest.mark.parametrize(
    ("scope", "value", "status"),
    [
        ("type", "otp", 202), ("type", "security_alert", 202), ("type", "like", 200), ("sender", "auth", 202),
        ("sender", "all", 202), ("sender", "shop", 200), ("door", "auth", 202), ("door", "shop", 200),
        ("key", "auth", 202), ("key", "shop", 200), ("channel", "sms", 202), ("channel", "webhook", 200),
        ("campaign", "spring", 200),
    ],
)  # fmt: skip
def test_only_what_stops_p0_waits(gateway: Gateway, scope: str, value: str, status: int) -> None:
    reply = gateway.call("POST", "/v1/ops/kill", {"scope": scope, "value": value}, key="key-ops")
    assert reply.status == status
    assert [(one[0], one[1]) for one in switches(gateway)] == ([(scope, value)] if status == 200 else [])
    if status == 200:
        lift(gateway, scope, value)
    else:
        assert decide(gateway, reply.json["id"], "refuse", key="key-ops").json["state"] == "refused", "taken back"
        assert decide(gateway, reply.json["id"]).status == 409


def test_so_does_a_stop_of_who_owns_a_type_of_p0(tmp_path: Path) -> None:
    types = {"wire_transfer": {"klass": "P0", "owners": ["shop"]}}
    with running(tmp_path, types=types) as gateway:
        for scope in ("sender", "door"):
            propose(gateway, {"scope": scope, "value": "shop"})
        assert gateway.call("POST", "/v1/ops/kill", {"scope": "door", "value": "other"}, key="key-ops").status == 200


def test_whoever_asks_for_the_same_gets_the_one_that_is_open(gateway: Gateway) -> None:
    name = propose(gateway, {"scope": "type", "value": "otp"})
    assert propose(gateway, {"scope": "type", "value": "otp"}, key="key-admin") == name
    assert decide(gateway, name, "refuse").status == 200
    assert propose(gateway, {"scope": "type", "value": "otp"}) != name


def test_what_is_no_approval_is_told(gateway: Gateway) -> None:
    assert decide(gateway, "123456").status == 404
    assert decide(gateway, "x").status == 404
    assert decide(gateway, "x", "perhaps").status == 400


def test_after_ten_minutes_it_is_over(gateway: Gateway) -> None:
    late = ApprovalRecord(
        at=now_ms() - 601_000, by="ops", role="ops", act="kill", about={"scope": "all"}, step="proposed",
        until=now_ms() - 1_000, subject="key ops",
    )  # fmt: skip
    (offset,) = gateway.log.append([audit_record(late)])
    wait_for(lambda: [act for act in gateway.values("audit") if act.get("step") == "expired"])
    reply = decide(gateway, str(offset))
    assert reply.status == 409
    assert "ten minutes" in reply.json["detail"]
    assert shown(gateway, str(offset))["state"] == "expired"
    assert switches(gateway) == []


def test_two_gateways_agree_and_it_is_done_once_when_both_confirm(two: tuple[Gateway, Gateway]) -> None:
    one, other = two
    for round_number in range(5):
        before = len(one.values("control"))
        name = propose(one, STOP_ALL)
        assert shown(other, name)["state"] == "proposed"
        with ThreadPoolExecutor() as pool:
            replies = list(pool.map(decide, two, [name, name]))
        assert sorted(reply.status for reply in replies) == [200, 409], round_number
        assert "by admin already" in next(reply for reply in replies if reply.status == 409).json["detail"]
        assert shown(one, name) == shown(other, name)
        assert len(one.values("control")) == before + 1
        lift(other, "all")


@pytest.mark.parametrize("survivor", ["the other one", "itself"])
def test_a_confirmation_whose_gateway_died_is_carried_out_once(two: tuple[Gateway, Gateway], survivor: str) -> None:
    one, other = two
    if survivor == "itself":
        other.stop()
    name = propose(one, STOP_ALL)
    with one.fault("crash_confirmed"), pytest.raises((OSError, http.client.HTTPException)):
        decide(one, name)
    if survivor == "itself":
        assert one.values("control") == []
        one.stop()
        one.start()
    left = one if survivor == "itself" else other
    assert shown(left, name)["state"] == "confirmed"
    wait_for(lambda: shown(left, name)["done"])
    assert switches(left) == [("all", None, "ops")]
    assert [record["scope"] for record in left.values("control")] == ["all"]
    lift(left, "all")
    assert decide(left, name).status == 409
    assert switches(left) == [], "it is not done again"
    assert sum(act["about"].get("approval") == name for act in left.values("audit")) == 1


def letter(number: int, **changes: Any) -> NewRecord:
    made = DeadLetter(
        **{"id": f"sequence/events.p1/0/{number}", "source": ("events.p1", 0, number), "kind": "raised", "type": "like",
           "stage": "sequence", "at": now_ms(), **changes},
    )  # fmt: skip
    return NewRecord("dead_letters", 0, b"ann", encode_letter(made), (("schema", LETTER_SCHEMA),))


def test_to_discard_a_letter_of_p0_needs_two_people_at_the_console(gateway: Gateway) -> None:
    of_p0, of_p1 = "transactional/events.p0/0/7", "sequence/events.p1/0/8"
    gateway.log.append(
        [letter(7, id=of_p0, source=("events.p0", 0, 7), stage="transactional", type=None), letter(8, id=of_p1)]
    )
    ops, admin = Browser(gateway), Browser(gateway)
    ops.sign_in("key-ops")
    admin.sign_in("key-admin")

    def status(name: str) -> str:
        found: str = next(each["status"] for each in listed(gateway) if each["id"] == name)
        return found

    form = {"act": "discard", "reason": "its sender is gone"}
    assert ops.submit("/console/letters", "/console/letters", {"letter": of_p1, **form}).status == 200
    assert status(of_p1) == "discarded"
    assert gateway.values("audit")[-1]["reason"] == "its sender is gone"
    sent = ops.submit("/console/letters", "/console/letters", {"letter": of_p0, **form})
    assert sent.headers["location"] == "/console/approvals"
    assert status(of_p0) == "open"
    page = ops.get("/console/approvals")
    assert f"Discard letter {of_p0} : its sender is gone" in page.words
    assert "Another person" in page.words
    name = page.text.partition('name="approval" value="')[2].partition('"')[0]
    own = ops.submit("/console/approvals", "/console/approvals", {"approval": name, "act": "confirm"})
    assert own.status == 403
    assert admin.submit("/console/approvals", "/console/approvals", {"approval": name, "act": "confirm"}).status == 303
    assert status(of_p0) == "discarded"
    assert "Confirmed by admin" in ops.get("/console/approvals").words
    assert "discard letter: confirmed" in ops.get("/console/audit").words
    actions = [value for value in gateway.values("dead_letters") if value.get("action") and value["id"] == of_p0]
    assert len(actions) == 1


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    values = gateway.values("dead_letters")
    decided = {value["id"]: value["action"] for value in values if "action" in value}
    return [{"id": value["id"], "status": decided.get(value["id"], "open")} for value in values if "stage" in value]


def test_what_a_dead_gateway_discarded_is_told_as_discarded(tmp_path: Path) -> None:
    name = "transactional/events.p0/0/7"
    with running(tmp_path) as gateway:
        gateway.log.append([letter(7, id=name, source=("events.p0", 0, 7), stage="transactional", type=None)])
        ops = Browser(gateway)
        ops.sign_in("key-ops")
        ops.submit("/console/letters", "/console/letters", {"letter": name, "act": "discard", "reason": "seen"})
        (asked,) = gateway.get("/v1/approvals", key="key-ops").json["approvals"]
        with gateway.fault("crash_discarded"), pytest.raises((OSError, http.client.HTTPException)):
            decide(gateway, asked["id"])
        assert listed(gateway) == [{"id": name, "status": "discarded"}]
        gateway.stop()
        gateway.start()
        wait_for(lambda: shown(gateway, asked["id"])["done"])
        assert gateway.values("audit")[-1]["after"] == {"status": "discarded"}
        assert sum("action" in value for value in gateway.values("dead_letters")) == 1


def confirmed_before(gateway: Gateway, act: Act, about: dict[str, str]) -> str:
    """An act that a gateway which died confirmed a minute ago."""
    asked = ApprovalRecord(
        at=now_ms() - 60_000, by="ops", role="ops", act=act, about=about, step="proposed", until=now_ms() + 540_000,
        subject="key ops",
    )  # fmt: skip
    name = str(gateway.log.append([audit_record(asked)])[0])
    said = msgspec.structs.replace(asked, by="admin", subject="key admin", step="confirmed", approval=name)
    gateway.log.append([audit_record(said)])
    return name


def test_what_was_lifted_meanwhile_is_not_stopped_by_who_comes_late(gateway: Gateway) -> None:
    with gateway.fault("refuse_kills"):
        late = confirmed_before(gateway, "kill", {"scope": "type", "value": "otp"})
        lifted = AuditRecord(
            at=now_ms(), by="max", role="ops", act="lift", about={"scope": "type", "value": "otp"}
        )  # fmt: skip
        gateway.log.append([audit_record(lifted)])
    other = confirmed_before(gateway, "kill", {"scope": "type", "value": "security_alert"})
    wait_for(lambda: shown(gateway, other)["done"])
    assert shown(gateway, late)["done"]
    assert switches(gateway) == [("type", "security_alert", "ops")]
    lift(gateway, "type", "security_alert")


def test_an_act_that_cannot_be_carried_out_holds_up_no_other(tmp_path: Path) -> None:
    name = "transactional/events.p0/0/7"
    with running(tmp_path) as gateway:
        gateway.log.append([letter(7, id=name, source=("events.p0", 0, 7), stage="transactional", type=None)])
        with gateway.fault("refuse_kills"):
            stop = confirmed_before(gateway, "kill", {"scope": "all"})
            discard = confirmed_before(gateway, "discard_letter", {"letter": name})
            wait_for(lambda: shown(gateway, discard)["done"])
            assert not shown(gateway, stop)["done"]
        wait_for(lambda: shown(gateway, stop)["done"], what="it is tried again")
        assert switches(gateway) == [("all", None, "ops")]
