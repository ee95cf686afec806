"""A request over HTTP, for whoever makes, signs or judges one; without the client, which is heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Request:
    """One request; `path` is relative to the transport's origin and may have a query. As cheap as a `Delivery`."""

    path: str
    headers: dict[str, str]
    body: bytes = b""
    method: str = "POST"
