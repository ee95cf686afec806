"""Whether a payload schema may follow the one before (RULES 7): what that one accepted is accepted still, and whoever
reads by it can read what comes by the new one.

Compared are, in every object and list that the older one describes: `type` (stays), `required` (stays), `properties`
(each named one stays, new ones may come), `additionalProperties` (is not narrowed), `items`, `enum` and `const` (values
may come), bounds (may widen). Every other keyword is the same or goes. What no schema named, nobody is taken to send.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from state.model.admission import FieldError, child_path

_MAY_RISE = frozenset(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"))
_MAY_FALL = frozenset(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"))
_WORDS = frozenset(("title", "description", "default", "examples", "deprecated", "$comment", "$schema", "$id"))
"""What accepts and refuses nothing."""
_COMPARED = frozenset(("type", "required", "properties", "additionalProperties", "items", "enum", "const"))
_KEEP = "keep it as it is, and give what is new a name of its own"
_Node = Mapping[str, Any]


def compatibility_errors(older: str, newer: str) -> list[FieldError]:
    """What the newer schema breaks, by its place; both are JSON Schemas as text. A first schema breaks nothing."""
    if not older or older == newer:
        return []
    return list(_node(msgspec.json.decode(older), msgspec.json.decode(newer or "{}"), "schema"))


def _node(older: Any, newer: Any, path: str) -> Iterator[FieldError]:
    old, new = _as_map(older), _as_map(newer)
    if _types(old) != _types(new):
        yield FieldError(child_path(path, "type"), "is another one than before", _KEEP)
    yield from _required(old, new, child_path(path, "required"))
    yield from _properties(old, new, path)
    if "items" in new:
        yield from _node(old.get("items", True), new["items"], child_path(path, "items"))
    yield from _values(old, new, path)
    for keyword in sorted(new.keys() - _COMPARED - _WORDS):
        if not _holds(keyword, old.get(keyword), new[keyword]):
            yield FieldError(child_path(path, keyword), "refuses what was accepted before", "leave it as it was")


def _as_map(node: Any) -> _Node:
    return node if isinstance(node, dict) else {} if node else {"not": {}}


def _types(node: _Node) -> frozenset[str]:
    given = node.get("type", ())
    return frozenset([given] if isinstance(given, str) else given)


def _required(old: _Node, new: _Node, path: str) -> Iterator[FieldError]:
    before, now = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(now - before):
        yield FieldError(child_path(path, name), "was not needed before", "let it be absent")
    for name in sorted(before - now):
        yield FieldError(child_path(path, name), "is relied on by whoever reads by the schema before", "keep it")


def _properties(old: _Node, new: _Node, path: str) -> Iterator[FieldError]:
    named, known = child_path(path, "properties"), new.get("properties", {})
    for name, node in old.get("properties", {}).items():
        if name not in known:
            yield FieldError(
                child_path(named, name), "is gone", "keep it; `deprecated` says that nobody should send it"
            )
        else:
            yield from _node(node, known[name], child_path(named, name))
    others, others_before = new.get("additionalProperties", True), old.get("additionalProperties", True)
    if others is not True and others_before is not False:
        yield from _node(others_before, others, child_path(path, "additionalProperties"))


def _values(old: _Node, new: _Node, path: str) -> Iterator[FieldError]:
    allowed, before = _listed(new), _listed(old)
    if allowed is not None and (before is None or any(each not in allowed for each in before)):
        yield FieldError(
            child_path(path, "enum"), "lacks a value that was accepted before", "keep all, and add to them"
        )


def _listed(node: _Node) -> list[Any] | None:
    return [node["const"]] if "const" in node else node.get("enum")


def _holds(keyword: str, before: Any, now: Any) -> bool:
    if before is None or keyword not in _MAY_RISE | _MAY_FALL:
        return bool(before == now)
    return bool(now >= before if keyword in _MAY_RISE else now <= before)
