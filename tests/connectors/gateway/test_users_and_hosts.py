"""The calls of users and of the host application, on a real gateway process."""

import base64
import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.gateway import Gateway, Reply, running, token

from connectors.inbox.rocksdb import RocksInboxOptions, RocksInboxStore, shard_path
from state.inbox.values import InboxHead, InboxItem, ShardCommit, StoredRow, UserChanges
from state.model.keys import key_group, partition_of_group

ANNE, BOB = "anne", "bob"
ROWS = 45


def rows() -> list[StoredRow]:
    found = []
    for number in range(ROWS):
        item = InboxItem(number, f"e{number}", "actor", 1_000 + number, b'{"text":"canary"}')
        found.append(
            StoredRow(number, "like", f"o{number}", True, f"e{number}", 1, 1_000 + number, False, deque([item]))
        )
    return found


def fill_inbox(directory: Path, user: str) -> None:
    partition = partition_of_group(key_group(user), 4)
    path = shard_path(directory / "state" / "inbox", partition)
    store = RocksInboxStore(path, RocksInboxOptions(sync=False))
    head = InboxHead(next_number=ROWS, unread=ROWS, rows=ROWS)
    store.commit(ShardCommit({user: UserChanges(head, rows(), ())}, {}, {}, 1))
    store.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    fill_inbox(directory, ANNE)
    with running(directory) as started:
        yield started


def user_call(gateway: Gateway, method: str, path: str, body: Any = None, *, user: str = ANNE, **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.call(method, path, body, key=token(user), headers=sent)


# --- preferences ---


def test_preferences_are_whole_documents_with_versions(gateway: Gateway) -> None:
    user = uuid4().hex
    empty = user_call(gateway, "GET", "/v1/preferences", user=user)
    assert (empty.status, empty.json) == (200, {})
    document = {
        "master": True,
        "quiet_hours": {"enabled": True, "timezone": "Europe/Paris"},
        "muted": {"actors": ["x"]},
    }
    put = user_call(gateway, "PUT", "/v1/preferences", document, user=user, if_match=empty.headers["etag"])
    assert put.status == 200
    got = user_call(gateway, "GET", "/v1/preferences", user=user)
    assert (got.json, got.headers["etag"]) == (document, put.headers["etag"])
    assert gateway.values("preferences")[-1] == {"user": user, "doc": document} or any(
        one == {"user": user, "doc": document} for one in gateway.values("preferences")
    )


def test_stale_if_match_is_412_and_changes_nothing(gateway: Gateway) -> None:
    user = uuid4().hex
    old = user_call(gateway, "PUT", "/v1/preferences", {"master": True}, user=user).headers["etag"]
    new = user_call(gateway, "PUT", "/v1/preferences", {"master": False}, user=user).headers["etag"]
    for method in ("PUT", "PATCH"):
        reply = user_call(gateway, method, "/v1/preferences", {"master": True}, user=user, if_match=old)
        assert (reply.status, reply.headers["etag"]) == (412, new)
    assert user_call(gateway, "GET", "/v1/preferences", user=user).json == {"master": False}
    assert user_call(gateway, "PATCH", "/v1/preferences", {}, user=user, if_match=f'"x", {new}').status == 200
    assert user_call(gateway, "PUT", "/v1/preferences", {}, user=user, if_match="*").status == 200
    assert user_call(gateway, "PUT", "/v1/preferences", {}, user=uuid4().hex, if_match="*").status == 412


@pytest.mark.parametrize("tag", ["", " ", "x", '"x', '"x" "y"', '"x",', "W/x", "*, *"])
def test_an_if_match_that_is_none_is_400(gateway: Gateway, tag: str) -> None:
    for method in ("PUT", "PATCH"):
        reply = user_call(gateway, method, "/v1/preferences", {}, if_match=tag)
        assert (reply.status, reply.paths) == (400, {"If-Match"})
    assert user_call(gateway, "PUT", "/v1/preferences", {}, if_match='W/"1" , "x"').status == 412


@pytest.mark.parametrize("patch", [[], [{"master": True}], 5, "x", None])
def test_a_patch_that_is_no_object_is_400_whatever_it_is_to_match(gateway: Gateway, patch: Any) -> None:
    reply = user_call(gateway, "PATCH", "/v1/preferences", msgspec.json.encode(patch), if_match='"stale"')
    assert (reply.status, reply.paths) == (400, {""})


def test_what_the_registry_does_not_know_is_stored_and_named(gateway: Gateway) -> None:
    user = uuid4().hex
    document = {
        "types": {"liek": {"enabled": False}, "like": {"enabled": False}, "campaign_x": {"enabled": True}},
        "unsubscribed": {"email": ["marketing", "marketting"], "sms": None},
    }
    for method in ("PUT", "PATCH"):
        reply = user_call(gateway, method, "/v1/preferences", document, user=user)
        assert [warning["path"] for warning in reply.json["warnings"]] == ["types.liek", "unsubscribed.email[1]"]
    assert user_call(gateway, "GET", "/v1/preferences", user=user).json["types"] == document["types"]
    assert "warnings" not in user_call(gateway, "GET", "/v1/preferences", user=user).json
    assert user_call(gateway, "PUT", "/v1/preferences", {"warnings": []}, user=user).paths == {"warnings"}


def test_patch_merges_and_null_removes(gateway: Gateway) -> None:
    user = uuid4().hex
    user_call(gateway, "PUT", "/v1/preferences", {"types": {"like": {"enabled": False}}, "master": True}, user=user)
    patch = {"types": {"like": None, "comment": {"channels": ["email"]}}, "frequency_cap": {"max_per_day": 1}}
    reply = user_call(gateway, "PATCH", "/v1/preferences", patch, user=user)
    expected = {
        "types": {"comment": {"channels": ["email"]}}, "master": True, "frequency_cap": {"max_per_day": 1},
    }  # fmt: skip
    assert reply.json == expected
    assert user_call(gateway, "GET", "/v1/preferences", user=user).json == expected


def test_parallel_patches_lose_nothing(gateway: Gateway) -> None:
    user = uuid4().hex
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(
                lambda number: user_call(
                    gateway, "PATCH", "/v1/preferences", {"types": {f"t{number}": {"enabled": False}}}, user=user
                ),
                range(24),
            )
        )
    assert {reply.status for reply in replies} == {200}
    assert len({reply.headers["etag"] for reply in replies}) == 24
    assert len(user_call(gateway, "GET", "/v1/preferences", user=user).json["types"]) == 24


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        (
            {
                "master": "yes",
                "quiet_hours": {"start": "24:00", "end": "8", "timezone": "Mars/Base", "x": 1},
                "user": 1,
            },
            {"master", "quiet_hours.start", "quiet_hours.end", "quiet_hours.timezone", "quiet_hours.x", "user"},
        ),
        (
            {"frequency_cap": {"max_per_hour": -1}, "types": {"like": {"channels": ["fax"]}}, "muted": {"actors": [1]}},
            {"frequency_cap.max_per_hour", "types.like.channels[0]", "muted.actors[0]"},
        ),
        ({"unsubscribed": {"fax": []}, "types": [], "quiet_hours": 1}, {"unsubscribed.fax", "types", "quiet_hours"}),
        ([], {""}),
    ],
)
def test_wrong_preferences_are_400_with_every_error(gateway: Gateway, document: Any, paths: set[str]) -> None:
    reply = user_call(gateway, "PUT", "/v1/preferences", document)
    assert (reply.status, reply.paths) == (400, paths)


