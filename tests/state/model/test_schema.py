"""What strangers may write into a topic either is a record or is malformed: nothing else is raised."""

from __future__ import annotations

import pytest

from state.model.delivery import decode_to_deliver
from state.model.errors import MalformedRecordError
from state.model.settings import KILL

DEEP = b"[" * 60_000


def test_a_null_is_a_missing_key() -> None:
    assert KILL.decode(b'{"scope":"all","value":null,"reason":null}').scope == "all"


@pytest.mark.parametrize(
    "value",
    [
        b"", b"null", b"[]", b'{"scope":null}', b'{"scope":null,"x":' + DEEP, b'{"scope":null,"x":"\xff"}',
        b'{"scope":null', b'{"scope":null} {}', b'{"x":' + DEEP, b'{"scope":"\xff"}', b"\xff",
    ],
)  # fmt: skip
def test_what_is_no_record_is_malformed(value: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        KILL.decode(value)
    for schema in ("emission/1+json", "emission/1+arrow", "emission/3+arrow", "emission/4+arrow", "none"):
        with pytest.raises(MalformedRecordError):
            decode_to_deliver(schema, value)
