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


def page_headers(style: str, *, script: bool) -> tuple[tuple[str, str], ...]:
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
    names = ("docs.html", "preferences.html", "starting.html", "unsubscribe.html")
    return Environment(
        loader=DictLoader({name: file_text(name) for name in names}), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def page_response(
    status: int, name: str, values: dict[str, Any], *, script: bool = False, style: str = "style.css"
) -> ApiResponse:
    """A page made of a template and a style of this package, with a script or without."""
    text = file_text(style)
    html = _environment().get_template(name).render(values, style=Markup(text))  # noqa: S704  # our own text
    headers = page_headers(text, script=script)
    return ApiResponse(status, html.encode("utf-8", "replace"), headers, MEDIA_TYPE)
