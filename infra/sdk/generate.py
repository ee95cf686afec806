"""Writes the types and declarations of both SDKs from the OpenAPI document, as the gateway serves it: `make sdk`.

Taken are the calls of producers, of the host application and of users, but for the stream of an inbox. Which push
platforms there are depends on a system's providers, so `platform` is a text here.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from textwrap import wrap
from typing import Any

import httpx

from connectors.gateway.app import build_app
from connectors.gateway.inbox_calls import ReadableInbox
from connectors.gateway.options import GatewayOptions, UserTokens
from connectors.inbox.rocksdb import RocksInboxReader
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.topics import topic_specs
from operators.admit import Rules
from operators.render import render_row
from state.model.registry import load_registry

SDK = Path(__file__).resolve().parent
TYPES = SDK / "python/carillon_client/types.py"
STUB = SDK / "python/carillon_client/__init__.pyi"
MODULE = SDK / "javascript/carillon.js"
DECLARATIONS = SDK / "javascript/carillon.d.ts"
_WIDTH = 120
_ENUM_MAX = 20
"""Longer ones, such as all time zones, are texts."""
_REFERENCE = "#/components/schemas/"
_WRITTEN = "Written by `make sdk` from the OpenAPI document."

Schema = Mapping[str, Any]


def _reference(name: str) -> Schema:
    return {"$ref": _REFERENCE + name}


def _array(*kinds: str) -> Schema:
    return {"type": "array", "items": {"anyOf": [_reference(kind) for kind in kinds]}}


_ROLES = {"producer", "p0"}
_NAMES = {
    "getNotification": "progress", "cancelNotification": "cancel", "getEndpoints": "endpoints", "getInbox": "inbox",
    "readInbox": "read", "getPreferences": "preferences", "getDevices": "devices",
    "getStreamTicket": "stream_ticket", "getPreferenceTypes": "preference_types",
}  # fmt: skip
"""Of the calls that are not named after their operation."""
_TEXTS = {"putPreferences": "As a whole. To change a part of them, patch them."}
"""Of calls that the SDKs make without all that the API offers."""
_BY_HAND: Mapping[str, tuple[str, str, Schema, Schema, str]] = {
    "postNotification": (
        "send", "event", _reference("NewEvent"), _reference("Accepted"),
        "Two calls are two events, unless they bear the same idempotency_key or event_id.",
    ),
    "postNotifications": (
        "send_batch", "events", _array("NewEvent"), _array("Accepted", "Problem"),
        "An answer for each, in order: 200 or 202, or the problem for which it was not accepted.",
    ),
    "postFollows": (
        "put_follows", "follows", _array("Follow"), {"type": "integer"},
        "Gives how many were stored. Said again, it is the same.",
    ),
    "putSegment": (
        "put_segment", "users", {"type": "array", "items": {"type": "string"}}, _reference("SegmentStored"),
        "It counts as a whole, for events accepted from then on.",
    ),
}  # fmt: skip
"""By operation, those that do more than one request: name, body, its type, what they give, and what to know."""


@dataclass(frozen=True)
class Language:
    """How one language writes types."""

    scalars: Mapping[str, str]
    anything: str
    literal: str
    """Around the values of an enum."""
    separator: str
    array: str
    record: str
    place: str = ""
    """Before the name of a component."""

    def of(self, schema: Schema) -> str:
        """The type of a schema."""
        if "$ref" in schema:
            return self.place + str(schema["$ref"]).removeprefix(_REFERENCE)
        if len(schema.get("enum", ())) in range(1, _ENUM_MAX):
            return self.literal.format(self.separator.join(json.dumps(value) for value in schema["enum"]))
        if "anyOf" in schema:
            return self._either([self.of(one) for one in schema["anyOf"]])
        if schema.get("type") == "array":
            return self.array.format(self.of(schema["items"]))
        if schema.get("type") == "object":
            return self.record.format(self.of(schema.get("additionalProperties") or {}))
        return self.scalars.get(schema.get("type", ""), self.anything)

    def _either(self, kinds: Sequence[str]) -> str:
        return self.anything if self.anything in kinds else " | ".join(dict.fromkeys(kinds))


_PYTHON = Language(
    {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"},
    "Any", "Literal[{}]", ", ", "list[{}]", "dict[str, {}]",
)  # fmt: skip
_CLIENTS = replace(_PYTHON, place="types.")
_TYPESCRIPT = Language(
    {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"},
    "unknown", "{}", " | ", "Array<{}>", "Record<string, {}>",
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One call of the SDKs."""

    name: str
    text: str
    method: str
    path: str
    """Below /v1."""
    parts: Sequence[str]
    """Names in the path."""
    body: tuple[str, Schema] | None
    """Its name, and its type."""
    is_body_needed: bool
    query: Mapping[str, Schema]
    answer: Schema | None

    @property
    def name_in_javascript(self) -> str:
        """In camel case."""
        return re.sub("_(.)", lambda letter: letter[1].upper(), self.name)


