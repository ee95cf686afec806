"""What a notification says on a channel of another package: the same words as on others, as long as it can show."""

from collections.abc import Callable, Mapping
from typing import Any

from operators.text import shorten
from state.model.channels import ADDED, added_channel
from state.model.content import PlainContent, link_of
from state.model.errors import TemplateError


def plain_content(
    channel: str,
    shown: Callable[[str, int], str],
    title: str,
    headline: str,
    detail: str,
    payload: Mapping[str, Any] | None,
) -> PlainContent:
    """`shown` cuts what is for a screen.

    :raises TemplateError: no package adds such a channel.
    """
    if channel not in ADDED:
        raise TemplateError(f"no template serves the channel {channel}")
    most = added_channel(channel)
    return PlainContent(
        shown(headline, most.text_max),
        shown(title, most.title_max) if most.title_max else "",
        shorten(detail, most.detail_max) if most.detail_max else "",
        link_of(payload),
    )
