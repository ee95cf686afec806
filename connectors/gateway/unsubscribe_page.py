"""The page behind a link to unsubscribe. It says which kind of mail, and never to whom or what he has chosen."""

from __future__ import annotations

from typing import Any, Literal

from connectors.gateway.http import ApiResponse
from connectors.gateway.pages.html import page_response
from connectors.gateway.pages.less import MOSTS, less_offers
from connectors.gateway.pages.words import PageWords
from state.model.admission import AdmissionRules
from state.model.unsubscribe import Unsubscription

Saying = Literal["ask", "done", "lessened", "unknown"]


def unsubscribe_page(
    part: Saying, link: Unsubscription | None, token: str, rules: AdmissionRules, words: PageWords, **more: Any
) -> ApiResponse:
    """The answer: 200, or 404 where the link is none of ours. `more`: what was chosen, and from when on it counts."""
    values: dict[str, Any] = {
        "part": part, "words": words, "mosts": MOSTS, "path": f"/v1/unsubscribe/{token}", "kinds": "", "offers": [],
        **more,
    }  # fmt: skip
    if link is not None:
        values["kinds"] = ", ".join(map(words.category, link.categories))
        values["offers"] = less_offers(rules, link.categories, link.channel, words)
    return page_response(404 if part == "unknown" else 200, "unsubscribe.html", values)
