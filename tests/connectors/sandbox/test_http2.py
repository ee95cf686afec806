"""A simulated provider's connection, frame by frame, with a client on the same library."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import orjson
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from connectors.sandbox.http2 import Answer, Http2Connection
from connectors.sandbox.journal import Journal
from connectors.sandbox.misbehaviour import Behaviour


class Server:
    """Takes every message but those of which a header asks for a GOAWAY."""

    streams_first = 100

    def __init__(self, directory: Path) -> None:
        self.journal = Journal(directory, "apns")

    def judge(self, headers: dict[str, str], body: bytes) -> Answer:
        kind = Behaviour("goaway") if "goaway" in headers else Behaviour("take")
        return Answer(200 if body else 400, behaviour=kind, to="ann", identity=headers["id"])


class Wire(asyncio.Transport):
    """What the server wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: object) -> None:
        assert isinstance(data, bytes | bytearray)
        self.written += data


def _frames(written: bytes) -> Iterator[Frame]:
    while written:
        frame, length = Frame.parse_frame_header(memoryview(written)[:9])
        frame.parse_body(memoryview(written)[9 : 9 + length])
        yield frame
        written = written[9 + length :]


async def _answers(server: Server, sent: bytes) -> list[Frame]:
    """To a client all of whose frames come at once."""
    connection, wire = Http2Connection(server), Wire()
    connection.connection_made(wire)
    connection.data_received(sent)
    return list(_frames(bytes(wire.written)))


def test_a_goaway_does_not_disown_a_later_stream_that_was_read_before(tmp_path: Path) -> None:
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    for stream in (1, 3, 5, 7):
        head = [(":method", "POST"), (":path", "/"), (":authority", "a"), (":scheme", "https"), ("id", str(stream))]
        client.send_headers(stream, [*head, ("goaway", "")] if stream == 3 else head)
    for stream in (1, 5, 3, 7):
        client.send_data(stream, b"{}", end_stream=True)
    frames = asyncio.run(_answers(Server(tmp_path), client.data_to_send()))
    journal = (tmp_path / "apns.ndjson").read_bytes().splitlines()
    assert [orjson.loads(line)["id"] for line in journal] == ["1", "5"]
    assert [each.last_stream_id for each in frames if isinstance(each, GoAwayFrame)] == [5]
    assert [each.stream_id for each in frames if isinstance(each, HeadersFrame)] == [1, 5]
    refused = [(each.stream_id, each.error_code) for each in frames if isinstance(each, RstStreamFrame)]
    assert refused == [(3, ErrorCodes.REFUSED_STREAM)]
