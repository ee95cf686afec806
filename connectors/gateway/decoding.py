"""JSON from outside, read strictly: UTF-8, one document, and in no object two members of one name.

Readers differ in which of two members counts, so a document with two says different things to different programs.
What is looked at level by level has a bound on its levels.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

import msgspec

from connectors.gateway.problems import invalid
from state.model.admission import FieldError, child_path
from state.model.errors import UNDECODABLE

DEPTH_MAX = 64
"""Levels of a document; what may be deeper than a few says so itself, and has fewer."""
_LEVELS_NAMED = 3
_WHOLE_MAX = 2**53


def _number(text: str) -> float:
    """A number with a fraction; 3.0 and 3 are one number in JSON (and in its RFC 8785 form), so both are whole."""
    number = float(text)
    if not isfinite(number):
        raise msgspec.DecodeError("a number out of range")
    return int(number) if number.is_integer() and abs(number) <= _WHOLE_MAX else number


_decoder = msgspec.json.Decoder(float_hook=_number)


def decode_json(body: bytes) -> Any:
    """The document.

    :raises ProblemError: 400.
    """
    try:
        document = _decoder.decode(body)
        path = None if body.count(b":") == _counted(document) else _repeated(_pairs(body), "")
    except RecursionError as error:  # many times the levels: there is no document whose member could be named
        raise invalid([FieldError("", *_DEEP)]) from error
    except UNDECODABLE as error:
        raise invalid([FieldError("", "is no JSON in UTF-8", "send one JSON document")]) from error
    if path is not None:
        raise invalid([FieldError(path, "is given more than once", "send it once")])
    return document


_DEEP = (f"is nested deeper than {DEPTH_MAX} levels", "flatten it")


def _counted(document: Any) -> int:
    try:
        return _members(document, DEPTH_MAX)
    except RecursionError as error:
        raise invalid([FieldError(_deep_path(document, "", 1) or "", *_DEEP)]) from error


def _members(value: Any, levels: int) -> int:
    """How many members its objects have: as many as there are colons, unless some are in texts or members are lost."""
    if levels == 0:
        raise RecursionError
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    below = sum(_members(item, levels - 1) for item in items if isinstance(item, (dict, list)))
    return below + len(value) if isinstance(value, dict) else below


def _deep_path(value: Any, path: str, level: int) -> str | None:
    """The path of the first member that holds too many levels, by its outer levels."""
    if level > DEPTH_MAX:
        return path
    named = isinstance(value, dict)
    for step, item in value.items() if named else enumerate(value):
        if isinstance(item, (dict, list)):
            below = child_path(path, str(step)) if named else f"{path}[{step}]"
            if (found := _deep_path(item, below if level <= _LEVELS_NAMED else path, level + 1)) is not None:
                return found
    return None


class _Pairs(list[tuple[str, Any]]):
    """An object with its members as they were sent."""


def _pairs(body: bytes) -> Any:
    return json.loads(body, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)


def _repeated(value: Any, path: str) -> str | None:
    """The path of the first member that was sent before."""
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, item in value:
            below = child_path(path, name)
            if name in seen:
                return below
            seen.add(name)
            if (found := _repeated(item, below)) is not None:
                return found
    elif isinstance(value, list):
        for place, item in enumerate(value):
            if (found := _repeated(item, f"{path}[{place}]")) is not None:
                return found
    return None
