"""Tables of a configuration file to option dataclasses, and back to a documented file.

Strict: an unknown key and a value of another kind are errors that name the key (`providers.apns.timeout`). Kinds: text,
numbers, true and false, lists of text, a choice of words, `Secret`, `Path`, durations as text with a unit (`"500ms"`,
`"10s"`, `"5min"`, `"2h"`, `"1d"`), tables of a dataclass, tables of named dataclasses. A value from the environment is
always text (`EnvironmentText`) and is read as its field's kind; a list there is separated by commas. Where the field
takes any value (`types`), it is read as in the file if it can be, and is text otherwise.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from state.model.errors import ConfigurationError
from state.model.secret import Secret

T = TypeVar("T")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|h|d)")
_SECRET_NAME = re.compile(r"(password|secret|token|key\.pem)$")
_URL_SECRET = re.compile(r"://[^/@]*@")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


class EnvironmentText(str):
    """A value that came from the environment, where everything is text."""

    __slots__ = ()


def configuration_error(faults: list[str]) -> ConfigurationError:
    """One error for all faults."""
    if len(faults) == 1:
        return ConfigurationError(faults[0])
    return ConfigurationError(f"{len(faults)} faults in the configuration:\n  " + "\n  ".join(faults))


def load(cls: type[T], table: object, *, where: str) -> T:
    """The dataclass `cls` from a table; `where` is the table's own key, empty for the root.

    :raises ConfigurationError: naming every key that is unknown, missing or of another kind.
    """
    faults: list[str] = []
    loaded = load_all(cls, table, where=where, faults=faults)
    if loaded is None or faults:
        raise configuration_error(faults)
    return loaded


def load_all(cls: type[T], table: object, *, where: str, faults: list[str]) -> T | None:
    """As `load`, but what is wrong is added to `faults` and left out; None where something is missing without it."""
    if not isinstance(table, Mapping):
        faults.append(f"{where}: must be a table")
        return None
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]  # T is a dataclass
    values: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{where}.{name}" if where else str(name)
        if name not in fields:
            faults.append(f"{key}: unknown key; known here are {', '.join(sorted(fields))}")
            continue
        with _kept(faults):
            values[name] = _convert(hints[name], value, key, faults)
    needed = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    faults += [f"{where}.{name}: missing".lstrip(".") for name in needed if name not in table]
    return None if any(name not in values for name in needed) else cls(**values)


@contextlib.contextmanager
def _kept(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        if str(error):
            faults.append(str(error))


def _convert(hint: Any, value: Any, key: str, faults: list[str]) -> Any:
    """:raises ConfigurationError: it does not fit; without text where the faults say so already."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert(next(part for part in typing.get_args(hint) if part is not type(None)), value, key, faults)
    if origin is typing.Literal:
        return _choice(typing.get_args(hint), value, key)
    if origin is tuple:
        return _list(typing.get_args(hint)[0], value, key)
    if origin in (Mapping, dict) or hint is Mapping:
        return _named(hint, value, key, faults)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        loaded = load_all(hint, value, where=key, faults=faults)
        if loaded is None:
            raise ConfigurationError("")
        return loaded
    return _scalar(hint, value, key)


def _choice(words: tuple[Any, ...], value: Any, key: str) -> Any:
    if value not in words:
        raise ConfigurationError(f"{key}: {value!r} is none of {', '.join(map(str, words))}")
    return str(value)


def _list(kind: type[str] | type[int], value: Any, key: str) -> tuple[str | int, ...]:
    if isinstance(value, EnvironmentText):
        value = [EnvironmentText(part.strip()) for part in value.split(",") if part.strip()]
    if isinstance(value, list) and kind is int:
        return tuple(int(_number(int, part, key)) for part in value)
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise ConfigurationError(f"{key}: must be a list of text")
    return tuple(map(str, value))


