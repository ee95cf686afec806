"""The OpenAPI 3.1 document, from the table of routes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from connectors.gateway import schemas
from connectors.gateway.routes import Callers, Route

_PARAMETER = re.compile(r"\{(\w+)\}")


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Carillon", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {"Problem": schemas.PROBLEM},
            "securitySchemes": {
                "serviceKey": {"type": "http", "scheme": "bearer", "description": "the key of a service"},
                "userToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "security": _security(route),
        "parameters": list(_parameters(route)),
        "responses": _responses(route),
    }
    if not isinstance(route.callers, Callers):
        operation["x-roles"] = sorted(route.callers)
    if route.body:
        content = {media_type: {"schema": schema} for media_type, schema in route.body.items()}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    return operation


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.callers is Callers.PUBLIC:
        return []
    return [{"userToken" if route.callers is Callers.USER else "serviceKey": []}]


def _parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": schemas.TEXT}
    for name, schema in route.query.items():
        yield {"name": name, "in": "query", "required": False, "schema": schema}
    for name, schema in route.headers.items():
        yield {"name": name, "in": "header", "required": False, "schema": schema}


def _responses(route: Route) -> dict[str, Any]:
    answers = {str(status): _answer(status, schema) for status, schema in route.answers.items()}
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in sorted(problem_statuses(route)):
        answers.setdefault(str(status), {"description": HTTPStatus(status).phrase, "content": content})
    return answers


def _answer(status: int, schema: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if schema is not None:
        answer["content"] = {"application/json": {"schema": schema}}
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
    return statuses
