"""Texts as text messages carry them: measured as they are paid, and cut into the parts that phones join again.

A message is in septets if every character is in GSM 03.38, otherwise in UTF-16 (UCS-2). One part holds 160 septets or
70 UTF-16 units. Of several parts each begins with a header that names its place, and holds 153 or 67.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

GSM_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The basic table of GSM 03.38 by code, with a space in place of its escape: one septet each."""
GSM_EXTENDED = "\f^{}\\[~]|€"
"""The extension table: an escape and a character, two septets each."""
_ESCAPE = 0x1B
_CODES = {
    **{sign: bytes([code]) for code, sign in enumerate(GSM_BASIC)},
    **{
        sign: bytes([_ESCAPE, code])
        for sign, code in zip(GSM_EXTENDED, (0x0A, 0x14, 0x28, 0x29, 0x2F, 0x3C, 0x3D, 0x3E, 0x40, 0x65), strict=True)
    },
}
_GSM_TEXT = re.compile(f"[{re.escape(GSM_BASIC + GSM_EXTENDED)}]*")
_EXTENDED = re.compile(f"[{re.escape(GSM_EXTENDED)}]")
_SEPTETS, _SEPTETS_OF_SEVERAL = 160, 153
_BYTES, _BYTES_OF_SEVERAL = 140, 134
PARTS_MAX = 255
"""A header has one byte for how many there are."""


@dataclass(frozen=True, slots=True)
class SmsParts:
    """A text as its parts are carried, without their headers."""

    gsm: bool
    """Each byte of a part is a septet; otherwise a part is UTF-16, big-endian."""
    parts: tuple[bytes, ...]


def is_gsm(text: str) -> bool:
    """Whether a text message can carry it in septets."""
    return _GSM_TEXT.fullmatch(text) is not None


def units(text: str) -> int:
    """How long it is in a text message: septets, or UTF-16 units if one character is outside of GSM 03.38."""
    if is_gsm(text):
        return len(text) + len(_EXTENDED.findall(text))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def sms_parts(text: str) -> SmsParts:
    """Cut between characters: neither an escape nor half of a pair is ever the end of a part.

    :raises ValueError: there are more parts than a header can count.
    """
    gsm = is_gsm(text)
    signs = [_CODES[sign] if gsm else sign.encode("utf-16-be", "surrogatepass") for sign in text]
    whole, of_several = (_SEPTETS, _SEPTETS_OF_SEVERAL) if gsm else (_BYTES, _BYTES_OF_SEVERAL)
    length = sum(map(len, signs))
    parts = (b"".join(signs),) if length <= whole else tuple(_filled(signs, of_several))
    if len(parts) > PARTS_MAX:
        raise ValueError(f"a text of {len(parts)} parts; a text message has {PARTS_MAX} at most")
    return SmsParts(gsm, parts)


def _filled(signs: list[bytes], room: int) -> Iterator[bytes]:
    part = bytearray()
    for sign in signs:
        if len(part) + len(sign) > room:
            yield bytes(part)
            part.clear()
        part += sign
    yield bytes(part)
