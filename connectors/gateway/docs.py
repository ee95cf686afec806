"""What the calls are: `/openapi.json` for programs, `/docs` for people, both from the table of routes.

The examples of the page are in `connectors/gateway/pages/examples.toml`. They read where to call and with which key
from the environment, so that they run as they stand; a test runs them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from connectors.gateway import openapi
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.pages.html import file_text, page_response
from connectors.gateway.routes import Route
from state.model.addresses import Served

_GROUPS = (
    ("Producers", "p0"), ("Host application", "producer"), ("Users", ""), ("Support", "support"), ("Operators", "ops"),
)  # fmt: skip
"""Titles, and the role that says of a call to whom it belongs, the first that fits; users have tokens and no role."""
_OTHERS = "Everybody"


@dataclass(frozen=True, slots=True)
class DescribedCall:
    """One call, as the page shows it."""

    method: str
    path: str
    operation: Mapping[str, Any]
    """Its part of the document."""

    @property
    def group(self) -> str:
        """Whose call it is."""
        if not self.operation["security"]:
            return _OTHERS
        roles = self.operation.get("x-roles", [""])
        return next((title for title, role in _GROUPS if role in roles), _OTHERS)


class Docs:
    """`GET /openapi.json` and `GET /docs`."""

    def __init__(self, routes: Sequence[Route], served: Served | None) -> None:
        """`routes` may still grow until the first request; `served` as in `connectors.gateway.schemas`."""
        self._routes, self._served = routes, served

    async def document(self, _request: ApiRequest) -> ApiResponse:
        """The OpenAPI document."""
        return self._document

    async def page(self, _request: ApiRequest) -> ApiResponse:
        """The same as a page, with examples."""
        return self._page

    @cached_property
    def _described(self) -> dict[str, Any]:
        return openapi.document(self._routes, self._served)

    @cached_property
    def _document(self) -> ApiResponse:
        return json_response(200, self._described)

    @cached_property
    def _page(self) -> ApiResponse:
        described = self._described
        groups: dict[str, list[DescribedCall]] = {title: [] for title in (*dict(_GROUPS), _OTHERS)}
        for path, on in described["paths"].items():
            for method, operation in on.items():
                call = DescribedCall(method.upper(), path, operation)
                groups[call.group].append(call)
        examples = tomllib.loads(file_text("examples.toml"))["example"]
        values = {"info": described["info"], "groups": groups, "examples": examples, **described["components"]}
        return page_response(200, "docs.html", values, style="docs.css")
