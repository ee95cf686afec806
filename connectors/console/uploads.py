"""Forms with a file (multipart/form-data, RFC 7578), as browsers send them without any script."""

from __future__ import annotations

from email.message import Message
from email.parser import HeaderParser
from typing import NamedTuple

from connectors.gateway.http import ApiRequest
from connectors.gateway.problems import ProblemError

FILE_BYTES_MAX = 32 << 20
"""With the form around it; it is held in memory. Larger files are sent by the call. Default: 32 MiB."""
_PARTS_MAX = 20
_HEAD_BYTES_MAX = 4 << 10
"""Of a part. Python's parser of headers takes time by the square of their length: 4 MiB take over a minute."""
_NO_UPLOAD = "The form does not decode."


class Upload(NamedTuple):
    """The fields of a form, and its file."""

    form: dict[str, str]
    file: bytes
    file_name: str
    """As the person's machine has it; empty: he chose none."""


async def upload_of(request: ApiRequest) -> Upload:
    """Read a form with one file.

    :raises ProblemError: 400, 408, 413.
    """
    body = bytearray()

    async def take(part: bytes) -> None:
        body.extend(part)

    await request.stream(take, FILE_BYTES_MAX)
    boundary = _headers(f"Content-Type: {request.header(b'content-type') or ''}").get_boundary()
    if not boundary:
        return Upload({}, b"", "")  # another kind of form, which nobody signed
    return _upload(bytes(body), b"\r\n--" + boundary.encode("ascii", "replace"))


def _upload(body: bytes, delimiter: bytes) -> Upload:
    parts = (b"\r\n" + body).split(delimiter, _PARTS_MAX)
    if len(parts) < 3 or not parts[-1].startswith(b"--"):  # nothing before the first part, an end behind the last
        raise ProblemError(400, _NO_UPLOAD)
    form, file, file_name = dict[str, str](), b"", ""
    for part in parts[1:-1]:
        head, found, content = part.partition(b"\r\n\r\n")
        if not found or len(head) > _HEAD_BYTES_MAX:
            raise ProblemError(400, _NO_UPLOAD)
        headers = _headers(head.decode("utf-8", "replace").strip())
        name = headers.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise ProblemError(400, _NO_UPLOAD)
        if headers.get_param("filename", header="content-disposition") is not None:
            file, file_name = content, headers.get_filename() or ""
        else:
            form[name] = content.decode("utf-8", "replace")
    return Upload(form, file, file_name)


def _headers(text: str) -> Message:
    return HeaderParser().parsestr(text)
