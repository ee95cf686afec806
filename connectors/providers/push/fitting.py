"""What is cut of a notification that is too long for its provider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from state.model.content import PushContent


def fitted(content: PushContent, *, size: Callable[[PushContent], int], limit: int) -> PushContent:
    """The content with its body cut to an ellipsis where `size` of the whole is above `limit`; a title is short.

    `size` counts no character of the body as more than six bytes. What is too long without any body stays so.
    """
    fit, body = content, content.body
    while (excess := size(fit) - limit) > 0 and body:
        body = body[: max(0, len(body) - 1 - excess // 6)]
        fit = replace(content, body=body + "…")
    return fit
