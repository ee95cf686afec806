"""What a retraction has decide hand to deliver: worked by hand from RULES 3.F."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.deciding import Decided

from state.model.delivery import Withdrawal

PHONE = {"kind": "endpoint", "ts": 0, "user": "u", "channel": "push", "id": "phone", "platform": "ios", "address": "a1"}


def liked(ts: int, event_id: str, actor: str, **changes: Any) -> dict[str, Any]:
    like = {"kind": "event", "ts": ts, "event_id": event_id, "type": "like", "actor": actor, "target": "u"}
    return {**like, "object": "photo", **changes}


def withdrawals(*lines: dict[str, Any]) -> list[Withdrawal]:
    decided = Decided(*lines, {"kind": "tick", "ts": 200_000})
    return [each for out in decided.outputs for each in out.withdrawals]


def test_what_was_sent_may_be_on_a_screen() -> None:
    (asked,) = withdrawals(PHONE, liked(1_000, "e1", "bob"), liked(2_000, "r1", "bob", retracts=True))
    assert (asked.event_id, asked.user, asked.type, asked.object, asked.actor) == ("r1", "u", "like", "photo", "bob")
    assert (asked.priority, asked.decided_at, asked.parent_event_id) == ("P1", 2_000, None)
    assert [(device.id, device.address) for device in asked.devices] == [("phone", "a1")]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([PHONE, liked(1_000, "e1", "bob"), liked(2_000, "e2", "eve"),
                      liked(3_000, "r1", "eve", retracts=True)], id="it still waited"),
        pytest.param([liked(1_000, "e1", "bob"), liked(2_000, "r1", "bob", retracts=True)], id="nothing takes push"),
        pytest.param([PHONE, liked(1_000, "e1", "bob")], id="nothing is taken back"),
    ],
)  # fmt: skip
def test_nothing_is_withdrawn_where(lines: list[dict[str, Any]]) -> None:
    assert withdrawals(*lines) == []


def test_a_post_that_is_taken_back_may_be_on_the_screens_of_all_its_readers() -> None:
    post = {"kind": "event", "event_id": "p1", "type": "new_post", "actor": "bob", "fan_out_type": "FOLLOWERS"}
    follows = {"kind": "follow", "ts": 0, "follower": "u", "followee": "bob"}
    (asked,) = withdrawals(
        PHONE, follows, post | {"ts": 1_000}, post | {"ts": 2_000, "event_id": "r1", "retracts": True}
    )
    assert (asked.user, asked.type, asked.actor, asked.object) == ("u", "new_post", "bob", None)
