"""Which segments a user is in, however the records that say so were written."""

from pathlib import Path

import pytest

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, TopicSpec
from connectors.memberships import segments_of
from state.model.topics import SEGMENTS


def record(key: str, value: bytes) -> NewRecord:
    return NewRecord(SEGMENTS, 0, key.encode(), value)


@pytest.mark.parametrize(
    ("user", "written"), [("ada", b'"ada"'), ("zoë", '"zoë"'.encode()), ("zoë", b'"zo\\u00eb"'), ("a/b", b'"a\\/b"')]
)
def test_members_are_found_in_every_form_of_json(tmp_path: Path, user: str, written: bytes) -> None:
    log = EmbeddedLog(tmp_path, clock=lambda: 0)
    log.ensure_topics([TopicSpec(SEGMENTS, 1, compacted=True)])
    log.append([
        record("x\0" + "0", b"no JSON" + written),
        record("s\0" + "0", b'{"segment":"s","version":"7","chunk":0,"users":[%b]}' % written),
        record("s\0commit", b'{"segment":"s","version":"7","chunks":1}'),
        record("ada\0" + "0", b'{"segment":"ada","version":1,"chunk":0,"users":["x"]}'),
        record("ada\0commit", b'{"segment":"ada","version":1,"chunks":1}'),
    ])  # fmt: skip
    assert segments_of(log, user) == ["s"]
    assert segments_of(log, "nobody") == []
    log.close()
