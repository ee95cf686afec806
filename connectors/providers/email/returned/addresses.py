"""Addresses as other servers write them: with types, brackets, quotes, comments, source routes, in xtext."""

from __future__ import annotations

import re

_WIDE = (
    "\uff1a\uff0c\uff1b\u3002\u3001\uff08\uff09\u300c\u300d\u300e\u300f\u3010\u3011"
    "\u300a\u300b\u3008\u3009\uff3b\uff3d\uff1c\uff1e\u201c\u201d"
)
"""How East Asian texts set what they quote apart."""
_LOCAL = rf"(?:\"[^\"\s@]{{1,64}}\"|[^\s<>()\[\]\\,;:\"@|{_WIDE}]{{1,64}})"
_DOMAIN = rf"(?:[^\s<>()\[\]\\,;:\"'@|/=?*&`{{}}!#$%^+~{_WIDE}]{{1,253}}|\[[0-9a-fA-F.:]{{3,45}}\])"
ADDRESS = re.compile(rf"(?<![^\s<>()\[\]\\,;:\"'|=/{_WIDE}]){_LOCAL}@{_DOMAIN}")
"""An address in a text; what may follow it (a full stop, a colon) is taken off by `tidy`."""
_TYPED = re.compile(r"\s*[A-Za-z0-9-]{1,20}\s*;\s*")
_COMMENT = re.compile(r"\([^()]{0,200}\)")
_ROUTE = re.compile(r"(?<![^\s<;,:(])<?\s*@[^\s:<>]{1,300}:")
_XTEXT = re.compile(r"\+([0-9A-F]{2})|\\x\{([0-9A-Fa-f]{2,6})\}")
_SCHEME = re.compile(r"^(?:mailto|smtp|rfc822|to|rcpt)[:=]", re.IGNORECASE)


def address_in(field: str) -> str | None:
    """The one address of a field; None: there is none."""
    field = field[:2000]
    typed = _TYPED.match(field)
    if typed is not None:
        field = field[typed.end() :]
    field = _COMMENT.sub(" ", _ROUTE.sub("<", field)).strip()
    bracketed = re.search(r"<([^<>]{3,320})>", field)
    for text in (bracketed[1] if bracketed else "", field):
        found = ADDRESS.search(_SCHEME.sub("", text.strip()))
        if found is not None:
            return tidy(found[0])
    return None


def addresses_in(text: str) -> list[str]:
    """All addresses of a text, in their order, each once."""
    return list(dict.fromkeys(tidy(found) for found in ADDRESS.findall(_ROUTE.sub("<", text))))


def tidy(address: str) -> str:
    """Without what the sentence around it leaves, the domain in lower case."""
    local, _, domain = address.strip("'`").rpartition("@")
    local, domain = _SCHEME.sub("", local), domain.partition("..")[0].rstrip(".,:;!?-_…")
    quoted = len(local) > 2 and local[0] == local[-1] == '"'
    plain = local[1:-1] if quoted and re.fullmatch(r"[A-Za-z0-9.!#$&'*+/=?^_`{|}~-]+", local[1:-1]) else local
    return f"{plain}@{domain.lower()}"


def xtext(field: str) -> str:
    """The meaning of RFC 3461's xtext and of RFC 6533's utf-8-addr-xtext, where all of a field looks like it."""
    try:
        return _XTEXT.sub(lambda found: chr(int(found[1] or found[2], 16)), field)
    except (ValueError, OverflowError):
        return field
