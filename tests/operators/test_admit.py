"""What makes an event 400: what its members ask of each other and of the registry, without a gateway around."""

from typing import Any

import pytest

from operators.admit import field_errors
from state.model.registry import load_registry

REGISTRY = load_registry({"alarm": {"klass": "P0", "fan_out": ["DIRECT", "SEGMENT", "FOLLOWERS"]}})


@pytest.mark.parametrize(
    ("event", "paths"),
    [
        ({"type": "alarm", "target": "u"}, set()),
        ({"type": "alarm", "fan_out_type": "SEGMENT", "segment": "s"}, {"fan_out_type"}),
        ({"type": "alarm", "fan_out_type": "SEGMENT", "segment": "s", "priority": "P1"}, set()),
        ({"type": "newsletter", "fan_out_type": "SEGMENT", "segment": "s", "priority": "P0"}, set()),
    ],
)
def test_class_p0_goes_to_one_person(event: dict[str, Any], paths: set[str]) -> None:
    assert {error.path for error in field_errors(event, REGISTRY)} == paths


CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("event", "paths"),
    [
        ({"type": "reminder", "payload": {"text": f"is {CARD} yours?"}}, {"payload.text"}),
        ({"type": "mention", "payload": {"text": "hi", "actor_name": "123-45-6789"}}, {"payload.actor_name"}),
        ({"type": "like", "payload": {"object_label": CARD, "order": "5555 5555 5555 4444"}}, {"payload.object_label"}),
        ({"type": "reminder", "payload": {"title": CARD, "body": "pay"}}, {"payload.title"}),
        ({"type": "alarm", "payload": {"body": CARD}}, {"payload.body"}),
        ({"type": "payment_confirmation", "payload": {"amount": 4111111111111111}}, {"payload.amount"}),
        ({"type": "payment_confirmation", "payload": {"amount": "9 EUR", "card": CARD}}, set()),
        ({"type": "mention", "payload": {"text": CARD}}, set()),
        ({"type": "mention", "payload": {"text": "hi", "url": "https://a.example/4111111111111111"}}, set()),
        ({"type": "reminder", "payload": {"text": CARD}, "retracts": True}, set()),
        ({"type": "otp", "payload": {"code": "123-45-6789"}}, set()),
    ],
)
def test_a_number_that_a_lock_screen_would_show(event: dict[str, Any], paths: set[str]) -> None:
    assert {error.path for error in field_errors({"target": "u", **event}, REGISTRY)} == paths
