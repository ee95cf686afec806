"""What the judge makes of P0's decision log."""

from __future__ import annotations

import json

import pytest
from crash.left_behind import P0Decision
from crash.model_input import SettingTopics, p0_simulations, registry_of
from reference.model import simulate

from connectors.log.interface import Record

EVENT = {
    "event_id": "e1", "type": "otp", "priority": "P0", "actor": None, "target": "ann", "fan_out_type": "DIRECT",
    "object": None, "segment": None, "payload": {"code": "1"}, "to": None, "sender_id": "s", "retracts": False,
    "parent_event_id": None, "ttl_ms": 600_000, "ingested_at": 1_000,
}  # fmt: skip
ADDRESSES = [
    {"user": "ann", "channel": "push", "id": "d1", "state": "active", "platform": "ios", "registered_at": 1},
    {"user": "ann", "channel": "sms", "id": "s1", "state": "active", "registered_at": 1},
]


@pytest.mark.parametrize(
    ("passed", "channel", "reason"), [({}, "push", None), ({"e1": ["push"]}, "sms", "passed_over push")]
)
def test_a_code_that_passed_a_channel_over_is_judged_by_what_was_away(
    passed: dict[str, list[str]], channel: str, reason: str | None
) -> None:
    """P0 hears out of band what is away; the drill of an outage failed where codes went round it."""
    records = [
        Record("endpoints", 0, offset, 1, b"ann", json.dumps(body).encode(), ())
        for offset, body in enumerate(ADDRESSES)
    ]
    decision = P0Decision(0, 0, 2_000, EVENT, {"endpoints/0": 2})
    (lines,) = p0_simulations([decision], SettingTopics({"endpoints": records}), passed).values()
    with registry_of({"otp": {"policy": "first"}}):
        (found,) = [line for line in simulate(lines, inbox=True) if line["kind"] == "decision"]
    assert (found["channels"], found["reason"]) == ([channel], reason)
