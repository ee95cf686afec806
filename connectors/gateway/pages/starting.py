"""What people see behind a link while the gateway still reads what is true now."""

from __future__ import annotations

from connectors.gateway.http import ApiRequest, ApiResponse
from connectors.gateway.pages.html import page_response
from connectors.gateway.pages.words import words_wished


async def wait_page(request: ApiRequest, *, again: bool) -> ApiResponse:
    """503: nothing was stored. `again`: the page is asked for once more by itself."""
    words = words_wished(request.header(b"accept-language"))
    page = page_response(503, "starting.html", {"words": words, "again": again})
    return page._replace(headers=(*page.headers, ("retry-after", "2")))
