"""The page behind a link to unsubscribe: no script, nothing from elsewhere, readable on a phone and by a screen reader.

Its language is the first of the browser's that it has, else English. It says which kind of mail, and never to whom.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Literal

from markupsafe import Markup

from connectors.gateway.http import ApiRequest, ApiResponse
from state.model.unsubscribe import Unsubscription

Saying = Literal["ask", "done", "unknown"]
_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:0 auto;padding:2rem 1rem;color:#1b1b1b;"
    "background:#fff}button{font:inherit;padding:.7rem 1.4rem;border:0;border-radius:.4rem;color:#fff;"
    "background:#0b57a4;cursor:pointer}button:focus-visible{outline:3px solid #f5a623;outline-offset:2px}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}}"
)
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("content-security-policy", _POLICY),
    ("referrer-policy", "no-referrer"),
    ("x-robots-tag", "noindex"),
    ("vary", "Accept-Language"),
)
_PAGE = Markup("""\
<!DOCTYPE html>
<html lang="{language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">\
<title>{title}</title><style>{style}</style></head>
<body><main><h1>{title}</h1>
<p>{text}</p>
{form}</main></body>
</html>
""")
_FORM = Markup(
    '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
    '<button type="submit">{button}</button></form>\n'
)
_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Unsubscribe",
        "ask": "Do you want no more mails of this kind: {kinds}?",
        "button": "Unsubscribe",
        "done": "Done. You get no more mails of this kind: {kinds}. You can change this in your settings.",
        "unknown": "This link is not whole. Open it from the mail again, or unsubscribe in your settings.",
    },
    "de": {
        "title": "Abmelden",
        "ask": "Möchten Sie keine E-Mails dieser Art mehr bekommen: {kinds}?",
        "button": "Abmelden",
        "done": "Erledigt. Sie bekommen keine E-Mails dieser Art mehr: {kinds}. "
        "In Ihren Einstellungen können Sie das ändern.",
        "unknown": "Dieser Link ist unvollständig. Öffnen Sie ihn noch einmal aus der E-Mail, "
        "oder melden Sie sich in Ihren Einstellungen ab.",
    },
    "fr": {
        "title": "Se désabonner",
        "ask": "Ne plus recevoir les e-mails de ce type : {kinds} ?",
        "button": "Se désabonner",
        "done": "C'est fait. Vous ne recevrez plus d'e-mails de ce type : {kinds}. "
        "Vous pouvez changer cela dans vos réglages.",
        "unknown": "Ce lien est incomplet. Ouvrez-le de nouveau depuis l'e-mail, ou désabonnez-vous dans vos réglages.",
    },
}


def page(request: ApiRequest, part: Saying, link: Unsubscription | None) -> ApiResponse:
    """The answer: 200, or 404 where the link is none of ours."""
    language = _language(request.header(b"accept-language") or "")
    words = _WORDS[language]
    html = _PAGE.format(
        language=language,
        title=words["title"],
        style=Markup(_STYLE),  # noqa: S704  # our own text
        text=words[part].format(kinds=", ".join(link.categories) if link else ""),
        form=_FORM.format(button=words["button"]) if part == "ask" else "",
    )
    status = 404 if part == "unknown" else 200
    return ApiResponse(status, html.encode("utf-8", "replace"), _HEADERS, "text/html; charset=utf-8")


def _language(accepted: str) -> str:
    """The first that the page has, in the order in which browsers write them."""
    named = (entry.partition(";")[0].strip().lower()[:2] for entry in accepted.split(","))
    return next((language for language in named if language in _WORDS), "en")
