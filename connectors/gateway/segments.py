"""`PUT /v1/segments/{segment}`: the members of a segment, as a list or a file of any length.

The body is spooled to a file, checked whole, then written to the topic `segments` in chunks, with the commit record
last, which makes the version count: a client or a process that dies in between changes nothing. Memory does not grow
with the body, but for a JSON list, which is limited. A user who is named twice is in the segment once.

A list may be empty, and so may a file that has the column. A file of nothing, or without the column, is none: an export
that was cut off or mislabelled would replace an audience by nobody.

| media type | holds |
|---|---|
| `application/json` | `["u1","u2"]` or `{"users":["u1","u2"]}`, up to 8 MiB |
| `application/x-ndjson` | one user a line: a JSON string, or an object with `user` |
| `text/csv` | UTF-8 with a header line that has a column `user` |
| `application/vnd.apache.parquet` | a column `user` of strings |
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from connectors.gateway.answers import SegmentStored
from connectors.gateway.bodies import named_in_path
from connectors.gateway.distinct import DistinctCount
from connectors.gateway.http import ApiRequest, ApiResponse, json_response, too_large
from connectors.gateway.problems import ProblemError, invalid
from connectors.gateway.records import PartitionCount, segment_chunk, segment_commit
from connectors.gateway.writer import unavailable
from connectors.log.interface import Log
from connectors.tables import Form, TableError, read_rows
from state.model.admission import AdmissionRules, FieldError
from state.model.errors import LogError

UPLOAD_BYTES_MAX = 512 * 1024 * 1024
_LIST_BYTES_MAX = 8 * 1024 * 1024
_LINE_BYTES_MAX = 4096
_CHUNK_USERS = 5_000
_CHUNK_BYTES = 256 * 1024
_ERRORS_MAX = 100

File = IO[bytes]


class Segments:
    """Takes audiences. One at a time per segment, so that chunks of two versions do not mix."""

    def __init__(
        self,
        rules: AdmissionRules,
        log: Log,
        partitions: PartitionCount,
        *,
        spool: Path,
        clock: Callable[[], int],
    ) -> None:
        """Bodies wait in files under `spool`; versions come from `clock`, milliseconds since 1970, and rise."""
        self._rules, self._log, self._partitions, self._spool = rules, log, partitions, spool
        self._clock = clock
        self._lock = asyncio.Lock()
        self._version = 0
        spool.mkdir(parents=True, exist_ok=True)

    async def put(self, request: ApiRequest) -> ApiResponse:
        """Replace the members."""
        (segment,) = named_in_path(request, self._rules, "segment")
        read = _READERS[request.media_type]
        with tempfile.TemporaryFile(dir=self._spool) as file:
            await request.stream(writer_to(file), UPLOAD_BYTES_MAX)
            async with self._lock:
                version, users = await asyncio.to_thread(self._store, segment, read, file)
        return json_response(200, SegmentStored(segment, version, users))

    def _store(self, segment: str, read: Callable[[File], Iterator[Any]], file: File) -> tuple[int, int]:
        users = self._check(read, file)
        self._version = version = max(self._clock(), self._version + 1)
        chunks = 0
        try:
            for chunk in _chunks(read(file)):
                self._log.append([segment_chunk(segment, version, chunks, chunk, self._partitions)])
                chunks += 1
            self._log.append([segment_commit(segment, version, chunks, self._partitions)])
        except LogError as error:
            raise unavailable() from error
        return version, users

    def _check(self, read: Callable[[File], Iterator[Any]], file: File) -> int:
        """How many users are named, each once.

        :raises ProblemError: 400 with the first hundred errors; nothing is written then.
        """
        errors: list[FieldError] = []
        with DistinctCount(self._spool) as distinct:
            self._look(read(file), distinct, errors)
            if errors:
                raise invalid(errors)
            return distinct.count()

    def _look(self, users: Iterator[Any], distinct: DistinctCount, errors: list[FieldError]) -> None:
        try:
            for place, user in enumerate(users):
                errors += self._rules.text_errors(f"users[{place}]", user)
                if len(errors) >= _ERRORS_MAX:
                    break
                if not errors:
                    distinct.add(user)
        except (ValueError, RecursionError) as error:
            raise invalid([FieldError("", *_UNREADABLE)]) from error


_UNREADABLE = (
    "is no list of users of the kind that Content-Type names",
    'send a JSON array, {"users": [...]}, or NDJSON, CSV or Parquet with a column `user`',
)


def writer_to(file: Any) -> Callable[[bytes], Any]:
    """Takes the parts of a body into a file; large ones in a thread."""

    async def take(part: bytes) -> None:
        await asyncio.to_thread(file.write, part) if len(part) > _LINE_BYTES_MAX else file.write(part)

    return take


def _chunks(users: Iterator[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for user in users:
        chunk.append(user)
        size += len(user) + 3
        if len(chunk) >= _CHUNK_USERS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _from_json(file: File) -> Iterator[Any]:
    file.seek(0)
    body = file.read(_LIST_BYTES_MAX + 1)
    if len(body) > _LIST_BYTES_MAX:
        raise too_large(_LIST_BYTES_MAX)
    document = msgspec.json.decode(body)
    users = document.get("users") if isinstance(document, dict) and document.keys() == {"users"} else document
    if not isinstance(users, list):
        raise ValueError("no list of users")  # noqa: TRY004 - the one error that means "not of its media type"
    yield from users


def _no_users(problem: str) -> ProblemError:
    return invalid([FieldError("", problem, "send a file of users; to empty a segment, send the list [] as JSON")])


def _from_table(form: Form) -> Callable[[File], Iterator[Any]]:
    def users(file: File) -> Iterator[Any]:
        try:
            for rows in read_rows(file, form, ["user"]):
                yield from rows.columns[0]
        except TableError as error:
            raise _no_users(str(error)) from error

    return users


_READERS: dict[str, Callable[[File], Iterator[Any]]] = {
    "application/json": _from_json,
    "application/x-ndjson": _from_table("ndjson"),
    "text/csv": _from_table("csv"),
    "application/vnd.apache.parquet": _from_table("parquet"),
}
