"""The JSON Schema of a type's payload: what it refuses, what it tells, and which schemas cannot be used."""

import json
import time
from typing import Any

import pytest

from operators.admit import field_errors
from operators.payload_schema import ERRORS_MAX, check_schemas, schema_errors
from state.model.errors import ConfigurationError
from state.model.registry import load_registry

SCHEMA = json.dumps(
    {
        "required": ["order"],
        "additionalProperties": False,
        "properties": {
            "order": {"type": "string", "pattern": "^[A-Z]{2}$"},
            "lines": {"type": "array", "items": {"properties": {"n": {"maximum": 9}}}},
        },
    }
)
REGISTRY = load_registry({"shipped": {"schema": SCHEMA}, "bulk_*": {"schema": SCHEMA}})


@pytest.mark.parametrize(
    ("payload", "paths"),
    [
        ({"order": "AB"}, []),
        ({}, ["payload.order"]),
        (None, ["payload.order"]),
        ({"order": 5}, ["payload.order"]),
        ({"order": "AB", "colour": "red"}, ["payload.colour"]),
        ({"order": "AB", "lines": [{"n": 1}, {"n": 2**90}]}, ["payload.lines[1].n"]),
    ],
)
def test_every_fault_is_named_with_its_field(payload: dict[str, Any] | None, paths: list[str]) -> None:
    assert [error.path for error in schema_errors(SCHEMA, payload)] == paths


@pytest.mark.parametrize("name", ["shipped", "bulk_may"])
def test_an_event_is_refused_for_its_types_schema(name: str) -> None:
    event = {"type": name, "target": "ann", "payload": {"order": "AB"}}
    assert field_errors(event, REGISTRY) == []
    assert [error.path for error in field_errors({**event, "payload": {"order": "abc"}}, REGISTRY)] == ["payload.order"]


def test_a_retraction_and_a_type_without_a_schema_are_not_checked() -> None:
    assert field_errors({"type": "shipped", "target": "ann", "retracts": True}, REGISTRY) == []
    assert schema_errors("", {"anything": 1}) == []


def test_a_field_that_text_and_schema_need_is_named_once() -> None:
    registry = load_registry({"otp": {"schema": '{"required": ["code"]}'}})
    errors = field_errors({"type": "otp", "target": "ann", "payload": {}}, registry)
    assert [error.path for error in errors] == ["payload.code"]


def test_a_fault_says_what_the_schema_asks_for() -> None:
    rules: dict[str, Any] = {
        "a": {"type": ["string", "null"], "maxLength": 3}, "b": {"enum": ["x", 5]}, "c": {"minimum": 2},
        "d": {"maxItems": 0}, "e": {"anyOf": [{"type": "string"}]},
    }  # fmt: skip
    schema = json.dumps({"properties": rules})
    said = {
        error.path: error.problem for error in schema_errors(schema, {"a": "four", "b": 6, "c": 1, "d": ["s"], "e": 5})
    }
    assert said == {
        "payload.a": "has more than 3 characters", "payload.b": "is none of x, 5", "payload.c": "is less than 2",
        "payload.d": "has more than 0 items", "payload.e": "is not as the type's schema says: anyOf",
    }  # fmt: skip
    assert [error.problem for error in schema_errors(schema, {"a": 4})] == ["is no null or string"]


def test_no_fault_repeats_the_value() -> None:
    assert "s3cret" not in repr(schema_errors(SCHEMA, {"order": "s3cret"}))


def test_no_more_faults_are_named_than_one_can_read() -> None:
    assert len(schema_errors(SCHEMA, {"order": "AB", **{f"f{n}": n for n in range(500)}})) == ERRORS_MAX


def test_a_pattern_takes_time_in_proportion_to_the_text() -> None:
    schema = '{"properties": {"a": {"pattern": "^(a+)+$"}}}'
    begin = time.process_time()
    assert schema_errors(schema, {"a": "a" * 16_000 + "b"})
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    "schema",
    ["{", "[]", '{"type": 3}', '{"$ref": "http://127.0.0.1:1/x"}', '{"$ref": "file:///x"}', '{"pattern": "(?=a)b"}'],
)
def test_a_schema_that_cannot_be_used_names_its_key(schema: str) -> None:
    with pytest.raises(ConfigurationError, match=r"types\.shipped\.schema: .*[a-z]"):
        check_schemas(load_registry({"shipped": {"schema": schema}}))


def test_a_fault_of_a_schema_says_where_it_is() -> None:
    schema = '{"properties": {"order": {"type": 3}}}'
    with pytest.raises(ConfigurationError, match="used: /properties/order/type "):
        check_schemas(load_registry({"shipped": {"schema": schema}}))
