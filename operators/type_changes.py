"""Whether what is published of a type may take the place of what is in force (RULES 7): every error with its field."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from operators.payload_schema import check_schemas
from operators.schema_compatibility import compatibility_errors
from state.model.admission import FieldError, Sender, child_path
from state.model.errors import ConfigurationError
from state.model.registry import Registry, TypeProfile, load_registry

_PINNED = ("klass", "category", "fan_out", "pinned", "mandatory", "notify_self", "enabled")
"""What no publication moves in a pinned type."""
_DURATIONS = ("ttl_ms", "window_ms", "repeat_window_ms")
_SENDERS_OWN = ("mandatory", "pinned", "notify_self")
"""What a sender may not say of a type of its own: it would pass over what people chose."""
_KEYS = [each.name for each in msgspec.structs.fields(TypeProfile)]
_KINDS = {
    "int": ("is no integer", "send an integer"), "bool": ("is neither true nor false", "send true or false"),
    "str": ("is no text", "send text"), "array": ("is no list", "send a list"),
}  # fmt: skip
"""By what msgspec expected: problem and remedy."""
Table = Mapping[str, Any]


def type_errors(
    name: str, table: Table, registry: Registry, retention_ms: int, taken_back: str = ""
) -> list[FieldError]:  # fmt: skip
    """What is wrong with a table, whoever publishes it; `retention_ms`: how long the log keeps an event at least;
    `taken_back`: the schema of what was published of the type last, where that does not hold any more.
    """
    try:
        proposed = load_registry({name: table})
        check_schemas(proposed)
    except ConfigurationError as error:
        return [_error_of(name, str(error))]
    after = proposed.profile(name)
    errors = profile_errors(registry.profile(name), after, retention_ms)
    return [*errors, *(each for each in compatibility_errors(taken_back, after.schema) if each not in errors)]


def profile_errors(before: TypeProfile, after: TypeProfile, retention_ms: int) -> list[FieldError]:
    """What a sound table may not say: to wait longer than the log lasts, to move a pinned type, to break a schema."""
    errors = [
        FieldError(name, "is longer than the log keeps an event", f"use at most {retention_ms}")
        for name in _DURATIONS
        if getattr(after, name) > retention_ms
    ]
    if before.pinned:
        moved = [name for name in _PINNED if getattr(before, name) != getattr(after, name)]
        errors += [FieldError(name, "cannot be changed: the type is pinned", "write it as it is now") for name in moved]
    elif after.pinned:
        errors.append(FieldError("pinned", "cannot be published", "pin a type in the configuration file"))
    errors += compatibility_errors(before.schema, after.schema)
    if not {*after.channels} - {*after.to_only}:
        errors.append(FieldError("channels", "leave no channel for what names none in `to`", "name at least one"))
    return errors


def sender_errors(name: str, sender: Sender, before: TypeProfile, after: TypeProfile | None) -> list[FieldError]:
    """What a sender may not publish by itself: of another's type, of P0, or over the heads of people. `after` None: it
    takes the type back.
    """
    if name.endswith("*"):
        return [FieldError("type", "names many types", "publish each by its own name, or ask ops")]
    if before.registered and sender.sender_id not in before.owners:
        return [FieldError("type", "is not owned by this sender", "ask ops, or one of its owners")]
    if "P0" in (before.klass, before.klass if after is None else after.klass):
        return [FieldError("klass", "is P0", "ask ops; a second person confirms it")]
    if after is None:
        return []
    own = [each for each in _SENDERS_OWN if getattr(after, each)]
    errors = [FieldError(each, "passes over what people chose", "ask ops") for each in own]
    if after.klass == "P2" and after.enabled:
        errors.append(FieldError("enabled", "would send bulk mail to who did not ask for it", "set it to false"))
    if after.klass not in sender.classes:
        errors.append(
            FieldError("klass", "is none that this sender sends", f"use {' or '.join(sorted(sender.classes))}")
        )
    if sender.sender_id not in after.owners:
        errors.append(FieldError("owners", "does not name this sender", f"put {sender.sender_id} among them"))
    return errors


def _error_of(name: str, text: str) -> FieldError:
    """A fault of the configuration, as a field of the table: what is wrong stands behind the key, or names it."""
    said = text.removeprefix(f"types.{name}")
    key, _, rest = said.partition(": ")
    if field := key.removeprefix("."):
        problem, separator, remedy = rest.partition("; ")
        return FieldError(child_path("table", field), problem, remedy if separator else "correct the table")
    if unknown := re.search(r"unknown field `(\w+)`", rest):
        meant = get_close_matches(unknown[1], _KEYS, 1, 0.7)
        remedy = f"write {meant[0]}, or remove it" if meant else "remove it, or correct its spelling"
        return FieldError(child_path("table", unknown[1]), "is not known", remedy)
    if kind := re.match(r"Expected `(\w+)`, got `\w+` - at `\$\.(\w+)", rest):
        return FieldError(child_path("table", kind[2]), *_KINDS.get(kind[1], (rest, "correct the table")))
    return FieldError("table", rest, "correct the table")
