"""What may be published of a type, and by whom (RULES 7)."""

from __future__ import annotations

from typing import Any

import pytest

from operators.type_changes import sender_errors, type_errors
from state.model.admission import Sender
from state.model.registry import TypeProfile, load_registry

DAY = 86_400_000
OWN: dict[str, Any] = {"klass": "P1", "channels": ["in_app"], "owners": ["shop"]}
SCHEMA = '{"type":"object","properties":{"code":{"type":"string"}}}'
REGISTRY = load_registry({"order": {**OWN, "schema": SCHEMA}})
SHOP = Sender("shop")


@pytest.mark.parametrize(
    ("name", "table", "paths"),
    [
        ("order", {"channels": ["push"], "schema": SCHEMA}, []),
        ("order", {"window_ms": 8 * DAY, "schema": SCHEMA}, ["window_ms"]),
        ("order", {"schema": ""}, ["schema.type", "schema.properties.code"]),
        ("order", {"klass": "P0", "pinned": True, "schema": SCHEMA}, ["pinned"]),
        ("otp", {"category": "social"}, ["category"]),
        ("otp", {"klass": "P1"}, ["table.klass"]),
        ("wave", {"channels": ["fax"]}, ["table.channels"]),
        ("wave", {"colour": "red"}, ["table.colour"]),
        ("wave", {"channels": ["email"], "to_only": ["email"]}, ["channels"]),
        ("wave", {"schema": "no JSON"}, ["table.schema"]),
    ],
)
def test_a_table_is_refused_by_the_field_that_is_wrong(name: str, table: dict[str, Any], paths: list[str]) -> None:
    assert [error.path for error in type_errors(name, table, REGISTRY, 7 * DAY)] == paths


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"class": "P1"}, ("table.class", "is not known", "write klass, or remove it")),
        ({"colour": "red"}, ("table.colour", "is not known", "remove it, or correct its spelling")),
        ({"ttl_ms": "1 h"}, ("table.ttl_ms", "is no integer", "send an integer")),
        ({"owners": [1]}, ("table.owners", "is no text", "send text")),
        ({"ttl_ms": -1}, ("table.ttl_ms", "is negative", "correct the table")),
        ({"channels": ["fax"]}, (
            "table.channels", "fax is not known", "use push, sms, email, webhook, chat, in_app once each",
        )),
        ({"fan_out": ["direct"]}, (
            "table.fan_out", "direct is not known", "use DIRECT, FOLLOWERS, SEGMENT, BROADCAST once each",
        )),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_in_words_of_its_own(
    table: dict[str, Any], said: tuple[str, str, str]
) -> None:
    (error,) = type_errors("wave", table, REGISTRY, 7 * DAY)
    assert (error.path, error.problem, error.remedy) == said


def test_a_schema_follows_the_one_that_was_taken_back_beside_the_one_in_force() -> None:
    taken_back = '{"type":"object","properties":{"size":{"type":"string"}}}'
    errors = type_errors("wave", {"schema": SCHEMA}, REGISTRY, 7 * DAY, taken_back)
    assert [error.path for error in errors] == ["schema.properties.size"]
    errors = type_errors("order", {"schema": ""}, REGISTRY, 7 * DAY, SCHEMA)
    assert [error.path for error in errors] == ["schema.type", "schema.properties.code"], "each is told once"


def profile(name: str, **table: Any) -> TypeProfile:
    return load_registry({name: {**OWN, **table}}).profile(name)


@pytest.mark.parametrize(
    ("name", "after", "paths"),
    [
        ("wave", profile("wave"), []),
        ("wave", None, []),
        ("wave*", profile("wave"), ["type"]),
        ("wave", profile("wave", klass="P0"), ["klass"]),
        ("wave", profile("wave", mandatory=True), ["mandatory"]),
        ("wave", profile("wave", klass="P2"), ["enabled"]),
        ("wave", profile("wave", klass="P2", enabled=False), []),
        ("wave", profile("wave", owners=["bank"]), ["owners"]),
        ("otp", None, ["type"]),
    ],
)
def test_a_sender_publishes_its_own_and_passes_over_nobody(
    name: str, after: TypeProfile | None, paths: list[str]
) -> None:
    before = REGISTRY.profile(name.removesuffix("*"))
    assert [error.path for error in sender_errors(name, SHOP, before, after)] == paths


def test_a_sender_makes_no_type_of_a_class_that_it_does_not_send() -> None:
    only_p2 = SHOP._replace(classes=frozenset({"P2"}))
    assert [error.path for error in sender_errors("wave", only_p2, REGISTRY.profile("wave"), profile("wave"))] == [
        "klass"
    ]
    assert [error.path for error in sender_errors("order", SHOP, profile("order", owners=["bank"]), None)] == ["type"]
