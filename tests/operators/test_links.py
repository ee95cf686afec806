"""What the reader of a mail may leave."""

from __future__ import annotations

from typing import Any

import pytest

from operators.links import unsubscription
from state.model.delivery import DigestItem, ToDeliver
from state.model.registry import load_registry
from state.model.unsubscribe import Unsubscription

REGISTRY = load_registry({"order": {"category": "orders"}, "bill": {"category": "orders", "mandatory": True}})


def emission(type_name: str, **changes: Any) -> ToDeliver:
    values: dict[str, Any] = {
        "emission_id": "em_1", "user": "u1", "type": type_name, "object": None, "first_event_id": "e1",
        "priority": "P1", "channel": "email", "devices": (), "decided_at": 7, "valid_until": 9,
    }  # fmt: skip
    return ToDeliver(**(values | changes))


@pytest.mark.parametrize(
    ("type_name", "categories"),
    [
        ("newsletter", ("marketing",)),
        ("campaign_may", ("marketing",)),
        ("mention", ("social",)),
        ("order", ("orders",)),
    ],
)
def test_a_type_that_can_be_switched_off_has_a_link_for_its_category(type_name: str, categories: tuple[str]) -> None:
    found = unsubscription(emission(type_name), "email", REGISTRY)
    assert found == Unsubscription("u1", "email", categories, 7)


@pytest.mark.parametrize("type_name", ["otp", "password_reset", "security_alert", "account_lockout", "bill"])
def test_a_mandatory_type_has_none(type_name: str) -> None:
    assert unsubscription(emission(type_name), "email", REGISTRY) is None


def test_a_digest_is_left_with_everything_that_it_tells() -> None:
    items = tuple(DigestItem(event_id=f"e{n}", type=name) for n, name in enumerate(["reply", "bill", "order", "share"]))
    found = unsubscription(emission("digest", digest_items=items), "email", REGISTRY)
    assert found is not None
    assert found.categories == ("orders", "social")
    assert unsubscription(emission("digest", digest_items=items[1:2]), "email", REGISTRY) is None
