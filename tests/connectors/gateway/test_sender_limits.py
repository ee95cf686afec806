"""Limits that are asked for and granted, on real gateways: obeyed without a restart, P0's by two people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.console import Browser
from helpers.gateway import Gateway, Reply, running
from helpers.waiting import wait_for


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("limits")) as started:
        yield started


def change(gateway: Gateway, sender: str, per_second: Any, *, key: str) -> Reply:
    body = {"per_second": per_second, "reason": "the sale"}
    return gateway.call("PUT", f"/v1/senders/{sender}/limit", body, key=key)


WINDOW_S = 1.05
"""Between two askings: one that comes sooner takes what is left of the window, and the next ones too, for ever."""


def taken(gateway: Gateway, events: int) -> int:
    """How many of one batch are within the limit of sender `slow`, in a second of its own."""
    batch = [{"type": "like", "actor": f"a{number}", "target": "bob", "object": "o"} for number in range(events)]
    answers = gateway.call("POST", "/v1/notifications/batch", batch, key="key-slow").json
    return 0 if isinstance(answers, dict) else sum(each["status"] in (200, 202) for each in answers)


def test_who_asks_is_seen_and_what_is_granted_is_obeyed_at_once_also_by_others(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with running(tmp_path / "one") as one, running(tmp_path / "other", log=str(tmp_path / "one")) as other:
        assert taken(one, 8) == 5, "as configured"
        asked = change(one, "slow", 8, key="key-slow")
        assert (asked.status, asked.json["per_second"], asked.json["asked"]) == (200, 5, 8)
        wait_for(lambda: taken(one, 8) == 5, what="asking changes nothing", every_s=WINDOW_S)
        granted = change(one, "slow", 7, key="key-ops").json
        assert (granted["per_second"], granted["asked"], granted["granted_by"]) == (7, None, "ops")
        for each in (one, other):
            wait_for(lambda each=each: taken(each, 8) == 7, what="the granted limit", every_s=WINDOW_S)
        one.stop()
        one.start()
        wait_for(lambda: taken(one, 8) == 7, what="the granted limit after a restart", every_s=WINDOW_S)
        acts = [(act["act"], act["by"], act["after"]["per_second"]) for act in one.values("audit")]
        assert acts == [("ask_limit", "slow", 8), ("limit", "ops", 7)]


def test_a_sender_asks_for_itself_alone_and_for_a_number(gateway: Gateway) -> None:
    assert change(gateway, "auth", 500, key="key-shop").status == 403
    assert gateway.get("/v1/senders/auth/limit", key="key-shop").status == 403
    assert gateway.get("/v1/senders/shop/limit", key="key-shop").json["asked"] is None
    assert change(gateway, "shop", 0, key="key-shop").paths == {"per_second"}
    assert change(gateway, "nobody", 5, key="key-ops").status == 404


def test_p0_needs_a_second_person_and_its_gateway_obeys(gateway: Gateway, tmp_path: Path) -> None:
    path = "/v1/senders/auth/limit"
    before = gateway.get(path, key="key-ops").json["per_second"]
    proposed = change(gateway, "auth", 3, key="key-ops")
    assert (proposed.status, proposed.json["act"], proposed.json["state"]) == (202, "limit", "proposed")
    assert gateway.get(path, key="key-ops").json["per_second"] == before
    decide = f"/v1/approvals/{proposed.json['id']}", {"decision": "confirm"}
    assert gateway.call("POST", *decide, key="key-ops").status == 403
    batch = [{"type": "otp", "target": "bob", "payload": {"code": f"{code}"}} for code in range(123450, 123455)]
    with running(tmp_path, kind="p0", log=str(gateway.directory)) as p0:

        def taken_there() -> int:
            answers = p0.call("POST", "/v1/notifications/batch", batch, key="key-p0").json
            return 0 if isinstance(answers, dict) else sum(each["status"] == 202 for each in answers)

        assert taken_there() == 5
        assert gateway.call("POST", *decide, key="key-admin").json["done"] is True
        wait_for(lambda: taken_there() == 3, what="the P0 gateway obeys", every_s=WINDOW_S)
    assert gateway.get(path, key="key-p0").json["per_second"] == 3


def test_somebody_asks_on_the_page_and_ops_grant_it_there(gateway: Gateway) -> None:
    support, ops = Browser(gateway), Browser(gateway)
    assert support.sign_in("key-support").status == 303
    assert ops.sign_in("key-ops").status == 303
    form = {"sender": "slow", "per_second": "40", "reason": "a launch"}
    assert support.submit("/console/senders", "/console/senders", form).status == 303
    assert "40 asked for by support: a launch" in ops.get("/console/senders").words
    assert (
        ops.submit("/console/senders", "/console/senders", {**form, "per_second": "30", "reason": "let us see"}).status
        == 303
    )
    assert "30 granted by ops" in support.get("/console/senders").words
    assert ops.submit("/console/senders", "/console/senders", {**form, "per_second": "many"}).status == 400
