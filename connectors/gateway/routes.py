"""One table of all calls: path, who may call, what it takes and gives, and the code that answers.

The router, the policy and the OpenAPI document are made from it, so none of them can know a call that the others do
not. A route without a policy cannot be written: `callers` has no default.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import unquote_to_bytes

from connectors.gateway.auth import Principal
from connectors.gateway.http import ApiRequest, ApiResponse, StreamResponse
from connectors.gateway.problems import ProblemError

Handler = Callable[[ApiRequest], Awaitable[ApiResponse | StreamResponse]]
BodyType = Any
"""A type of `state.model.documents` or `connectors.gateway.answers`, or made of them."""


class Callers(Enum):
    """Who may call a route, besides the roles of service keys."""

    PUBLIC = "public"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Route:
    """One call."""

    operation: str
    """operationId of the OpenAPI document, and label of its metrics."""
    method: str
    path: str
    """`{name}` matches one segment."""
    callers: frozenset[str] | Callers
    """Roles of service keys, or users, or everybody."""
    summary: str
    description: str
    handler: Handler
    answers: Mapping[int, BodyType | None]
    """Status of success to the type of its JSON; None: no body, or not JSON."""
    problems: tuple[int, ...] = ()
    """Statuses of problem documents, besides those that follow from the policy and the body."""
    body: Mapping[str, BodyType] = field(default_factory=dict)
    """Media type to type; empty: no body."""
    body_required: bool = True
    query: Mapping[str, BodyType] = field(default_factory=dict)
    headers: Mapping[str, BodyType] = field(default_factory=dict)
    answer_headers: Mapping[str, BodyType] = field(default_factory=dict)
    """Of the answers of success."""
    needs_directory: bool = False
    """Whether what is true now must have been read first."""
    meanwhile: Handler | None = None
    """What answers browsers until then; None: a problem document does."""
    by_ticket: bool = False
    """Whether a ticket in the query serves in place of a user's token."""

    @property
    def changes_as_user(self) -> bool:
        """Whether a user changes something by it, so that it counts for how often he may."""
        return self.callers is Callers.USER and self.method != "GET"

    def media_type(self, content_type: str | None) -> str:
        """Of a body that is said to be of this type; none said: the first one that the call takes.

        :raises ProblemError: 415.
        """
        named = (content_type or "").partition(";")[0].strip().lower()
        taken = named or next(iter(self.body), "")
        if self.body and taken not in self.body:
            accepts = ", ".join(self.body)
            header = "accept-patch" if self.method == "PATCH" else "accept"
            raise ProblemError(
                415, f"send the body as {accepts}, and name it in Content-Type", headers=((header, accepts),)
            )
        return taken

    def allows(self, principal: Principal) -> bool:
        """Whether the policy lets this caller in."""
        if isinstance(self.callers, Callers):
            return self.callers is Callers.PUBLIC or principal.role is None
        return principal.role in self.callers

    def refusal(self, principal: Principal) -> str:
        """Why it does not."""
        whose = "a user's token" if principal.role is None else f"a key of role {principal.role}"
        if isinstance(self.callers, Callers):
            return f"users make this call, each with a token of his own; this is {whose}"
        return f"this call is for keys of role {' or '.join(sorted(self.callers))}; this is {whose}"


class Router:
    """Finds the route of a method and path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        """Fixed paths go before those with parameters."""
        self._fixed: dict[str, dict[str, Route]] = {}
        self._shaped: dict[int, list[tuple[list[str], dict[str, Route]]]] = {}
        for route in routes:
            self._methods(route.path)[route.method] = route

    def _methods(self, path: str) -> dict[str, Route]:
        if "{" not in path:
            return self._fixed.setdefault(path, {})
        names = path.split("/")
        shapes = self._shaped.setdefault(len(names), [])
        for known, methods in shapes:
            if known == names:
                return methods
        shapes.append((names, {}))
        return shapes[-1][1]

    def find(self, method: str, path: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """The route and its path parameters, each decoded for itself, so that an id may hold an escaped slash.

        :raises ProblemError: 404, 405 with Allow.
        """
        methods = self._fixed.get(path)
        parameters: dict[str, str] = {}
        if methods is None:
            methods, parameters = self._match(raw_path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise ProblemError(405, "this call does not exist", headers=(("allow", allowed),))
        return route, parameters

    def _match(self, raw_path: bytes) -> tuple[dict[str, Route], dict[str, str]]:
        parts = raw_path.split(b"/")
        for names, methods in self._shaped.get(len(parts), ()):
            if all(name[:1] == "{" or name.encode() == part for name, part in zip(names, parts, strict=True)):
                return methods, _parameters(names, parts)
        raise ProblemError(404, "this address does not exist")


def _parameters(names: list[str], parts: list[bytes]) -> dict[str, str]:
    try:
        return {
            name[1:-1]: unquote_to_bytes(part).decode()
            for name, part in zip(names, parts, strict=True)
            if name[:1] == "{"
        }
    except UnicodeDecodeError as error:
        raise ProblemError(400, "the address is not UTF-8") from error
