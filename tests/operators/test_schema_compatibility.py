"""Which payload schema may follow which (RULES 7), and that what is let through accepts what was accepted before."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from operators.payload_schema import schema_errors
from operators.schema_compatibility import compatibility_errors

BASE: dict[str, Any] = {
    "type": "object",
    "required": ["code"],
    "properties": {
        "code": {"type": "string", "maxLength": 8, "pattern": "^[0-9]+$"},
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "colour": {"enum": ["red", "blue"]},
        "parts": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "integer"}}}},
    },
    "additionalProperties": False,
}


def text(schema: Any) -> str:
    return msgspec.json.encode(schema).decode()


def changed(path: str, value: Any, base: dict[str, Any] = BASE) -> dict[str, Any]:
    """A copy in which one place has another value; None: it is gone."""
    copy: dict[str, Any] = msgspec.json.decode(text(base))
    *way, last = path.split("/")
    node: Any = copy
    for step in way:
        node = node[step]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return copy


def broken(newer: Any, older: Any = BASE) -> set[str]:
    errors = compatibility_errors(text(older), text(newer))
    assert all(each.remedy for each in errors)
    return {each.path for each in errors}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties/text", {"type": "string"}),
        ("properties/size/maximum", 10),
        ("properties/size/minimum", 0),
        ("properties/size/maximum", None),
        ("properties/code/pattern", None),
        ("properties/code/description", "six digits"),
        ("properties/colour/enum", ["red", "blue", "green"]),
        ("properties/colour/enum", None),
        ("additionalProperties", True),
        ("properties/parts/items/properties/name", {"type": "string"}),
        ("title", "A code"),
    ],
)
def test_what_only_adds_or_widens_may_follow(path: str, value: Any) -> None:
    assert broken(changed(path, value)) == set()


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("required", ["code", "size"], "schema.required.size"),
        ("required", [], "schema.required.code"),
        ("properties/size", None, "schema.properties.size"),
        ("properties/size/type", "number", "schema.properties.size.type"),
        ("properties/size/type", None, "schema.properties.size.type"),
        ("properties/size/maximum", 8, "schema.properties.size.maximum"),
        ("properties/size/minimum", 2, "schema.properties.size.minimum"),
        ("properties/size/multipleOf", 2, "schema.properties.size.multipleOf"),
        ("properties/code/maxLength", 7, "schema.properties.code.maxLength"),
        ("properties/code/minLength", 1, "schema.properties.code.minLength"),
        ("properties/code/pattern", "^[0-9]$", "schema.properties.code.pattern"),
        ("properties/colour/enum", ["red"], "schema.properties.colour.enum"),
        ("properties/size/enum", [1], "schema.properties.size.enum"),
        ("properties/parts/items/properties/id/type", "string", "schema.properties.parts.items.properties.id.type"),
        ("properties/parts/items", False, "schema.properties.parts.items.type"),
        ("allOf", [{"required": ["size"]}], "schema.allOf"),
    ],
)
def test_what_breaks_the_schema_before_is_named(path: str, value: Any, named: str) -> None:
    assert named in broken(changed(path, value))


def test_an_open_object_is_not_closed_and_a_first_schema_is_free() -> None:
    open_one = changed("additionalProperties", None)
    assert broken(BASE, open_one) == {"schema.additionalProperties.not"}
    assert broken(changed("additionalProperties", {"type": "string"}), open_one) == {"schema.additionalProperties.type"}
    assert compatibility_errors("", text(BASE)) == []
    assert {each.path for each in compatibility_errors(text(BASE), "")} >= {"schema.required.code", "schema.type"}


VALUES: list[Any] = [
    "1",
    "12345678",
    "123456789",
    "x",
    0,
    1,
    5,
    9,
    10,
    "red",
    "green",
    [],
    [{"id": 1}],
    [{"id": "1"}],
    None,
]
EDITS: list[tuple[str, Any]] = [
    ("required", ["code", "size"]), ("properties/size/maximum", 12), ("properties/size/maximum", 4),
    ("properties/size", None), ("properties/colour/enum", ["red", "blue", 1]), ("properties/colour/enum", ["red"]),
    ("properties/code/pattern", None), ("properties/code/maxLength", 9), ("properties/code/maxLength", 2),
    ("properties/parts/items", {}), ("properties/parts/items", {"type": "object"}), ("additionalProperties", True),
    ("properties/more", {"type": "integer"}), ("properties/size/type", "string"),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_whatever_may_follow_accepts_what_was_accepted(seed: int) -> None:
    rng = random.Random(seed)
    older, newer = text(BASE), BASE
    for path, value in rng.sample(EDITS, 3):
        try:
            newer = changed(path, value, newer)
        except KeyError:  # another edit took the place away
            continue
    follows = not compatibility_errors(older, text(newer))
    for _ in range(300):
        payload = {name: rng.choice(VALUES) for name in BASE["properties"] if rng.random() < 0.7}
        if follows and not schema_errors(older, payload):
            assert not schema_errors(text(newer), payload), (payload, newer)
