"""What a type's JSON Schema asks of its payload (RULES 1): every fault with its field, never with its value.

A schema is compiled once for each text. It is checked without the network, and its patterns in linear time.
"""

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
        case kind:
            yield FieldError(path, f"is not as the type's schema says: {kind.name}", _REMEDY)


def _child(path: str, step: str | int) -> str:
    return f"{path}[{step}]" if isinstance(step, int) else child_path(path, step)
