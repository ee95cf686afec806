"""A type's table as a form: a field for each key that people set. What it lacks (`pinned`) is written as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from connectors.gateway.problems import invalid
from state.model.admission import FieldError
from state.model.errors import UNDECODABLE
from state.model.registry import POLICIES

CHOICES: Mapping[str, tuple[str, ...]] = {"klass": ("P0", "P1", "P2"), "policy": POLICIES}
WORDS = ("category", "channels", "to_only", "owners")
TIMES = ("ttl_ms", "window_ms", "mail_wait_ms", "repeat_window_ms")
MARKS = ("enabled", "digest", "mandatory", "notify_self", "absolute_ttl", "critical_push")
REACHES = ("DIRECT", "FOLLOWERS", "SEGMENT", "BROADCAST")
LONG = ("names", "schema")
_LISTS = ("channels", "to_only", "owners")
_UNITS = {"d": 86_400_000, "h": 3_600_000, "min": 60_000, "s": 1_000, "ms": 1}
_TIME = re.compile(r"([0-9]{1,12}) ?(d|h|min|s|ms)?")


def form_of_type(profile: Mapping[str, Any]) -> dict[str, str]:
    """What the form says of a type, as a browser would send it."""
    found = {name: ", ".join(profile[name]) if name in _LISTS else str(profile[name]) for name in (*CHOICES, *WORDS)}
    found |= {name: _time(profile[name]) for name in TIMES}
    found |= {name: "yes" for name in MARKS if profile[name]}
    found |= {f"fan_out.{each}": "yes" for each in profile["fan_out"]}
    names = "\n".join(f"{language}: {name}" for language, name in profile["names"].items())
    return {**found, "names": names, "schema": _formatted(profile["schema"])}


def table_of_form(form: Mapping[str, str], profile: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The table that the form asks for: all keys of the table `before`, and others that are not as `profile` has them.

    :raises ProblemError: 400, naming the fields.
    """
    said: dict[str, Any] = {name: form.get(name, "").strip() for name in (*CHOICES, *WORDS)}
    said |= {name: [each.strip() for each in said[name].split(",") if each.strip()] for name in _LISTS}
    said |= {name: form.get(name) == "yes" for name in MARKS}
    said |= {name: _ms(form.get(name, "")) for name in TIMES}
    said["fan_out"] = [each for each in REACHES if form.get(f"fan_out.{each}")]
    said["names"] = _names(form.get("names", ""))
    schema = form.get("schema", profile["schema"])
    said["schema"] = profile["schema"] if _same(schema, profile["schema"]) else schema.strip()
    errors = [
        FieldError(name, "is no time", "write it like 30 s, 15 min, 24 h or 7 d")
        for name in TIMES
        if said[name] is None
    ]
    if said["names"] is None:
        errors.append(FieldError("names", "has a line without a language", "write lines like pt: Curtidas"))
    if not said["fan_out"]:
        errors.append(FieldError("fan_out", "names nobody", "choose at least one"))
    if errors:
        raise invalid(errors, "the form is not valid")
    changed = {name: value for name, value in said.items() if name in before or value != _listed(profile[name])}
    return {**before, **changed}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _time(ms: int) -> str:
    """In the largest unit that has no rest."""
    unit = next(unit for unit, size in _UNITS.items() if ms % size == 0) if ms else "s"
    return f"{ms // _UNITS[unit]} {unit}"


def _ms(text: str) -> int | None:
    """Milliseconds; None: it is no time."""
    found = _TIME.fullmatch(text.strip())
    return None if found is None else int(found[1]) * _UNITS[found[2] or "ms"]


def _names(text: str) -> dict[str, str] | None:
    """By language; None: a line has none."""
    pairs = [[part.strip() for part in line.partition(":")[::2]] for line in text.splitlines() if line.strip()]
    return None if not all(language and name for language, name in pairs) else dict(pairs)


def _formatted(schema: str) -> str:
    return msgspec.json.format(schema) if schema else ""


def _same(written: str, schema: str) -> bool:
    """Whether it is this schema, however it is written."""
    try:
        return bool(written.strip()) == bool(schema) and (
            not schema or msgspec.json.decode(written) == msgspec.json.decode(schema)
        )
    except UNDECODABLE:
        return False
