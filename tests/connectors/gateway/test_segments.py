"""Segments as the host application uploads them, on a real gateway process."""

import io
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.gateway import Gateway


def parquet(users: list[str]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"user": users, "other": list(range(len(users)))}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("media_type", "encode"),
    [
        ("application/json", msgspec.json.encode),
        ("application/json", lambda users: msgspec.json.encode({"users": users})),
        ("application/x-ndjson", lambda users: b"\n".join(msgspec.json.encode({"user": user}) for user in users)),
        ("text/csv", lambda users: ("name,user\n" + "".join(f'"a, b",{user}\n' for user in users)).encode()),
        ("application/vnd.apache.parquet", parquet),
    ],
    ids=["list", "object", "ndjson", "csv", "parquet"],
)
def test_segment_is_chunks_and_then_its_commit(gateway: Gateway, media_type: str, encode: Any) -> None:
    segment, users = uuid4().hex, [f"user-{number}" for number in range(12_345)]
    headers = {"content-type": media_type}
    reply = gateway.call("PUT", f"/v1/segments/{segment}", encode(users), headers=headers)
    assert (reply.status, reply.json["users"]) == (200, len(users))
    stored = [one for one in gateway.values("segments") if one["segment"] == segment]
    *chunks, commit = stored
    assert commit == {"segment": segment, "version": reply.json["version"], "chunks": len(chunks)}
    assert [chunk["chunk"] for chunk in chunks] == list(range(len(chunks)))
    assert [user for chunk in chunks for user in chunk["users"]] == users
    again = gateway.call("PUT", f"/v1/segments/{segment}", encode(users[:1]), headers=headers)
    assert again.json["version"] > reply.json["version"]


@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [
        ("application/json", b'{"users":["a",""]}', 400),
        ("application/json", b'{"members":[]}', 400),
        ("application/x-ndjson", b'"a"\n{', 400),
        ("text/csv", b"name\nx\n", 400),
        ("text/csv", b"name\n", 400),
        ("text/csv", b"", 400),
        ("text/csv", b"\n\n", 400),
        ("text/csv", b"\xef\xbb\xbf", 400),
        ("text/csv", b'"user,x"\n', 400),
        ("application/x-ndjson", b"", 400),
        ("application/x-ndjson", b" \n\n", 400),
        ("application/json", b"", 400),
        ("application/vnd.apache.parquet", b"", 400),
        ("text/csv", b"user\n\xff\n", 400),
        ("application/vnd.apache.parquet", b"PAR1", 400),
        ("application/zip", b"PK", 415),
    ],
)
def test_wrong_segment_writes_nothing(gateway: Gateway, media_type: str, body: bytes, status: int) -> None:
    segment = uuid4().hex
    reply = gateway.call("PUT", f"/v1/segments/{segment}", body, headers={"content-type": media_type})
    assert reply.status == status
    assert b"see the document" not in reply.body
    assert [one for one in gateway.values("segments") if one["segment"] == segment] == []


def test_what_is_no_audience_does_not_replace_one(gateway: Gateway) -> None:
    segment = uuid4().hex
    assert gateway.call("PUT", f"/v1/segments/{segment}", ["ann", "bob"]).json["users"] == 2
    for body in (b"email\n", b"", b"\n\n"):
        reply = gateway.call("PUT", f"/v1/segments/{segment}", body, headers={"content-type": "text/csv"})
        assert reply.status == 400
        assert "column `user`" in reply.json["errors"][0]["problem"]
    assert len([one for one in gateway.values("segments") if one["segment"] == segment]) == 2


def test_a_user_named_twice_counts_once(gateway: Gateway) -> None:
    path = f"/v1/segments/{uuid4().hex}"
    assert gateway.call("PUT", path, ["ann", "bob", "ann"]).json["users"] == 2
    csv = b"user\n" + b"ann\nbob\n" * 10_000
    assert gateway.call("PUT", path, csv, headers={"content-type": "text/csv"}).json["users"] == 2
    assert gateway.call("PUT", path, b"user\n", headers={"content-type": "text/csv"}).json["users"] == 0


def test_empty_segment_is_a_commit_alone(gateway: Gateway) -> None:
    segment = uuid4().hex
    assert gateway.call("PUT", f"/v1/segments/{segment}", []).json["users"] == 0
    assert [one["chunks"] for one in gateway.values("segments") if one["segment"] == segment] == [0]
