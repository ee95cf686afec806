"""Whom a campaign would reach, by the rules that decide."""

from typing import Any

import pytest
from msgspec.structs import replace

from operators.campaigns import outlook
from state.model.event import RawEvent, resolve
from state.model.registry import load_registry

REGISTRY = load_registry()
ON = {"types": {"newsletter": {"enabled": True}}}


@pytest.mark.parametrize(
    ("document", "addresses", "told"),
    [
        ({}, ("email",), ((), "type_off")),
        ({**ON, "master": False}, ("email",), ((), "master_off")),
        (ON, (), ((), "no_channel")),
        (ON, ("sms",), ((), "no_channel")),
        (ON, ("push", "push"), (("push",), None)),
        (ON, ("push", "email"), (("email",), None)),
        ({**ON, "unsubscribed": {"email": ["marketing"]}}, ("push", "email"), (("push",), None)),
        ({"types": {"newsletter": {"enabled": True, "channels": ["push"]}}}, ("email",), ((), "no_channel")),
        (None, ("email",), ((), "type_off")),
    ],
)
def test_an_outlook_is_what_preferences_and_addresses_say(document: Any, addresses: Any, told: Any) -> None:
    raw = RawEvent(type="newsletter", fan_out_type="SEGMENT", segment="s", object="sale", event_id="e", sender_id="c")
    event = resolve(raw, REGISTRY, ingested_at=0)
    assert outlook(event, REGISTRY.profile("newsletter"), document or {}, addresses) == told


def test_a_row_in_the_inbox_counts_beside_what_interrupts() -> None:
    raw = RawEvent(type="newsletter", fan_out_type="SEGMENT", segment="s", object="sale", event_id="e", sender_id="c")
    event = resolve(raw, REGISTRY, ingested_at=0)
    profile = replace(REGISTRY.profile("newsletter"), channels=("email", "in_app"), enabled=True)
    assert outlook(event, profile, {}, ("email",)) == (("email", "in_app"), None)
    assert outlook(event, profile, {}, ()) == (("in_app",), None)