def test_preferences_survive_a_restart_and_a_deleted_directory(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        put = user_call(gateway, "PUT", "/v1/preferences", {"master": False})
        gateway.stop()
        for file in (tmp_path / "state" / "gateway").glob("directory.sqlite*"):
            file.unlink()
        gateway.start()
        got = user_call(gateway, "GET", "/v1/preferences")
        assert (got.json, got.headers["etag"]) == ({"master": False}, put.headers["etag"])


# --- devices ---


def register(gateway: Gateway, user: str, device_id: str, push_token: str) -> Reply:
    body = {"device_id": device_id, "platform": "ios", "token": push_token}
    return user_call(gateway, "POST", "/v1/devices/register", body, user=user)


def active(gateway: Gateway, user: str) -> dict[str, str]:
    """Device to address, as the topic has it."""
    latest = {(one["user"], one["channel"], one["id"]): one for one in gateway.values("endpoints")}
    return {key[2]: one["address"] for key, one in latest.items() if key[0] == user and one["state"] == "active"}


def test_eleventh_device_displaces_the_oldest(gateway: Gateway) -> None:
    user = uuid4().hex
    replies = [register(gateway, user, f"d{number}", f"{user}-{number}") for number in range(11)]
    assert [reply.json["removed"] for reply in replies] == [[]] * 10 + [["d0"]]
    assert set(active(gateway, user)) == {f"d{number}" for number in range(1, 11)}
    assert register(gateway, user, "d1", f"{user}-new").json["removed"] == [], "known devices take no new place"
    assert register(gateway, user, "d11", f"{user}-11").json["removed"] == ["d2"], "d1 was registered anew"


def test_token_of_another_user_moves(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    shared = f"token-{one}"
    register(gateway, one, "phone", shared)
    assert register(gateway, two, "phone", shared).status == 200
    assert (active(gateway, one), active(gateway, two)) == ({}, {"phone": shared})
    assert register(gateway, two, "tablet", shared).status == 200
    assert active(gateway, two) == {"tablet": shared}


def test_device_is_deleted_by_its_user_only(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    register(gateway, one, "phone/1", f"token-{one}")
    path = "/v1/devices/phone%2F1"
    assert user_call(gateway, "DELETE", path, user=two).status == 404
    assert active(gateway, one)
    assert user_call(gateway, "DELETE", path, user=one).status == 204
    assert active(gateway, one) == {}
    assert user_call(gateway, "DELETE", path, user=one).status == 404


def test_body_cannot_name_another_user(gateway: Gateway) -> None:
    body = {"device_id": "d", "platform": "ios", "token": "t", "user_id": BOB}
    assert user_call(gateway, "POST", "/v1/devices/register", body).paths == {"user_id"}


# --- inbox ---


def test_pages_have_no_gap_and_no_repeat(gateway: Gateway) -> None:
    seen, cursor, pages = [], "", 0
    while True:
        page = user_call(gateway, "GET", f"/v1/notifications/inbox?limit=20{cursor}").json
        seen += [item["first_event_id"] for item in page["items"]]
        pages += 1
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert seen == [f"e{number}" for number in reversed(range(ROWS))]
    assert (pages, page["items"][0]["payload"]) == (3, {"text": "canary"})


def test_cursor_is_bound_to_its_user_and_signed(gateway: Gateway) -> None:
    cursor = user_call(gateway, "GET", "/v1/notifications/inbox?limit=1").json["cursor"]
    reply = user_call(gateway, "GET", f"/v1/notifications/inbox?cursor={cursor}", user=BOB)
    assert reply.status == 400
    assert b"canary" not in reply.body
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for bit in range(0, len(raw) * 8, 7):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        text = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        assert user_call(gateway, "GET", f"/v1/notifications/inbox?cursor={text}").status == 400


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=1&limit=2", "user=bob", "cursor=x%00"])
def test_wrong_queries_are_400(gateway: Gateway, query: str) -> None:
    assert user_call(gateway, "GET", f"/v1/notifications/inbox?{query}").status == 400


def test_reading_counts_at_once_and_is_on_the_log(tmp_path: Path) -> None:
    fill_inbox(tmp_path, ANNE)
    with running(tmp_path) as gateway:
        path = "/v1/notifications/inbox"
        assert user_call(gateway, "GET", path).json["unread"] == ROWS
        shown = user_call(gateway, "GET", f"{path}?limit=3&cursor=" + _second_page_cursor(gateway)).json["up_to"]
        assert user_call(gateway, "POST", f"{path}/read", {"up_to": shown}).status == 200
        page = user_call(gateway, "GET", f"{path}?limit=100").json
        assert page["unread"] == 40
        assert [item["read"] for item in page["items"]] == [False] * 40 + [True] * 5
        assert gateway.values("reads") == [{"user": ANNE, "up_to": shown}]
        gateway.stop()
        gateway.start()
        assert user_call(gateway, "GET", path).json["unread"] == 40, "what was acknowledged is not taken back"
        assert user_call(gateway, "POST", f"{path}/read").status == 200
        assert user_call(gateway, "GET", path).json["unread"] == 0
        assert gateway.values("reads")[-1] == {"user": ANNE, "up_to": None}
        future = {"up_to": 2**52}
        assert user_call(gateway, "POST", f"{path}/read", future).json["up_to"] < 2**51, "never beyond now"


def _second_page_cursor(gateway: Gateway) -> str:
    return str(user_call(gateway, "GET", "/v1/notifications/inbox?limit=40").json["cursor"])


def test_another_users_inbox_is_empty(gateway: Gateway) -> None:
    page = user_call(gateway, "GET", "/v1/notifications/inbox", user=BOB)
    assert page.json == {"items": [], "unread": 0, "up_to": None, "cursor": None}


# --- host application ---


def test_endpoints_are_set_and_removed(gateway: Gateway) -> None:
    user = f"host {uuid4().hex}"
    path = f"/v1/users/{user.replace(' ', '%20')}/endpoints/email/home"
    reply = gateway.call("PUT", path, {"address": "anne@example.org"})
    assert reply.status == 200
    (stored,) = [one for one in gateway.values("endpoints") if one["user"] == user]
    assert stored == {
        "user": user, "channel": "email", "id": "home", "platform": None, "address": "anne@example.org",
        "state": "active", "registered_at": reply.json["registered_at"],
    }  # fmt: skip
    (record,) = [one for one in gateway.records("endpoints") if one.key.startswith(user.encode())]
    assert record.key == f"{user}\0email\0home".encode()
    assert record.partition == partition_of_group(key_group(user), 4)
    assert gateway.call("DELETE", path).status == 204
    assert gateway.call("DELETE", path).status == 404
    assert [one["state"] for one in gateway.values("endpoints") if one["user"] == user][-1] == "invalid"


@pytest.mark.parametrize(
    ("channel", "body", "paths"),
    [
        ("fax", {"address": "1"}, {"channel"}),
        ("email", {"address": "a@b@c"}, {"address"}),
        ("email", {"address": "a@b.org\r\nBcc: x@y.org"}, {"address"}),
        ("sms", {"address": "call me"}, {"address"}),
        ("push", {"state": "asleep", "user": "x"}, {"state", "user", "address"}),
        ("push", {"address": "t", "channel": "sms"}, {"address"}),
        ("email", [], {""}),
    ],
)
def test_wrong_endpoints_are_400(gateway: Gateway, channel: str, body: Any, paths: set[str]) -> None:
    reply = gateway.call("PUT", f"/v1/users/u/endpoints/{channel}/x", body)
    assert (reply.status, reply.paths) == (400, paths)


def test_profile_and_follows_reach_their_topics(gateway: Gateway) -> None:
    assert gateway.call("PUT", "/v1/users/anne", {"locale": "pt-BR", "name": "Anne"}).status == 200
    assert gateway.values("profiles")[-1] == {"user": "anne", "locale": "pt-BR", "name": "Anne"}
    follows = [{"followee": "star", "follower": "f1"}, {"followee": "star", "follower": "f2", "on": False}]
    assert gateway.call("POST", "/v1/follows", follows).json == {"stored": 2}
    stored = [one for one in gateway.records("follows") if one.key.startswith(b"star\0")]
    assert [msgspec.json.decode(one.value)["on"] for one in stored] == [True, False]
    assert {one.partition for one in stored} == {partition_of_group(key_group("star"), 4)}
    wrong = gateway.call("POST", "/v1/follows", [follows[0], {"followee": "x"}, 3])
    assert (wrong.status, wrong.paths) == (400, {"[1].follower", "[2]"})
    assert gateway.call("PUT", "/v1/users/anne", {"locale": "not a tag"}).paths == {"locale"}


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
        ("text/csv", b"user\n\xff\n", 400),
        ("application/vnd.apache.parquet", b"PAR1", 400),
        ("application/zip", b"PK", 415),
    ],
)
def test_wrong_segment_writes_nothing(gateway: Gateway, media_type: str, body: bytes, status: int) -> None:
    segment = uuid4().hex
    reply = gateway.call("PUT", f"/v1/segments/{segment}", body, headers={"content-type": media_type})
    assert reply.status == status
    assert [one for one in gateway.values("segments") if one["segment"] == segment] == []


def test_empty_segment_is_a_commit_alone(gateway: Gateway) -> None:
    segment = uuid4().hex
    assert gateway.call("PUT", f"/v1/segments/{segment}", []).json["users"] == 0
    assert [one["chunks"] for one in gateway.values("segments") if one["segment"] == segment] == [0]


# --- operations ---


def test_kill_switch_is_a_control_record(gateway: Gateway) -> None:
    body = {"scope": "type", "value": "like", "reason": "spam"}
    reply = gateway.call("POST", "/v1/ops/kill", body, key="key-ops")
    assert reply.status == 200
    lifted = gateway.call("POST", "/v1/ops/kill", {**body, "on": False}, key="key-ops")
    assert lifted.json["offset"] > reply.json["offset"]
    assert [one["on"] for one in gateway.values("control")] == [True, False]
    assert gateway.call("POST", "/v1/ops/kill", {"scope": "type"}, key="key-ops").paths == {"value"}


def test_metrics_count_by_operation_and_show_no_secret(gateway: Gateway) -> None:
    text = gateway.get("/metrics", key=None).body.decode()
    assert 'carillon_gateway_requests_total{operation="getInbox",status="200"}' in text
    assert "canary" not in text
    assert "key-shop" not in text