def _named(hint: Any, value: Any, key: str, faults: list[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{key}: must hold one table per name, [{key}.NAME]")
    inner, found = typing.get_args(hint)[1], {}
    for name, entry in value.items():
        with _kept(faults):
            found[str(name)] = _convert(inner, entry, f"{key}.{name}", faults)
    return found


def _scalar(hint: Any, value: Any, key: str) -> Any:
    if hint is Any:
        return _any(value)
    if hint is object:  # somebody else says of what kind it is: a telephone number in the environment is no number
        return value
    if hint is Path:
        return Path(_text(value, key)).expanduser()
    if hint is Secret:
        return Secret(_text(value, key))
    if hint is timedelta:
        return parse_duration(value, key)
    if hint is str:
        return "" if value == "" else _text(value, key)
    if hint is bool:
        return _truth(value, key)
    if hint in (int, float):
        return _number(hint, value, key)
    raise TypeError(f"{key}: the option's kind {hint} is not supported by flows/config/options.py")


def _any(value: Any) -> Any:
    if isinstance(value, EnvironmentText):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            return tomllib.loads(f"value = {value}")["value"]
        return str(value)  # plain text, which encoders know
    return value


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{key}: must be text and not empty")
    return str(value)


def _truth(value: Any, key: str) -> bool:
    if isinstance(value, EnvironmentText) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ConfigurationError(f"{key}: must be true or false")
    return value


def _number(kind: type[int] | type[float], value: Any, key: str) -> int | float:
    if isinstance(value, EnvironmentText):
        try:
            return kind(value)
        except ValueError as error:
            raise ConfigurationError(f"{key}: {str(value)!r} is no number") from error
    fits = isinstance(value, int) or (kind is float and isinstance(value, float))
    if not fits or isinstance(value, bool):
        raise ConfigurationError(f"{key}: must be a {'whole ' if kind is int else ''}number")
    return kind(value)


def parse_duration(value: object, key: str) -> timedelta:
    """A duration as text with its unit, e.g. `"250ms"`.

    :raises ConfigurationError: naming the key.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ConfigurationError(
            f'{key}: must be a duration with its unit, such as "500ms", "10s", "5min", "2h" or "1d"'
        )
    return float(match[1]) * _UNITS[match[2]]


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same duration."""
    for unit in ("d", "h", "min", "s", "ms"):
        if value % _UNITS[unit] == timedelta(0):
            return f"{value // _UNITS[unit]}{unit}"
    return f"{value / _UNITS['ms']}ms"


def masked(value: object) -> Any:
    """An option value as plain data for people and JSON, with every secret as `***`."""
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _masked_field(field, getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): "***" if _SECRET_NAME.search(str(name)) else masked(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [masked(entry) for entry in value]
    return _URL_SECRET.sub("://***@", value) if isinstance(value, str) else value


def _masked_field(field: dataclasses.Field[Any], value: object) -> Any:
    """A connector's secret is text that its own repr leaves out: such a field is known by its name."""
    secret = isinstance(value, str) and (not field.repr or _SECRET_NAME.search(field.name) is not None)
    return "***" if secret and value else masked(value)


def documentation(cls: type) -> dict[str, str]:
    """Field name to the docstring below it, in the order of the fields, inherited ones first."""
    found: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        if dataclasses.is_dataclass(part):
            found |= _own_documentation(part)
    return found


def _own_documentation(cls: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    if not isinstance(body, ast.ClassDef):
        raise TypeError(f"{cls} is no class")
    found = {}
    for statement, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            said = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
            found[statement.target.id] = inspect.cleandoc(said)
    return found


def example(cls: type, *, where: str = "") -> Iterator[str]:
    """The lines of a documented TOML file: every key commented out at its default."""
    hints = typing.get_type_hints(cls)
    texts = documentation(cls)
    tables = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        inner, suffix = _table_of(hints[field.name])
        if inner is not None:
            tables.append((field.name, inner, suffix))
            continue
        yield from (f"# {line}".rstrip() for line in texts[field.name].splitlines())
        yield f"#{field.name} = {_toml(_default(field))}"
        yield ""
    for name, inner, suffix in tables:
        key = f"{where}.{name}" if where else name
        yield from (f"# {line}".rstrip() for line in texts[name].splitlines())
        yield f"#[{key}{suffix}]"
        yield ""
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            yield from example(inner, where=f"{key}{suffix}")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _table_of(hint: Any) -> tuple[Any, str]:
    """The class of a table-valued field and how its heading ends; None for a plain value."""
    for part in typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,):
        if dataclasses.is_dataclass(part):
            return part, ""
        if typing.get_origin(part) in (Mapping, dict):
            inner = typing.get_args(part)[1]
            return inner, "" if inner in (str, float) else ".NAME"
    return None, ""


def _toml(value: Any) -> str:
    if value is None:
        return '"..."'
    plain = masked(value)
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, int | float):
        return str(plain)
    if isinstance(plain, list):
        return "[" + ", ".join(map(_toml, plain)) + "]"
    return f'"{plain}"'
