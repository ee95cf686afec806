"""The OpenAPI 3.1 document, from the table of routes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from connectors.gateway.answers import Problem
from connectors.gateway.problems import MEDIA_TYPE
from connectors.gateway.routes import Callers, Route
from connectors.gateway.schemas import PATH_PARAMETERS, Schemas
from state.model.addresses import Served

_PARAMETER = re.compile(r"\{(\w+)\}")
_DESCRIPTION = """\
Send events, and Carillon decides who hears of them, through which channel, when, and whether at all.

A body is one JSON document in UTF-8, closed: a member that is not named here is an error, and every error of a document
is named at once. Null counts as absent. Texts are in Unicode form NFC. Times are milliseconds since 1970 in UTC."""
_SECURITY = {
    "serviceKey": {"type": "http", "scheme": "bearer", "description": "The key of a service, with its role."},
    "userToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The host application's JWT for a user: `sub` is the user, `exp` its end.",
    },
    "streamTicket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "Of a user, from getStreamTicket; good for a minute.",
    },
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "Bearer.", "schema": {"type": "string"}}}
_HEADERS = {401: _CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}
_MEANINGS = {
    400: "The request is not valid; every error is named.",
    401: "Credentials are missing, wrong or expired.",
    403: "This credential may not do this.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "It contradicts what was accepted before.",
    412: "The document has changed since it was read; the ETag names the present one.",
    413: "The body is too large.",
    415: "The body is of another media type than the call takes, or compressed.",
    429: "Too many at once: a limit is reached.",
    503: "Not now: nothing was accepted, send it again.",
}


def document(routes: Sequence[Route], served: Served | None = None) -> dict[str, Any]:
    """The whole document. `served`: see `Schemas`."""
    schemas = Schemas((kind for route in routes for kind in _kinds(route)), served)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Carillon",
            "version": "1",
            "description": _DESCRIPTION,
        },
        "servers": [{"url": "/", "description": "The gateway that serves this document."}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": {_name(status): _problem(status, schemas) for status in _MEANINGS},
            "securitySchemes": _SECURITY,
        },
    }


def _kinds(route: Route) -> Iterator[Any]:
    """Every type that the call's part of the document needs."""
    yield Problem
    yield from (kind for kind in route.answers.values() if kind is not None)
    yield from (*route.body.values(), *route.query.values(), *route.headers.values(), *route.answer_headers.values())
    yield from (PATH_PARAMETERS[name] for name in _PARAMETER.findall(route.path))


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": route.description,
        "security": _security(route),
        "parameters": list(_parameters(route, schemas)),
        "responses": _responses(route, schemas),
    }
    if not isinstance(route.callers, Callers):
        operation["x-roles"] = sorted(route.callers)
    if route.body:
        content = {media_type: {"schema": schemas.of(kind)} for media_type, kind in route.body.items()}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    return operation


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.callers is Callers.PUBLIC:
        return []
    named = "userToken" if route.callers is Callers.USER else "serviceKey"
    ways = [named, "streamTicket"] if route.by_ticket else [named]
    return [{way: []} for way in ways]


def _parameters(route: Route, schemas: Schemas) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": schemas.of(PATH_PARAMETERS[name])}
    for place, named in (("query", route.query), ("header", route.headers)):
        for name, kind in named.items():
            yield {"name": name, "in": place, "required": False, "schema": schemas.of(kind)}


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    answers = {str(status): _answer(status, kind, schemas) for status, kind in route.answers.items()}
    for name, kind in route.answer_headers.items():
        for answer in answers.values():
            answer.setdefault("headers", {})[name] = {"schema": schemas.of(kind)}
    for status in sorted(problem_statuses(route)):
        answers.setdefault(str(status), {"$ref": f"#/components/responses/{_name(status)}"})
    return answers


def _answer(status: int, kind: Any, schemas: Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if kind is not None:
        answer["content"] = {"application/json": {"schema": schemas.of(kind)}}
    return answer


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def _problem(status: int, schemas: Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {MEDIA_TYPE: {"schema": schemas.of(Problem)}},
    }
    if status in _HEADERS:
        answer["headers"] = _HEADERS[status]
    return answer


def problem_statuses(route: Route) -> set[int]:
    """Every status other than those of `answers` that the call may give."""
    statuses = set(route.problems) | {400}
    if route.callers is not Callers.PUBLIC:
        statuses |= {401, 403}
    if route.body:
        statuses |= {408, 413, 415, 503}
    if route.needs_directory:
        statuses.add(503)
    if route.changes_as_user:
        statuses.add(429)
    return statuses