def document() -> dict[str, Any]:
    """The OpenAPI document of a gateway that could serve any provider."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_document(Path(directory)))


async def _document(directory: Path) -> dict[str, Any]:
    log = EmbeddedLog(directory, clock=lambda: 0)
    log.ensure_topics(topic_specs(1, timedelta(days=1)))
    inbox = RocksInboxReader(directory / "inbox", log.partitions("inbox"), directory / "run")
    readable = ReadableInbox(inbox, render_row)
    options = GatewayOptions(directory, keys=(), users=UserTokens("nobody is let in, and nothing is served"))
    app = build_app(options, log=log, rules=Rules(load_registry()), clock=lambda: 0, inbox=readable)
    try:
        await app.start()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            found: dict[str, Any] = (await client.get("/openapi.json")).raise_for_status().json()
            return found
    finally:
        await app.close()
        inbox.close()
        log.close()


def operations(described: Mapping[str, Any]) -> list[Operation]:
    """The calls that the SDKs have, in the order of the document."""
    return [
        _operation(path, method, one) for path, on in described["paths"].items() for method, one in on.items()
        if _is_ours(one)
    ]  # fmt: skip


def _is_ours(described: Mapping[str, Any]) -> bool:
    of_users = {"userToken": []} in described["security"] and described["operationId"] != "streamInbox"
    return of_users or not _ROLES.isdisjoint(described.get("x-roles", ()))


def _operation(path: str, method: str, described: Mapping[str, Any]) -> Operation:
    wanted, parameters = described.get("requestBody", {}), described["parameters"]
    done = next(answer for status, answer in described["responses"].items() if status.startswith("2"))
    body, answer = _schema(wanted), _schema(done)
    name = described["operationId"]
    says = _TEXTS.get(name, described["description"])
    known = _NAMES.get(name, re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name))
    known, named, body, answer, says = _BY_HAND.get(name, (known, "document", body, answer, says))
    return Operation(
        name=known,
        text=f"{described['summary']}. {says}",
        method=method.upper(),
        path=path.removeprefix("/v1/"),
        parts=[one["name"] for one in parameters if one["in"] == "path"],
        body=None if body is None else (named, body),
        is_body_needed=wanted.get("required", False),
        query={one["name"]: one["schema"] for one in parameters if one["in"] == "query"},
        answer=answer,
    )


def _schema(described: Mapping[str, Any]) -> Schema | None:
    return next((content["schema"] for content in described.get("content", {}).values()), None)


def needed(described: Mapping[str, Any], calls: Sequence[Operation]) -> dict[str, Schema]:
    """By name, the schemas that the calls lead to."""
    components: Mapping[str, Schema] = described["components"]["schemas"]
    found: set[str] = set()
    waiting = ["Problem", *(name for call in calls for name in _named([call.body, call.answer]))]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _named(components[name])
    return {name: components[name] for name in sorted(found)}


def _named(part: Any) -> Iterator[str]:
    """The schemas that a part of the document refers to."""
    yield from re.findall(rf'"{_REFERENCE}(\w+)"', json.dumps(part))


def python_types(schemas: Mapping[str, Schema]) -> str:
    """A module of TypedDicts."""
    lines = [f'"""What the HTTP API takes and gives. {_WRITTEN}"""', "from __future__ import annotations", ""]
    lines += ["from typing import Any, Literal, NotRequired, TypedDict", ""]
    lines += [f"{name} = {_PYTHON.of(schema)}" for name, schema in schemas.items() if "properties" not in schema]
    for name, schema in _documents(schemas):
        lines += [f"class {name}(TypedDict):", *_docstring(schema["description"], 4)]
        for member, part, sure in _members(schema):
            kind = _PYTHON.of(part)
            lines += [f"    {member}: {kind if sure else f'NotRequired[{kind}]'}"]
            lines += _docstring(part.get("description", ""), 4)
    return _formatted(lines, TYPES)


def python_stub(calls: Sequence[Operation]) -> str:
    """The declarations of the package."""
    client = "\n".join([_PYTHON_CLIENT, *(line for call in calls for line in _python_call(call))])
    awaited = re.sub("def (?!__init)", "async def ", client).replace("def __e", "def __ae")
    awaited = awaited.replace("Client", "AsyncClient").replace("Context", "AsyncContext").replace(_WAITS, _AWAITS)
    return _formatted([f'"""The calls of the HTTP API. {_WRITTEN}"""', _PYTHON_CLASSES, client, awaited], STUB)


_PYTHON_CLASSES = """\
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from . import types
BODY_BYTES_MAX: int
class CarillonError(Exception):
    '''The gateway refused, or gave no answer while the budget lasted: then `problem["status"]` is 0.'''
    problem: types.Problem
    def __init__(self, problem: types.Problem) -> None: ...
