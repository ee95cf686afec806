"""JSON is read strictly: in no object two members of one name, however they are spelled and wherever they stand."""

from typing import Any

import msgspec
import pytest

from connectors.gateway.decoding import DEPTH_MAX, decode_json
from connectors.gateway.problems import ProblemError


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"type":"like","type":"otp"}', "type"),
        (b'{"a":1,"\\u0061":2}', "a"),
        (b'{"payload":{"url":"https://x","code":"1","code":"2"}}', "payload.code"),
        (b'[{"a":1},{"b":[[],[{"c":0,"c":0}]]}]', "[1].b[1][0].c"),
        (b'{"":1,"":2}', ""),
        (b'{"\\u0000x":1,"\\u0000x":2}', "\N{REPLACEMENT CHARACTER}x"),
    ],
)
def test_a_member_given_twice_is_named(body: bytes, path: str) -> None:
    with pytest.raises(ProblemError) as raised:
        decode_json(body)
    assert msgspec.to_builtins(raised.value.document().errors) == [
        {"path": path, "problem": "is given more than once", "remedy": "send it once"}
    ]


@pytest.mark.parametrize(
    "document",
    [
        {"a": {"a": {"a": ":"}}, "b": [{"a": 1}, {"a": 2}], ":": "::"},
        {"time": "12:30", "url": "https://example.org:8443/x"},
        [], "a:b", None, 5, {},
    ],
)  # fmt: skip
def test_everything_else_is_the_document(document: Any) -> None:
    assert decode_json(msgspec.json.encode(document)) == document


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"{} {}", b'{"a":NaN}', b"\xff\xfe{}", b"[" * 100_000, b'{"a":":",}',
        b'{"a":":","n":%b}' % (b"9" * 5_000),
        b'{"a":":","b":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_json_in_utf_8_is_refused(body: bytes) -> None:
    with pytest.raises(ProblemError):
        decode_json(body)


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    assert [type(one) for one in decode_json(b"[3, 3.0, 3e2, -0.0, 3.5, 1e300]")] == [int, int, int, int, float, float]
    with pytest.raises(ProblemError):
        decode_json(b"1e999")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'[{"a":[[]]},{"payload":{"a":%b}}]' % (b"[" * 62 + b"]" * 62), "[1].payload.a"),
        (b"[" * 65 + b"]" * 65, "[0][0][0]"),
        (b'{"a":":","payload":' + b'{"a":' * 900 + b"0" + b"}" * 901, "payload.a.a"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_document_with_too_many_levels_is_refused_by_name(body: bytes, path: str) -> None:
    with pytest.raises(ProblemError) as raised:
        decode_json(body)
    assert msgspec.to_builtins(raised.value.document().errors) == [
        {"path": path, "problem": "is nested deeper than 64 levels", "remedy": "flatten it"}
    ]


def test_as_many_levels_as_allowed_are_a_document() -> None:
    assert decode_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX) is not None
