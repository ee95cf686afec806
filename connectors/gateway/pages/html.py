"""How a page is made and sent: no cookie, nothing from elsewhere, no script but our own file, in no search engine."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from connectors.gateway.http import ApiResponse

MEDIA_TYPE = "text/html; charset=utf-8"


@cache
def file_text(name: str) -> str:
    """A file of this package."""
    return (resources.files("connectors.gateway.pages") / name).read_text(encoding="utf-8")


def page_headers(style: str, *, script: bool = False) -> tuple[tuple[str, str], ...]:
    """Of a page with this style inside it and, perhaps, a script of this server."""
    allowed = f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'; "
    allowed += "script-src 'self'; " if script else ""
    policy = f"default-src 'none'; {allowed}form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    return (
        ("content-security-policy", policy),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex"),
        ("vary", "Accept-Language"),
    )


@cache
def _environment() -> Environment:
    names = ("preferences.html", "unsubscribe.html")
    environment = Environment(
        loader=DictLoader({name: file_text(name) for name in names}), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["style"] = Markup(file_text("style.css"))  # noqa: S704  # our own text
    return environment


def page_response(status: int, name: str, values: dict[str, Any], *, script: bool = False) -> ApiResponse:
    """A page made of a template of this package, with a script or without."""
    html = _environment().get_template(name).render(values)
    headers = page_headers(file_text("style.css"), script=script)
    return ApiResponse(status, html.encode("utf-8", "replace"), headers, MEDIA_TYPE)
