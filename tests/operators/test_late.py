"""What became true since an emission: worked by hand from RULES 3.A, 3.B, 3.D.1 and 3.F."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from operators.late import EmittedEvent, changed_outcome, is_retracted, remaining_items, sent_items, with_items
from operators.outcomes import FinalOutcome, Hold
from state.model.delivery import DigestItem, ToDeliver
from state.model.registry import load_registry

REGISTRY = load_registry()
NOON = 1_767_268_800_000  # 2026-01-01 12:00 UTC
NIGHT = {"enabled": True, "start": "11:00", "end": "13:30", "timezone": "UTC"}


def emission(**changes: Any) -> ToDeliver:
    values: dict[str, Any] = {
        "emission_id": "em", "user": "u", "type": "mention", "object": "thread1", "first_event_id": "e1",
        "priority": "P1", "channel": "push", "devices": (), "actors": ("ada",), "actor_count": 1, "decided_at": NOON,
        "ingested_at": NOON, "valid_until": NOON + 3_600_000,
    }  # fmt: skip
    return ToDeliver(**(values | changes))


def suppressed(reason: str) -> FinalOutcome:
    return FinalOutcome("SUPPRESSED", reason)


@pytest.mark.parametrize(
    ("document", "changes", "expected"),
    [
        ({}, {}, None),
        ({"master": False}, {}, suppressed("master_off")),
        ({"master": False}, {"type": "security_alert", "priority": "P0"}, None),
        ({"types": {"mention": {"enabled": False}}}, {}, suppressed("type_off")),
        ({"types": {"like": {"enabled": False}}}, {}, None),
        ({"types": {"otp": {"enabled": False}}}, {"type": "otp", "priority": "P0"}, None),
        ({}, {"type": "newsletter", "priority": "P2", "channel": "email"}, suppressed("type_off")),  # opt-in
        ({"muted": {"actors": ["ada"]}}, {}, suppressed("muted")),
        ({"muted": {"actors": ["ada"]}}, {"actors": ("ada", "bob"), "actor_count": 2}, None),
        ({"muted": {"actors": ["ada", "bob"]}}, {"actors": ("ada", "bob"), "actor_count": 2}, suppressed("muted")),
        ({"muted": {"actors": ["ada", "bob", "cy"]}}, {"actors": ("ada", "bob", "cy"), "actor_count": 4}, None),
        ({"muted": {"objects": ["thread1"]}}, {}, suppressed("muted")),
        ({"types": {"mention": {"channels": ["in_app", "email"]}}}, {}, suppressed("no_channel")),
        ({"unsubscribed": {"push": ["social"]}}, {}, suppressed("no_channel")),
        ({"unsubscribed": {"push": ["security"]}}, {"type": "security_alert", "priority": "P0"}, None),
        ({"quiet_hours": NIGHT}, {}, Hold(NOON + 90 * 60_000, own_wait=True)),
        ({"quiet_hours": NIGHT | {"enabled": False}}, {}, None),
        ({"quiet_hours": NIGHT}, {"type": "otp", "priority": "P0"}, None),
        (
            {"quiet_hours": NIGHT, "types": {"promotion": {"enabled": True}}},
            {"type": "promotion", "priority": "P2"},
            suppressed("quiet_hours"),
        ),
    ],
)
def test_a_changed_document_is_asked(document: dict[str, Any], changes: dict[str, Any], expected: object) -> None:
    asked = emission(**changes)
    assert changed_outcome(asked, asked.channel, document, REGISTRY, NOON) == expected


def test_a_digest_goes_while_one_of_its_items_may() -> None:
    items = tuple(DigestItem(f"e{n}", name, "ada", "o") for n, name in enumerate(("comment", "reply")))
    digest = emission(type="digest", object=None, channel="email", digest_items=items)
    one_off = {"types": {"comment": {"enabled": False}}}
    both_off = {"types": {name: {"enabled": False} for name in ("comment", "reply")}}
    assert changed_outcome(digest, "email", one_off, REGISTRY, NOON) is None
    assert changed_outcome(digest, "email", both_off, REGISTRY, NOON) == suppressed("type_off")


def test_an_emission_is_retracted_when_all_of_its_events_are() -> None:
    asked = emission(actors=("ada", "bob"), actor_count=2, count=2, items=(("e1", "ada"), ("e2", "bob")))
    assert sent_items(asked) == [
        EmittedEvent("e1", "mention", "thread1", "ada"),
        EmittedEvent("e2", "mention", "thread1", "bob"),
    ]
    assert is_retracted(asked, lambda _item: True)
    assert not is_retracted(asked, lambda item: item.actor == "ada")


def test_an_emission_whose_record_does_not_name_all_of_its_events_goes() -> None:
    assert sent_items(emission(count=5)) is None
    assert not is_retracted(emission(count=5), lambda _item: True)


def test_a_digest_that_names_only_some_of_its_events_goes() -> None:
    items = (DigestItem("e1", "mention", "ada", "thread1"),)
    digest = emission(type="digest", object=None, digest_items=items)
    assert sent_items(digest) == [EmittedEvent("e1", "mention", "thread1", "ada")]
    assert sent_items(msgspec.structs.replace(digest, count=4_001)) is None


@pytest.mark.parametrize(
    ("actor", "parent", "left"),
    [
        ("ada", None, [("e2", "bob"), ("e4", None)]),
        ("ada", "e3", [("e1", "ada"), ("e2", "bob"), ("e4", None)]),
        ("bob", "e3", [("e1", "ada"), ("e2", "bob"), ("e3", "ada"), ("e4", None)]),
        (None, None, [("e1", "ada"), ("e2", "bob"), ("e3", "ada")]),
    ],
)
def test_what_a_retraction_leaves_on_a_screen(
    actor: str | None, parent: str | None, left: list[tuple[str, str | None]]
) -> None:
    shown = (("e1", "ada"), ("e2", "bob"), ("e3", "ada"), ("e4", None))
    assert list(remaining_items(shown, actor, parent)) == left


def test_an_event_without_an_actor_can_be_taken_back() -> None:
    assert sent_items(emission(actors=(), actor_count=0)) == [EmittedEvent("e1", "mention", "thread1", None)]


@pytest.mark.parametrize(
    ("left", "said", "actors", "event_id"),
    [
        ([0, 2], {"actor_name": "Ada", "text": "hers", "object_label": "photo"}, ("ada", "cid"), "e1"),
        ([1, 2], {"actor_name": "Bob", "object_label": "photo"}, ("bob", "cid"), "e2"),
        ([2], {"object_label": "photo"}, ("cid",), "e3"),
        ([3], {"actor_name": "Dan", "object_label": "photo"}, (), "e4"),
    ],
)
def test_what_is_left_says_nothing_of_who_took_his_back(
    left: list[int], said: dict[str, str], actors: tuple[str, ...], event_id: str
) -> None:
    items = (("e1", "ada"), ("e2", "bob"), ("e3", "cid"), ("e4", None))
    payload = {"actor_name": "Ada", "text": "hers", "object_label": "photo"}
    whole = emission(
        count=4,
        actors=("ada", "bob", "cid"),
        actor_count=3,
        items=items,
        names=("Ada", "Bob", None, "Dan"),
        payload=payload,
    )
    rest = with_items(whole, tuple(items[number] for number in left))
    assert (rest.payload, rest.actors, rest.first_event_id) == (said, actors, event_id)
    assert (rest.count, rest.actor_count, rest.emission_id) == (len(left), len(actors), whole.emission_id)
