"""The two parts of a mail: HTML, sanitised by a list of what is allowed, and plain text. Pure.

A writer's HTML may hold what lays words out, and links to web pages and mail addresses. There are no pictures, since a
picture tells its server who opened the mail and when; nor scripts, styles of the whole mail, forms and comments.
"""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser

import nh3
from markupsafe import Markup, escape

_TAGS = set(
    "a b blockquote br caption center code del div em h1 h2 h3 hr i li ol p pre s small span strong sub sup table "
    "tbody td th thead tr u ul".split()
)
_CELL = {"align", "valign", "bgcolor", "width", "colspan", "rowspan"}
_SANITISER = nh3.Cleaner(
    tags=_TAGS,
    attributes={
        "*": {"align", "dir", "lang", "style", "title"}, "a": {"href"}, "td": _CELL, "th": _CELL,
        "table": {"bgcolor", "border", "cellpadding", "cellspacing", "role", "width"},
    },
    url_schemes={"https", "mailto"},
    url_relative="deny",
    filter_style_properties=set(
        "background-color border border-radius color display font-family font-size font-style font-weight line-height "
        "margin margin-bottom margin-top max-width padding text-align text-decoration width".split()
    ),
)  # fmt: skip
_BLOCKS = set("blockquote br div h1 h2 h3 hr li ol p pre table tr ul".split())


def sanitised(html: str) -> Markup:
    """Only what is allowed of a piece of HTML; what is sanitised already stays as it is."""
    return Markup(_SANITISER.clean(html))  # noqa: S704  # it was sanitised just now


def paragraphs_html(paragraphs: list[str]) -> Markup:
    """Each a paragraph."""
    return Markup("".join(f"<p>{_breaks(paragraph)}</p>\n" for paragraph in paragraphs))  # noqa: S704  # it is escaped


def list_html(lines: list[str]) -> Markup:
    """A list of lines; none: nothing."""
    if not lines:
        return Markup("")
    items = "".join(f"<li>{escape(line)}</li>\n" for line in lines)
    return Markup(f"<ul>\n{items}</ul>\n")  # noqa: S704  # it is escaped


def mail_html(body: Markup, general: Mapping[str, str], unsubscribe_url: str | None, language: str) -> str:
    """The whole HTML part, with its foot."""
    foot = f"<p><small>{escape(general['footer'])}</small></p>\n"
    if unsubscribe_url is not None:
        foot += f'<p><a href="{escape(unsubscribe_url)}">{escape(general["unsubscribe"])}</a></p>\n'
    head = f'<!DOCTYPE html>\n<html lang="{escape(language)}">\n<head><meta charset="utf-8"></head>\n<body>\n'
    return f"{head}{body}{foot}</body>\n</html>\n"


def mail_text(paragraphs: list[str], lines: list[str], general: Mapping[str, str], unsubscribe_url: str | None) -> str:
    """The whole plain part, with its foot."""
    blocks = [*paragraphs]
    if lines:
        blocks.append("\n".join(f"- {line}" for line in lines))
    blocks.append("-- \n" + general["footer"])
    if unsubscribe_url is not None:
        blocks.append(f"{general['unsubscribe']}: {unsubscribe_url}")
    return "\n\n".join(blocks) + "\n"


def plain_of(html: str) -> str:
    """What a piece of HTML says, for the plain part: blocks on lines of their own, links with their addresses."""
    reader = _PlainReader()
    reader.feed(html)
    reader.close()
    lines = [" ".join(line.split()) for line in "".join(reader.said).split("\n")]
    return "\n".join(line for line in lines if line)


class _PlainReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.said.append("\n- " if tag == "li" else "\n")
        if tag in ("td", "th"):
            self.said.append(" ")
        if tag == "a":
            self._links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.said.append("\n")
        if tag == "a" and self._links and (address := self._links.pop()):
            self.said.append(f" ({address.removeprefix('mailto:')})")

    def handle_data(self, data: str) -> None:
        self.said.append(data.replace("\n", " "))


def _breaks(text: str) -> str:
    return str(escape(text)).replace("\n", "<br>\n")
