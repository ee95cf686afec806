"""What a type's JSON Schema asks of its payload (RULES 1): every fault with its field, never with its value.

A schema is compiled once for each text. It is checked without the network, and its patterns in linear time.
"""

import json
from collections.abc import Iterator
from functools import lru_cache, reduce
from itertools import islice
from typing import Any

import jsonschema_rs

from state.model.admission import FieldError, child_path
from state.model.errors import ConfigurationError
from state.model.registry import Registry

ERRORS_MAX = 100
"""Faults of one payload that are named."""

_REMEDY = "send what the type's schema asks for"
_SAID = {
    "type": "is no {types}", "enum": "is none of {options}", "const": "is not {expected_value}",
    "pattern": "does not match {pattern}", "format": "is no {format}",
    "minLength": "has fewer than {limit} characters", "maxLength": "has more than {limit} characters",
    "minimum": "is less than {limit}", "exclusiveMinimum": "is not more than {limit}",
    "maximum": "is more than {limit}", "exclusiveMaximum": "is not less than {limit}",
    "multipleOf": "is no multiple of {multiple_of}", "uniqueItems": "has an item twice",
    "minItems": "has fewer than {limit} items", "maxItems": "has more than {limit} items",
    "minProperties": "has fewer than {limit} members", "maxProperties": "has more than {limit} members",
}  # fmt: skip
"""By keyword what is wrong, with what the schema says of it."""
_SCHEMAS_WORDS_MAX = 200


def check_schemas(registry: Registry) -> None:
    """:raises ConfigurationError: a schema that is none, refers to another document or has a pattern of other than
    linear time; it names the key.
    """
    for name in registry.names():
        try:
            _validator(registry.profile(name).schema)
        except ValueError as error:
            place = "".join(f"/{step}" for step in getattr(error, "instance_path", ()))
            reason = f"{place} {str(error).splitlines()[0]}".lstrip()
            raise ConfigurationError(f"types.{name}.schema: is no JSON Schema that can be used: {reason}") from error


def schema_errors(schema: str, payload: dict[str, Any] | None) -> list[FieldError]:
    """The first ERRORS_MAX faults of a payload; one that is absent counts as empty."""
    validator, document = _validator(schema), payload or {}
    if validator is None or validator.is_valid(document):
        return []
    found = (error for fault in validator.iter_errors(document) for error in _errors(fault))
    return list(islice(found, ERRORS_MAX))


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    if not schema:
        return None
    return jsonschema_rs.validator_for(
        schema, mask="the value", offline=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def _errors(fault: Any) -> Iterator[FieldError]:
    path = reduce(_child, fault.instance_path, "payload")
    match fault.kind:
        case jsonschema_rs.ValidationErrorKind.Required(property=name):
            yield FieldError(child_path(path, name), "is missing, and the type's schema needs it", _REMEDY)
        case jsonschema_rs.ValidationErrorKind.AdditionalProperties(unexpected=names):
            for name in names:
                yield FieldError(child_path(path, name), "is not in the type's schema", "remove it")
        case kind if kind.name in _SAID:
            yield FieldError(path, _SAID[kind.name].format_map(_Words(kind.as_dict())), _REMEDY)
        case kind:
            yield FieldError(path, f"is not as the type's schema says: {kind.name}", _REMEDY)


class _Words(dict[str, Any]):
    """What a schema says of a keyword, as people read it."""

    def __getitem__(self, key: str) -> str:
        value = super().__getitem__(key)
        each = value if isinstance(value, list) else [value]
        said = (item if isinstance(item, str) else json.dumps(item) for item in each)
        return (" or " if key == "types" else ", ").join(said)[:_SCHEMAS_WORDS_MAX]


def _child(path: str, step: str | int) -> str:
    return f"{path}[{step}]" if isinstance(step, int) else child_path(path, step)
