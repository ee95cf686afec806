"""A mail from anybody as flat parts, within bounds: of any bytes, in time that grows with their number, without errors.

The parser of `email` keeps to no bounds: it descends as deep as a mail wants, and asks each line of every level. So the
cutting into parts is done here; of `email` come the meaning of Content-Type and of encoded words.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message

BYTES_MAX = 1 << 20
"""What is read of a mail: reports stand before the mail they return."""
_DEPTH_MAX = 6
_PARTS_MAX = 60
_FIELDS_MAX = 400
_VALUE_MAX = 2000
_FIELD = re.compile(r"([!-9;-~]{1,76})[ \t]*:[ \t]*(.*)", re.DOTALL)
_BLANK = re.compile(rb"\r?\n[ \t]*\r?\n|\A[ \t]*\r?\n")
_CHARSET = re.compile(
    r"(?:iso-?8859-?|windows-?|cp|koi8|gb|big5|shift_?jis|euc|iso-2022|us-ascii|utf|latin)[a-z0-9_-]*"
)

MailFields = dict[str, str]
"""Names in lower case; of a name that occurs twice the first value, unfolded, encoded words decoded."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of the tree of parts."""

    content_type: str
    text: str
    """Decoded; what does not decode is replaced."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that came in."""

    fields: MailFields
    content_type: str
    parts: tuple[Leaf, ...]
    cut: bool
    """It was longer than `BYTES_MAX`, or had more parts than are looked at."""
    ends: bool
    """Of its parts the last has an end; false: more may have come, as of a mail that is half written."""


def read_mail(raw: bytes) -> Mail:
    """Any bytes as a mail."""
    read = raw[:BYTES_MAX]
    if b"\n" not in read:
        read = read.replace(b"\r", b"\n")
    head, body = _split(read.lstrip())  # some that keep mails put an empty line before them
    fields = read_fields(_decoded(head, ""))
    parts: list[Leaf] = []
    _collect(fields, body, parts, 0)
    kind, cut = _type_of(fields), len(raw) > BYTES_MAX or len(parts) >= _PARTS_MAX
    return Mail(fields, kind.get_content_type(), tuple(parts), cut, _ends(body, _parameter(kind, "boundary")))


def read_fields(text: str) -> MailFields:
    """The fields of a block of lines, up to the first empty one."""
    found: MailFields = {}
    for name, value in _unfolded(text):
        if len(found) >= _FIELDS_MAX:
            break
        found.setdefault(name, decoded_words(value))
    return found


def decoded_words(value: str) -> str:
    """With its encoded words (RFC 2047) decoded, as far as they can be."""
    if "=?" not in value:
        return value
    try:
        pieces = decode_header(value)
    except (HeaderParseError, ValueError, UnicodeError):
        return value
    return "".join(piece if isinstance(piece, str) else _decoded(piece, charset or "") for piece, charset in pieces)


def _unfolded(text: str) -> Iterator[tuple[str, str]]:
    pending = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t") and pending:
            pending = f"{pending} {line.strip()}"[:_VALUE_MAX]
            continue
        if field := _FIELD.fullmatch(pending):
            yield field[1].lower(), field[2].strip()
        pending = line[:_VALUE_MAX]
    if field := _FIELD.fullmatch(pending):
        yield field[1].lower(), field[2].strip()


def _split(raw: bytes) -> tuple[bytes, bytes]:
    blank = _BLANK.search(raw)
    return (raw, b"") if blank is None else (raw[: blank.start()], raw[blank.end() :])


def _type_of(fields: MailFields) -> Message:
    message = Message()
    message["content-type"] = fields.get("content-type", "text/plain").replace("\r", " ").replace("\n", " ")
    return message


def _collect(fields: MailFields, body: bytes, parts: list[Leaf], depth: int) -> None:
    if len(parts) >= _PARTS_MAX:
        return
    kind = _type_of(fields)
    content_type = kind.get_content_type()
    boundary = _parameter(kind, "boundary")
    if content_type.startswith("multipart/") and boundary and depth < _DEPTH_MAX:
        pieces = _pieces(body, boundary.encode("utf-8", "surrogateescape"))
        for index, piece in enumerate(pieces):
            if index == 0 and len(pieces) > 1:  # for readers that know no MIME; the only one where no boundary follows
                continue
            head, inner = _split(piece) if index else (b"", piece)
            _collect(read_fields(_decoded(head, "")), inner, parts, depth + 1)
        return
    body = _transferred(body, fields.get("content-transfer-encoding", "").lower())
    parts.append(Leaf(content_type, _decoded(body, _parameter(kind, "charset").lower())))


def _parameter(kind: Message, name: str) -> str:
    value = kind.get_param(name, "")
    return (value if isinstance(value, str) else value[2]).strip().strip('"')


def _pieces(body: bytes, boundary: bytes) -> list[bytes]:
    line = re.compile(rb"^--" + re.escape(boundary) + rb"(?:--)?[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
    return line.split(body, maxsplit=_PARTS_MAX)


def _ends(body: bytes, boundary: str) -> bool:
    line = b"--" + boundary.encode("utf-8", "surrogateescape")
    return not boundary or line not in body or re.search(rb"(?m)^" + re.escape(line) + rb"--", body) is not None


def _transferred(body: bytes, encoding: str) -> bytes:
    if encoding.startswith("quoted"):
        return quopri.decodestring(body)
    if not encoding.startswith("base64"):
        return body
    digits = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
    try:
        return binascii.a2b_base64(digits[: len(digits) - (len(digits) % 4 == 1)] + b"=" * (-len(digits) % 4))
    except binascii.Error:
        return body


def _decoded(raw: bytes, charset: str) -> str:
    """As it says, but UTF-8 where it can be that; what is neither has every byte as a character. One apostrophe."""
    charset = "utf-7" if charset == "unicode-1-1-utf-7" else charset  # RFC 1642
    told = charset if _CHARSET.fullmatch(charset) else ""
    names = (told, "utf-8") if told.startswith(("iso-2022", "utf-7", "utf-16")) else ("utf-8", told)
    for name in filter(None, names):
        try:
            return _plain(raw.decode(name))
        except (LookupError, ValueError):
            continue  # a name that means nothing, or another one than it is: the next may fit
    return _plain(raw.decode("latin-1"))


def _plain(text: str) -> str:
    return text.replace("\u2019", "'")
