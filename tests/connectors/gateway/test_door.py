"""The sender door: three records that nothing can process close it, at every gateway, until ops opens it."""

import itertools
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.gateway import Gateway, Reply, running
from helpers.letters import letter
from helpers.waiting import wait_for

from connectors.gateway.door import RecentLetters
from flows.commands.kill import kill
from state.model.settings import Kill

_numbers = itertools.count()


def like() -> dict[str, Any]:
    return {"type": "like", "actor": "ann", "target": "bob", "object": f"photo{next(_numbers)}"}


OTP = {"type": "otp", "target": "bob", "payload": {"code": "123456"}}


def answered(gateway: Gateway, status: int, key: str = "key-shop") -> Reply:
    """Post until it is answered so."""
    replies: list[Reply] = []

    def is_so() -> bool:
        replies.append(gateway.post(like(), key=key))
        return replies[-1].status == status

    wait_for(is_so, what=lambda: f"{status}, still {replies[-1].status}", every_s=0.02)
    return replies[-1]


def doors(gateway: Gateway) -> list[tuple[str, bool]]:
    return [(value["value"], value["on"]) for value in gateway.values("control") if value["scope"] == "door"]


def test_three_letters_of_one_sender_close_it_at_every_gateway_until_ops_lifts(tmp_path: Path) -> None:
    with running(tmp_path) as one, running(tmp_path, kind="p0") as two:
        assert one.post(like()).status == 202
        one.log.append([letter("shop", 1), letter("shop", 2, partition=1), letter("shop", 2, partition=1)])
        one.log.append([letter("shop", 3, "failed"), letter(None, 4), letter("other", 5)])
        time.sleep(0.6)
        assert one.post(like()).status == 202, "two letters and a repeat do not close"
        one.log.append([letter("shop", 6, "killed")])
        refused = answered(one, 403)
        assert "carillon kill --door shop --lift" in refused.json["detail"]
        assert "could not be processed" in refused.json["reason"]
        assert one.call("POST", "/v1/notifications/batch", [like(), like()]).status == 403
        answered(two, 403)
        assert one.post(like(), key="key-other").status == 202, "another sender is not concerned"
        assert two.post(OTP, key="key-p0").status == 202
        accepted = len(one.records("events.p1")) + len(one.records("events.p2"))
        assert set(doors(one)) == {("shop", True)}
        assert len(doors(one)) <= 2, "each gateway appends it once at most"

        one.stop()  # it is closed after a restart too, from the first post on
        one.start()
        assert one.post(like()).status == 403
        assert one.get("/v1/notifications/unknown").status == 404, "only posts are refused"

        answers = list(kill(one.log, tmp_path / "run", Kill("door", "shop", on=False), deadline=timedelta(seconds=40)))
        assert {answer.process for answer in answers} == {"gateway", "p0-gateway"}
        assert all(answer.after is not None for answer in answers)
        assert one.post(like()).status == 202
        one.stop()  # the letters of before, read again, do not close it again
        one.start()
        time.sleep(0.6)
        assert one.post(like()).status == 202
        assert doors(one)[-1] == ("shop", False)
        assert len(one.records("events.p1")) + len(one.records("events.p2")) == accepted + 2

        one.log.append([letter("shop", number) for number in (11, 12, 13)])
        answered(one, 403)
        assert one.get("/metrics").body.count(b'carillon_gateway_door_refused_total{lane="ordinary"} ') == 1


def test_ops_close_and_open_a_door_by_http_and_old_letters_do_not_count(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        gateway.log.append([letter("shop", 1, age_ms=90_000), letter("shop", 2, age_ms=61_000), letter("shop", 3)])
        time.sleep(0.6)
        assert gateway.post(like()).status == 202
        closing = {"scope": "door", "value": "shop", "reason": "floods us"}
        assert gateway.call("POST", "/v1/ops/kill", closing, key="key-ops").status == 200
        assert answered(gateway, 403).json["reason"] == "floods us"
        assert gateway.call("POST", "/v1/ops/kill", closing | {"on": False}, key="key-ops").status == 200
        answered(gateway, 202)


@pytest.mark.parametrize(
    ("ages_s", "closes"),
    [([0, 0, 0], True), ([0, 30, 59], True), ([0, 30, 60], False), ([70, 30, 0], False), ([100, 95, 50, 0], True)],
)
def test_the_minute_rolls_by_the_letters_own_times_in_any_order(ages_s: list[int], closes: bool) -> None:
    for order in (ages_s, ages_s[::-1]):
        letters = RecentLetters(["shop"])
        for number, age_s in enumerate(order):
            letters.add("shop", f"l{number}", 1_000_000 - age_s * 1000)
            letters.add("nobody", f"l{number}", 1_000_000)
        assert letters.too_many("shop", -1) is closes
        assert not letters.too_many("shop", 1_000_000)
        assert not letters.too_many("nobody", -1)