def keyed(event: types.NewEvent) -> types.NewEvent:
    '''The event with an idempotency key: kept so and sent again within an hour, it is the same event.'''"""
_WAITS, _AWAITS = "For programs that wait. Threads", "For asyncio, with 20 calls at a time. Tasks"
_PYTHON_CLIENT = f"""\
class Client(AbstractContextManager["Client"]):
    '''{_WAITS} may share one.'''

    def __init__(self, url: str, key: str, *, budget_s: float = 30, timeout_s: float = 10) -> None:
        '''`url` ends with /v1; `key` is a service's, or a user's token. `budget_s`: how long a call is repeated without
        progress; `timeout_s`: how long an answer may take.
        '''
    def __exit__(self, *_: object) -> None: ..."""


def _python_call(call: Operation) -> list[str]:
    taken = ["self", *(f"{part}: str" for part in call.parts)]
    if call.body is not None:
        name, body = call.body
        optional = "" if call.is_body_needed else " | None = None"
        taken.append(f"{name}: {_CLIENTS.of(body).replace('list[', 'Iterable[')}{optional}")
    query = [f"{name}: {_CLIENTS.of(schema)} | None = None" for name, schema in call.query.items()]
    taken += ["*", *query] if query else []
    answer = "None" if call.answer is None else _CLIENTS.of(call.answer)
    return [f"    def {call.name}({', '.join(taken)}) -> {answer}:", *_docstring(call.text, 8)]


def _docstring(text: str, indent: int) -> list[str]:
    lines = wrap(text, _WIDTH - indent - 6) or []
    if len(lines) < 2:
        return [f'{" " * indent}"""{line}"""' for line in lines]
    first, *others = lines
    return [" " * indent + line for line in (f'"""{first}', *others, '"""')]


def _formatted(lines: Sequence[str], file: Path) -> str:
    """As the formatter has it."""
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(file), "-"]
    return subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True, cwd=SDK).stdout


def typescript(schemas: Mapping[str, Schema], calls: Sequence[Operation]) -> str:
    """The declarations of the module."""
    texts = {name: _TYPESCRIPT.of(schema) for name, schema in schemas.items() if "properties" not in schema}
    lines = [f"// The calls of the HTTP API, what it takes and gives. {_WRITTEN}", *_CLASSES.splitlines()]
    lines += [line for call in calls for line in _typescript_call(call)]
    lines += ["}", "", *(f"export type {name} = {kind};" for name, kind in texts.items())]
    for name, schema in _documents(schemas):
        lines += ["", *_comment(schema, ""), f"export interface {name} {{"]
        for member, part, sure in _members(schema):
            lines += [*_comment(part, "  "), f"  {member}{'' if sure else '?'}: {_TYPESCRIPT.of(part)};"]
        lines += ["}"]
    return "\n".join(lines) + "\n"


_CLASSES = """\
/** The event with an idempotency key: kept so and sent again within an hour, it is the same event. */
export function keyed(event: NewEvent): NewEvent;

/** The gateway refused, or gave no answer while the budget lasted: then `problem.status` is 0. */
export class CarillonError extends Error {
  problem: Problem;
}

export class Client {
  /**
   * `url` ends with /v1; `key` is a service's, or a user's token. `budgetMs`: how long a call is repeated without
   * progress; `timeoutMs`: how long an answer may take.
   */
  constructor(url: string, key: string, options?: { budgetMs?: number; timeoutMs?: number });"""


def _typescript_call(call: Operation) -> list[str]:
    taken = [f"{part}: string" for part in call.parts]
    if call.body is not None:
        optional = "" if call.is_body_needed else "?"
        taken.append(f"{call.body[0]}{optional}: {_TYPESCRIPT.of(call.body[1]).replace('Array<', 'Iterable<')}")
    if call.query:
        query = "; ".join(f"{name}?: {_TYPESCRIPT.of(schema)}" for name, schema in call.query.items())
        taken.append(f"query?: {{ {query} }}")
    answer = "void" if call.answer is None else _TYPESCRIPT.of(call.answer)
    return [
        *_comment({"description": call.text}, "  "),
        f"  {call.name_in_javascript}({', '.join(taken)}): Promise<{answer}>;",
    ]


def _comment(part: Schema, indent: str) -> list[str]:
    lines = wrap(part.get("description", ""), _WIDTH - len(indent) - 7)
    if len(lines) < 2:
        return [f"{indent}/** {line} */" for line in lines]
    return [f"{indent}{line}" for line in ("/**", *(f" * {line}" for line in lines), " */")]


def _documents(schemas: Mapping[str, Schema]) -> Iterator[tuple[str, Schema]]:
    yield from ((name, schema) for name, schema in schemas.items() if "properties" in schema)


def _members(schema: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """Name, schema and whether it is always there: answers bear what has a default, too."""
    for name, part in schema["properties"].items():
        yield name, part, name in schema["required"] or "default" in part


def files() -> dict[Path, str]:
    """What the generated files should hold."""
    described = document()
    calls = operations(described)
    schemas = needed(described, calls)
    return {
        TYPES: python_types(schemas),
        STUB: python_stub(calls),
        DECLARATIONS: typescript(schemas, calls),
    }


def main() -> None:
    """Write them."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
