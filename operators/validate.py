"""Every error of a document that comes from outside, all at once (RULES 1, "all-or-nothing").

The documents are the structs of `state.model.documents`; what is asked of each member is read off their types. An error
never repeats a value, which could be a secret.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any

from msgspec import inspect

from state.model.admission import FieldError, child_path
from state.model.documents import Complaint, Text

ERRORS_MAX = 100
"""Errors that one answer names."""

Look = Callable[[Any, str], Iterator[FieldError]]
"""Gives the errors of a value that stands at a path."""


def document_errors(document: Any, kind: Any, *, path: str = "") -> list[FieldError]:
    """Everything wrong with a document of this kind, a struct or any other type of `state.model.documents`."""
    return list(islice(_look_of(kind)(document, path), ERRORS_MAX))


def text_errors(path: str, value: Any) -> list[FieldError]:
    """The error of one identifier, if it has one."""
    return document_errors(value, Text, path=path)


@cache
def _look_of(kind: Any) -> Look:
    return _look(inspect.type_info(kind), {})


def _look(info: inspect.Type, extra: dict[str, Any]) -> Look:
    """What to do for a type; `extra` is that of the Meta around it."""
    if isinstance(info, inspect.Metadata):
        return _look(info.type, {**extra, **(info.extra or {})})
    if isinstance(info, inspect.UnionType):
        return _union([one for one in info.types if not isinstance(one, inspect.NoneType)], extra)
    if isinstance(info, inspect.StructType):
        return _struct(info)
    if isinstance(info, inspect.ListType):
        return _list(info, extra)
    if isinstance(info, inspect.DictType):
        return _dict(info, extra)
    return _leaf(_LEAVES[type(info)](info, extra), extra)


def _union(kinds: list[inspect.Type], extra: dict[str, Any]) -> Look:
    """Null is absent; of a text and a struct, an object is judged as the struct."""
    looks = [_look(kind, extra) for kind in kinds]
    of_object = looks[[isinstance(kind, inspect.StructType) for kind in kinds].index(True)] if len(kinds) > 1 else None

    def errors(value: Any, path: str) -> Iterator[FieldError]:
        if value is not None:
            yield from (of_object if of_object is not None and isinstance(value, dict) else looks[0])(value, path)

    return errors


def _struct(info: inspect.StructType) -> Look:
    """Unknown members, wrong values, missing members."""
    looks = {field.encode_name: _look(field.type, {}) for field in info.fields}
    required = [field.encode_name for field in info.fields if field.required]

    def errors(value: Any, path: str) -> Iterator[FieldError]:
        if not isinstance(value, dict):
            yield FieldError(path, "is no JSON object", "send a JSON object")
            return
        for name, item in value.items():
            below, look = child_path(path, name), looks.get(name)
            if look is None:
                yield FieldError(below, "is not known", "remove it, or correct its spelling")
            elif item is not None:
                yield from look(item, below)
        for name in required:
            if value.get(name) is None:
                yield FieldError(child_path(path, name), "is missing", "send it")

    return errors


def _list(info: inspect.ListType, extra: dict[str, Any]) -> Look:
    look, least, longest = _look(info.item_type, {}), info.min_length or 0, info.max_length

    def errors(value: Any, path: str) -> Iterator[FieldError]:
        if not isinstance(value, list):
            yield FieldError(path, "is no JSON array", "send an array")
        elif longest is not None and len(value) > longest:
            yield FieldError(path, f"has {len(value)} items", f"send at most {longest}")
        elif len(value) < least:
            yield FieldError(path, f"has {len(value)} items", f"send at least {least}")
        else:
            found = [error for place, item in enumerate(value) for error in look(item, f"{path}[{place}]")]
            yield from found or _checked(value, path, extra)

    return errors


def _dict(info: inspect.DictType, extra: dict[str, Any]) -> Look:
    key_look, look, longest = _look(info.key_type, {}), _look(info.value_type, {}), info.max_length

    def errors(value: Any, path: str) -> Iterator[FieldError]:
        if not isinstance(value, dict):
            yield FieldError(path, "is no JSON object", "send an object, or leave it out")
        elif longest is not None and len(value) > longest:
            yield FieldError(path, f"has {len(value)} members", f"send at most {longest}")
        else:
            for name, item in value.items():
                below = child_path(path, name)
                yield from key_look(name, below)
                yield from look(item, below)
            yield from _checked(value, path, extra)

    return errors


def _checked(value: Any, path: str, extra: dict[str, Any]) -> Iterator[FieldError]:
    complaint = extra["check"](value) if "check" in extra else None
    if complaint is not None:
        yield FieldError(path, *complaint)


def _leaf(complain: Callable[[Any], Complaint | None], extra: dict[str, Any]) -> Look:
    def errors(value: Any, path: str) -> Iterator[FieldError]:
        complaint = complain(value)
        if complaint is None:
            yield from _checked(value, path, extra)
        else:
            yield FieldError(path, *complaint)

    return errors


def _text(info: inspect.StrType, extra: dict[str, Any]) -> Callable[[Any], Complaint | None]:
    least, most = info.min_length or 0, info.max_length
    pattern = None if info.pattern is None else re.compile(info.pattern)
    bound = f"send {least} to {most} characters"
    form = extra.get("form")
    unlike = (f"is no {form}", f"send a {form}") if form else _CONTROL_FOUND

    def complain(value: Any) -> Complaint | None:
        if not isinstance(value, str):
            return "is no string", "send a string"
        if most is not None and not least <= len(value) <= most:
            return f"has {len(value)} characters", bound
        return None if pattern is None or pattern.search(value) else unlike

    return complain


_CONTROL_FOUND = ("holds a control character", "remove control characters such as line breaks")


def _integer(info: inspect.IntType, _extra: dict[str, Any]) -> Callable[[Any], Complaint | None]:
    least, most = info.ge or 0, info.le or 0

    def complain(value: Any) -> Complaint | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return "is no integer", "send an integer without quotes or fraction"
        return None if least <= value <= most else ("is out of range", f"send an integer from {least} to {most}")

    return complain


def _boolean(_info: inspect.Type, _extra: dict[str, Any]) -> Callable[[Any], Complaint | None]:
    return lambda value: None if isinstance(value, bool) else ("is neither true nor false", "send true or false")


def _one_of(info: inspect.LiteralType, _extra: dict[str, Any]) -> Callable[[Any], Complaint | None]:
    complaint = ("is none of " + ", ".join(map(str, info.values)), "send one of them, spelled so")
    return lambda value: None if isinstance(value, str) and value in info.values else complaint


def _anything(_info: inspect.Type, _extra: dict[str, Any]) -> Callable[[Any], Complaint | None]:
    return lambda _value: None


_LEAVES: dict[type, Callable[[Any, dict[str, Any]], Callable[[Any], Complaint | None]]] = {
    inspect.StrType: _text,
    inspect.IntType: _integer,
    inspect.BoolType: _boolean,
    inspect.LiteralType: _one_of,
    inspect.AnyType: _anything,
}
