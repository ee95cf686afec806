"""Text messages that may not go, and what those cost that went: over lanes and simulated providers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from helpers.feeding import PARTITIONS, System, addresses, now_ms
from helpers.lanes_in_process import read, running_lanes
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.sms.twilio import TwilioChannel
from flows.steps.sending.texts import TextMessages
from operators.sms_limits import Destination, SmsGuard, SmsRules
from state.model.envelope import schema_of
from state.model.keys import key_group, partition_of_group

USER = "u1"
LANE = partition_of_group(key_group(USER), PARTITIONS)
MAILBOX = [{"channel": "email", "devices": addresses([("m", "ann@example.org")])}]


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"carillon_sms_{name}_total", labels) or 0.0


def delivered(
    system: System, sandbox: Sandbox, destinations: Mapping[str, Destination], emissions: list[Any], **rules: Any
) -> list[dict[str, Any]]:
    """The ends of these emissions, in their order."""
    guard = SmsGuard(SmsRules(destinations=destinations, others=Destination(), **rules))
    channels: dict[str, Any] = {
        "sms": TwilioChannel(sandbox.options.twilio, clock_ms=now_ms),
        "email": SmtpChannel(sandbox.options.smtp, clock_s=lambda: now_ms() / 1_000),
    }
    told: list[dict[str, Any]] = []
    with running_lanes(system, channels=channels, texts=TextMessages(guard)) as (lanes, _):
        lane = lanes.lane(LANE)
        for emission in emissions:
            before = system.log.end_offset(emission.topic, LANE)
            system.feed([emission])
            lane.accept(read(system, LANE, emission.topic, before))

            def over() -> bool:
                ends = [each for each in lane.collect() if schema_of(each.headers) == "delivery/1+json"]
                told.extend(json.loads(each.value) for each in ends)
                return not lane.open

            wait_for(over)
    return told


def text(system: System, number: str, **changes: Any) -> Any:
    return system.emission(USER, "sms", [("s", number)], valid_until=now_ms() + 600_000, **changes)


@pytest.mark.parametrize(
    ("destination", "reason", "by_text"),
    [(Destination(allowed=False), "sms_destination", 0), (Destination(per_h=1), "sms_limit", 1)],
)
def test_what_may_not_go_ends_suppressed_or_takes_its_next_channel(
    system: System, sandbox: Sandbox, destination: Destination, reason: str, by_text: int
) -> None:
    before = count("refused", destination="+1415", reason=reason)
    emissions = [text(system, "+14155550151") for _ in range(by_text)]
    emissions += [text(system, "+14155550152"), text(system, "+14155550153", rest=MAILBOX)]
    told = delivered(system, sandbox, {"+1415": destination}, emissions)[by_text:]
    found = [(each["channel"], each["outcome"], each["reason"], each["fell_back_to"]) for each in told]
    assert found[0] == ("sms", "SUPPRESSED", reason, None)
    assert set(found[1:]) == {("sms", "FELL_BACK", reason, "email"), ("email", "DELIVERED", None, None)}
    assert [each["attempts"] for each in told if each["channel"] == "sms"] == [[], []]
    assert len(sandbox.journal("twilio")) == by_text
    assert count("refused", destination="+1415", reason=reason) == before + 2


def test_a_try_that_follows_another_is_counted_once(system: System, sandbox: Sandbox) -> None:
    told = delivered(system, sandbox, {}, [text(system, "+19995031555", priority="P0")], block_per_h=1)
    assert [each["outcome"] for each in told] == ["DELIVERED"]
    assert len(told[0]["attempts"]) == 2


def test_what_was_taken_is_counted_by_parts_and_price(system: System, sandbox: Sandbox) -> None:
    labels = {"provider": "twilio", "destination": "+1415"}
    before = count("parts", **labels), count("cost", **labels)
    emissions = [
        text(system, "+14155550161"),
        text(system, "+19994000162"),
        text(system, "+14155550163"),
    ]
    told = delivered(system, sandbox, {"+1415": Destination(price=0.5)}, emissions)
    assert [(each["outcome"], each.get("segments"), each.get("cost")) for each in told] == [
        ("DELIVERED", 1, 0.5), ("DEAD_LETTER", None, None), ("DELIVERED", 1, 0.5),
    ]  # fmt: skip
    assert (count("parts", **labels), count("cost", **labels)) == (before[0] + 2, before[1] + 1.0)
