"""Texts as people see them: cleaned of what does harm, cut between characters, measured as a text message is paid.

Cleaning goes by a list of what does harm, not by what a Unicode table calls printable: joiners, marks and tags are part
of words, names and flags, and a character that is newer than this table is somebody's too. Where a text is cut, the
table of the pinned library decides, so that every Python sends the same.
"""

from __future__ import annotations

import regex

from state.model.gsm import is_gsm, units

_SEPARATORS = "\t\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029"
_HARMFUL = (
    *range(0x20), *range(0x7F, 0xA0),  # controls
    *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # bidirectional embeddings, overrides and isolates
    *range(0x206A, 0x2070), *range(0xFFF9, 0xFFFC), 0xFEFF,  # deprecated ones, annotations, byte order mark
    *range(0xD800, 0xE000),  # halves of a pair, which no encoding can carry
)  # fmt: skip
_CLEANING: dict[int, str | None] = {
    **dict.fromkeys(_HARMFUL), **{ord(separator): " " for separator in _SEPARATORS}, 0x0A: "\n",
}  # fmt: skip
_VISIBLE = regex.compile(r"[^\p{Z}\p{Cc}\p{Cf}\p{M}\u115f\u1160\u2800\u3164\uffa0]")
"""Not spaces, controls, marks without a letter, and letters that fill a place."""
_GRAPHEME = regex.compile(r"\X")


def clean(text: str) -> str:
    """Without controls and what turns the direction of the text that follows; separators become spaces, lines stay."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_CLEANING)


def is_blank(text: str) -> bool:
    """Whether a person sees nothing of it."""
    return _VISIBLE.search(text) is None


def clip(text: str, limit: int) -> str:
    """On one line, and at most `limit` units long, see `shorten`."""
    return shorten(" ".join(text.split()), limit)


def shorten(text: str, limit: int) -> str:
    """At most `limit` units, cut between characters as people see them.

    What was cut ends with three dots if it fits into septets, since "…" would double the price of a text message.
    """
    if 2 * len(text) <= limit or units(text) <= limit:
        return text
    ellipsis = "..." if is_gsm(text) else "…"
    room = limit - len(ellipsis)
    kept: list[str] = []
    for found in _GRAPHEME.finditer(text):
        room -= _units_in(found[0], ellipsis)
        if room < 0:
            break
        kept.append(found[0])
    return "".join(kept).rstrip() + ellipsis


def _units_in(grapheme: str, ellipsis: str) -> int:
    """Its length in the encoding of the whole."""
    return units(grapheme) if ellipsis == "..." else len(grapheme.encode("utf-16-le", "surrogatepass")) // 2
