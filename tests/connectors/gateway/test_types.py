"""Types published through a real gateway: obeyed at once, by whoever may, P0 by two people, also after a kill."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.gateway import Gateway, Reply, running
from helpers.waiting import wait_for

from connectors.gateway.type_answers import TypeCounted, TypeMoved, TypeTried, without_reasons

OWN = {"channels": ["push", "in_app"], "owners": ["shop"]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    types = {"order": {"klass": "P1", "channels": ["in_app"], "window_ms": 5_000}}
    with running(tmp_path_factory.mktemp("types"), types=types) as started:
        yield started


def publish(gateway: Gateway, name: str, table: Any, *, key: str = "key-ops", **more: Any) -> Reply:
    return gateway.call("PUT", f"/v1/types/{name}", {"table": table, "reason": "a try", **more}, key=key)


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": name, "actor": "ann", "target": "bob", "object": name, **fields}


def test_a_new_type_is_taken_without_a_restart_and_refused_when_it_is_taken_back(gateway: Gateway) -> None:
    assert gateway.post(event("wave")).status == 403
    told = publish(gateway, "wave", {"channels": ["in_app"], "ttl_ms": 5_000})
    assert (told.status, told.json["source"], told.json["version"], told.json["by"]) == (200, "published", 1, "ops")
    assert told.json["profile"]["ttl_ms"] == 5_000
    assert gateway.post(event("wave")).status == 202
    assert gateway.values("events.p1")[-1]["ttl_ms"] == 5_000
    assert gateway.call("DELETE", "/v1/types/wave", key="key-ops").paths == {"reason"}
    gone = gateway.call("DELETE", "/v1/types/wave?reason=over", key="key-ops")
    assert (gone.status, gone.json["published"], gone.json["version"]) == (200, None, 2)
    assert gateway.get("/v1/types/wave", key="key-ops").status == 404
    assert gateway.call("DELETE", "/v1/types/wave?reason=over", key="key-ops").status == 404, "nothing is published"
    assert gateway.post(event("wave", object="again")).status == 403
    acts = [act for act in gateway.values("audit") if act["about"].get("type") == "wave"]
    assert [(act["by"], act["reason"], act["about"]["version"]) for act in acts] == [
        ("ops", "a try", "1"), ("ops", "over", "2"),
    ]  # fmt: skip
    assert (acts[1]["before"], acts[1]["after"]) == (
        {"table": {"channels": ["in_app"], "ttl_ms": 5_000}},
        {"table": None},
    )


def test_what_is_published_replaces_the_table_of_the_file_and_both_are_shown(gateway: Gateway) -> None:
    assert publish(gateway, "order", {"channels": ["push"]}).status == 200
    shown = gateway.get("/v1/types/order", key="key-shop").json
    assert (shown["file"]["window_ms"], shown["published"], shown["profile"]["window_ms"]) == (
        5_000, {"channels": ["push"]}, 0,
    )  # fmt: skip
    back = gateway.call("DELETE", "/v1/types/order?reason=back", key="key-ops").json
    assert (back["source"], back["version"], back["profile"]["window_ms"]) == ("file", 2, 5_000)
    listed = {each["type"]: each["source"] for each in gateway.get("/v1/types", key="key-p0").json["types"]}
    assert (listed["order"], listed["like"]) == ("file", "default")


@pytest.mark.parametrize(
    ("name", "table", "path"),
    [
        ("like", {"klass": "P9"}, "table.klass"),
        ("like", {"colour": "red"}, "table.colour"),
        ("like", {"window_ms": "long"}, "table.window_ms"),
        ("like", {"channels": ["pigeon"]}, "table.channels"),
        ("like", {"schema": {"type": "nothing"}}, "table.schema"),
        ("like", {"ttl_ms": 8 * 86_400_000}, "ttl_ms"),
        ("like", {"channels": []}, "channels"),
        ("like", {"klass": "P0", "pinned": True}, "pinned"),
        ("otp", {"klass": "P1"}, "table.klass"),
        ("otp", {"mandatory": False}, "mandatory"),
        ("otp", {"category": "marketing"}, "category"),
        ("digest", {}, "type"),
    ],
)
def test_what_cannot_be_published_is_told_by_its_field(gateway: Gateway, name: str, table: Any, path: str) -> None:
    refused = publish(gateway, name, table)
    assert (refused.status, refused.paths) == (400, {path})


@pytest.mark.parametrize(
    ("name", "table", "path"),
    [
        ("like", OWN, "type"),
        ("sale_*", OWN, "type"),
        ("alarm", {**OWN, "klass": "P0"}, "klass"),
        ("nudge", {**OWN, "mandatory": True}, "mandatory"),
        ("nudge", {**OWN, "klass": "P2"}, "enabled"),
        ("nudge", {"channels": ["in_app"]}, "owners"),
    ],
)
def test_a_sender_cannot_publish_what_is_not_its_own(gateway: Gateway, name: str, table: Any, path: str) -> None:
    refused = publish(gateway, name, table, key="key-shop")
    assert (refused.status, refused.paths) == (403, {path})


def test_a_sender_makes_no_type_of_a_class_that_it_does_not_send(gateway: Gateway) -> None:
    refused = publish(gateway, "bell", {"channels": ["in_app"], "owners": ["auth"]}, key="key-p0")
    assert (refused.status, refused.paths) == (403, {"klass"})


def test_a_sender_makes_a_type_of_its_own_and_changes_it(gateway: Gateway) -> None:
    assert publish(gateway, "poke", OWN, key="key-shop").json["by"] == "shop"
    assert gateway.post(event("poke")).status == 202
    assert publish(gateway, "poke", {**OWN, "ttl_ms": 60_000}, key="key-shop", version=1).json["version"] == 2
    assert publish(gateway, "poke", OWN, key="key-shop", version=1).status == 409, "somebody else was faster"
    assert publish(gateway, "poke", OWN, key="key-p0").status == 403, "another sender's"


def test_a_schema_that_breaks_the_one_before_is_refused(gateway: Gateway) -> None:
    def schema(**more: Any) -> dict[str, Any]:
        return {"schema": {"type": "object", "properties": {"n": {"type": "integer"}, **more.pop("also", {})}, **more}}

    assert publish(gateway, "visit", {"channels": ["in_app"], **schema()}).status == 200
    assert gateway.post(event("visit", payload={"n": "one"})).paths == {"payload.n"}
    assert publish(gateway, "visit", schema(required=["n"])).paths == {"schema.required.n"}
    assert publish(gateway, "visit", {}).status == 400, "no schema at all says less than before"
    assert publish(gateway, "visit", schema(also={"m": {"type": "string"}})).json["version"] == 2
    assert gateway.post(event("visit", payload={"n": 1, "m": 2})).paths == {"payload.m"}
    gateway.call("DELETE", "/v1/types/visit?reason=over", key="key-ops")
    other = {"channels": ["in_app"], "schema": {"type": "object", "properties": {"n": {"type": "string"}}}}
    assert publish(gateway, "visit", other).paths == {"schema.properties.n.type", "schema.properties.m"}
    assert publish(gateway, "visit", schema(also={"m": {"type": "string"}})).json["version"] == 4


def test_what_cannot_be_tried_says_why_and_publishes_nothing(gateway: Gateway) -> None:
    wrong = gateway.call("POST", "/v1/types/like/trial", {"table": {"klass": "P9"}}, key="key-ops")
    assert (wrong.status, wrong.paths) == (400, {"table.klass"})
    tried = gateway.call("POST", "/v1/types/like/trial", {"table": {"channels": ["push"]}}, key="key-ops")
    assert (tried.status, tried.json["events"], tried.json["moved"]) == (200, 0, [])
    assert gateway.get("/v1/types/like", key="key-ops").json["version"] == 0


def test_senders_try_what_they_may_publish_and_see_no_reasons(gateway: Gateway) -> None:
    refused = gateway.call("POST", "/v1/types/like/trial", {"table": OWN}, key="key-shop")
    assert (refused.status, refused.paths) == (403, {"type"})
    known = [
        TypeCounted(*each) for each in (("SUPPRESSED muted", 1, 0), ("SUPPRESSED type_off", 1, 2), ("INBOX", 0, 1))
    ]
    moved = [TypeMoved("SUPPRESSED muted", "SUPPRESSED type_off", 1), TypeMoved("not decided", "INBOX", 1)]
    shown = without_reasons(TypeTried(None, outcomes=known, moved=moved))
    assert shown.outcomes == [TypeCounted("SUPPRESSED", 2, 2), TypeCounted("INBOX", 0, 1)]
    assert shown.moved == [TypeMoved("not decided", "INBOX", 1)]


def test_one_table_at_a_time_is_tried_so_that_operators_are_answered_meanwhile(gateway: Gateway) -> None:
    def tried(_number: int) -> int:
        return gateway.call("POST", "/v1/types/bolt/trial", {"table": OWN}, key="key-shop").status

    with ThreadPoolExecutor() as pool:
        assert {*pool.map(tried, range(4))} == {200, 503}


def test_what_touches_p0_waits_for_a_second_person(gateway: Gateway) -> None:
    asked = publish(gateway, "otp", {"ttl_ms": 120_000})
    assert (asked.status, asked.json["act"], asked.json["after"]) == (202, "type", {"table": {"ttl_ms": 120_000}})
    assert gateway.get("/v1/types/otp", key="key-ops").json["version"] == 0
    decide = f"/v1/approvals/{asked.json['id']}", {"decision": "confirm"}
    assert gateway.call("POST", *decide, key="key-ops").status == 403
    assert gateway.call("POST", *decide, key="key-admin").json["done"] is True
    shown = gateway.get("/v1/types/otp", key="key-ops").json
    assert (shown["version"], shown["by"], shown["profile"]["ttl_ms"]) == (1, "ops", 120_000)
    raised = publish(gateway, "alert", {"klass": "P0", "channels": ["push"]})
    assert raised.status == 202, "a new type of P0 as well"


def test_names_by_a_prefix_become_p0_by_two_people_also_where_a_type_has_the_bare_name(gateway: Gateway) -> None:
    assert publish(gateway, "like*", {"klass": "P0", "channels": ["push"]}).status == 202
    assert publish(gateway, "follow*", {"channels": ["push"]}).json["profile"]["window_ms"] == 0, "not that of follow"
    assert publish(gateway, "follow**", {"channels": ["push"]}).paths == {"type"}


def test_of_publications_at_once_one_counts_for_whoever_saw_the_version_before(gateway: Gateway) -> None:
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda _: publish(gateway, "race", OWN, version=0).status, range(8)))
    assert sorted(told) == [200, *[409] * 7]


def test_all_types_together_fit_a_record_of_the_decision_log(tmp_path: Path) -> None:
    large = {"channels": ["in_app"], "schema": {"description": "x" * 16_000}}
    with running(tmp_path) as alone:
        told = [publish(alone, f"large{number}", large) for number in range(66)]
        assert [each.status for each in told] == [200] * 65 + [400]
        assert told[-1].paths == {"table"}


def test_a_confirmation_of_what_is_overtaken_changes_nothing(gateway: Gateway) -> None:
    first = publish(gateway, "password_reset", {"ttl_ms": 60_000}).json["id"]
    other = publish(gateway, "password_reset", {"ttl_ms": 90_000}).json["id"]
    assert first != other
    for name in (other, first):
        assert gateway.call("POST", f"/v1/approvals/{name}", {"decision": "confirm"}, key="key-admin").status == 200
    shown = gateway.get("/v1/types/password_reset", key="key-ops").json
    assert (shown["version"], shown["profile"]["ttl_ms"]) == (1, 90_000)
    assert gateway.values("audit")[-1]["after"] == {"not_done": "another version was published since"}


def test_what_is_published_outlives_a_kill_and_reaches_the_other_gateway(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with running(tmp_path / "one") as one, running(tmp_path / "other", log=str(tmp_path / "one")) as other:
        assert publish(one, "wave", {"channels": ["in_app"]}).status == 200
        assert one.process is not None
        one.process.send_signal(signal.SIGKILL)
        assert one.stop() == -signal.SIGKILL
        wait_for(lambda: other.post(event("wave", object="w")).status == 202, what="the other one takes it")
        one.start()
        assert one.post(event("wave")).status == 202
