"""What the gateway does when the log, the store or a client fails, and when it is killed."""

import contextlib
import http.client
import re
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from helpers.gateway import Gateway, Reply, running
from helpers.waiting import wait_for
from redis import Redis

from connectors.log.interface import NewRecord
from infra.services import start_redis


def like(**fields: Any) -> dict[str, Any]:
    return {"type": "like", "actor": "a", "target": uuid4().hex, **fields}


def stored_ids(gateway: Gateway, event: dict[str, Any]) -> list[str]:
    return [one["event_id"] for one in gateway.values("events.p1") if one["target"] == event["target"]]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("gateway"), patience_s=1) as started:
        yield started


@pytest.mark.parametrize("form", [{}, {"idempotency_key": "k"}, {"event_id": "given"}], ids=["keyless", "key", "id"])
def test_refused_append_is_503_and_the_retry_has_the_same_id(gateway: Gateway, form: dict[str, str]) -> None:
    event = like(**form)
    with gateway.fault("refuse"):
        refused = gateway.post(event)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        batch = gateway.call("POST", "/v1/notifications/batch", [like(), {"type": "like"}])
        assert [item["status"] for item in batch.json] == [503, 400]
    assert stored_ids(gateway, event) == []
    first, second = gateway.post(event), gateway.post(event)
    assert (first.status, second.status) == (200, 200)
    assert stored_ids(gateway, event) == [first.json["event_id"]] == [second.json["event_id"]]


def test_killed_between_reservation_and_answer(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        faults = [("crash_before", 42, 1, {}), ("crash_after", 43, 2, {"idempotency_key": uuid4().hex})]
        for fault, status, stored, form in faults:
            event = like(**form)
            with gateway.fault(fault), pytest.raises((OSError, http.client.HTTPException)):
                gateway.post(event)
            assert gateway.process is not None
            assert gateway.process.wait(60) == status, "the fault must have bitten"
            gateway.stop()
            gateway.start()
            retry = gateway.post(event)
            assert retry.status == 200, "the reservation survived"
            assert stored_ids(gateway, event) == [retry.json["event_id"]] * stored
            assert gateway.post(event).json == retry.json


def test_log_that_hangs_is_503_within_the_deadline_and_the_retry_keeps_the_id(impatient: Gateway) -> None:
    gateway = impatient
    event = like()
    with gateway.fault("hang"):
        begin = time.monotonic()
        assert gateway.post(event).status == 503, "it hangs for as long as the test wants"
        assert time.monotonic() - begin > 0.9
    replies: list[Reply] = []

    def taken() -> bool:
        replies.append(gateway.post(event))
        return replies[-1].status != 503  # the thread that appends still hangs

    wait_for(taken, every_s=0.2)
    assert replies[-1].status == 200
    assert set(stored_ids(gateway, event)) == {replies[-1].json["event_id"]}


def test_sigterm_finishes_what_is_in_flight(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        accepted: list[str] = []

        def feed(_: int) -> None:
            while True:
                try:
                    reply = gateway.post(like())
                except (OSError, http.client.HTTPException):
                    return
                if reply.status != 202:
                    return
                accepted.append(reply.json["event_id"])

        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(feed, number) for number in range(8)]
            wait_for(lambda: len(accepted) > 100)
            assert gateway.stop() == 0
            for future in futures:
                future.result(20)
        assert {one["event_id"] for one in gateway.values("events.p1")} >= set(accepted)


def test_kill_nine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        accepted: dict[str, str] = {}
        for _ in range(2):
            events = [like(idempotency_key=uuid4().hex) for _ in range(40)]
            with ThreadPoolExecutor(4) as pool:
                futures = [(event, pool.submit(gateway.post, event)) for event in events]
                time.sleep(0.05)
                assert gateway.process is not None
                gateway.process.kill()
            gateway.stop()
            gateway.start()
            for event, future in futures:
                reply: Reply | None = None if future.exception() else future.result()
                if reply is not None:
                    accepted[event["target"]] = reply.json["event_id"]
                retry = gateway.post(event)
                assert retry.status in (200, 202)
                assert accepted.setdefault(event["target"], retry.json["event_id"]) == retry.json["event_id"]
        stored = {(one["target"], one["event_id"]) for one in gateway.values("events.p1")}
        assert stored == set(accepted.items()), "each event once, under the id that was answered"


# --- Redis ---


def test_two_gateways_share_repeats_and_limits_in_redis(tmp_path: Path, redis_url: str) -> None:
    directories = [tmp_path / name for name in ("one", "two")]
    for directory in directories:
        directory.mkdir()
    shared = {"redis": redis_url, "prefix": str(tmp_path)}
    with running(directories[0], **shared) as one, running(directories[1], **shared) as two:
        event = like(idempotency_key=uuid4().hex)
        first, second = one.post(event), two.post(event)
        assert (first.status, second.status) == (202, 200)
        assert first.json["event_id"] == second.json["event_id"]
        assert two.post({**event, "object": "x"}).status == 409
        begin = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda number: (one, two)[number % 2].post(like(), key="key-slow"), range(24)))
        windows = int(time.monotonic() - begin) + 1
        assert 5 <= [reply.status for reply in replies].count(202) <= 5 * windows


def test_redis_down_is_accepted_counted_and_limited_by_a_lower_limit(tmp_path: Path) -> None:
    server = start_redis()
    try:
        with running(tmp_path, redis=server.url) as gateway:
            assert gateway.post(like()).status == 202
            server.stop()
            event = like(idempotency_key=uuid4().hex)
            begin = time.monotonic()
            assert gateway.post(event).status == 202
            assert time.monotonic() - begin < 15, "it waits for who is not there"
            assert gateway.post(event, key="key-other").status == 202
            while True:  # until all posts fall into one second, on a busy machine too
                begin = time.monotonic()
                statuses = [gateway.post(like(), key="key-slow").status for _ in range(5)]
                if time.monotonic() - begin < 0.9:
                    break
                time.sleep(1.1)
            assert statuses == [202] * 3 + [429] * 2
            text = gateway.get("/metrics", key=None).body.decode()
            for store in ("admission", "limit"):
                name = re.escape(f'carillon_gateway_store_unavailable_total{{store="{store}"}}')
                found = re.search(name + r" ([0-9.]+)", text)
                assert found is not None
                assert float(found[1]) > 0
            assert gateway.get("/v1/notifications/x").status == 503
    finally:
        server.stop()


def test_what_came_while_redis_was_away_is_not_taken_for_never_sent(tmp_path: Path) -> None:
    """Like, unlike while Redis restarts with its data, like: the second like is an event, at each gateway."""
    server = start_redis()
    directories = [tmp_path / name for name in ("one", "two")]
    for directory in directories:
        directory.mkdir()
    shared = {"redis": server.url, "prefix": "shared"}
    try:
        with running(directories[0], **shared) as one, running(directories[1], **shared) as two:
            for at_last in (one, two):
                event = like()
                first = one.post(event)
                Redis.from_url(server.url).save()
                server.process.kill()
                taken_back = one.post({**event, "retracts": True})
                server.process.start()
                wait_for(lambda: one.post(other := like()).status == 202 and one.post(other).status == 200)
                again = at_last.post(event)
                assert (first.status, taken_back.status, again.status) == (202, 202, 202)
                assert again.json["event_id"] not in (first.json["event_id"], taken_back.json["event_id"])
    finally:
        server.stop()


def test_what_came_while_redis_was_away_is_known_once_it_is_back(tmp_path: Path) -> None:
    """It was answered by 202, and then by 404 to who looked for it, or would have cancelled it."""
    server = start_redis()
    try:
        with running(tmp_path, redis=server.url) as gateway:
            server.process.kill()
            later = like(idempotency_key=uuid4().hex, deliver_at=round(time.time() * 1000) + 3_600_000)
            told = [gateway.post(event) for event in (later, like(event_id=uuid4().hex), like())]
            assert [reply.status for reply in told] == [202] * 3
            server.process.start()
            for reply in told:
                path = f"/v1/notifications/{reply.json['event_id']}"
                wait_for(lambda path=path: gateway.get(path).status == 200, 20)
            again = gateway.post(later)
            assert (again.status, again.json["event_id"]) == (200, told[0].json["event_id"])
            assert gateway.post({**later, "object": "another"}).status == 409
    finally:
        server.stop()


def test_what_was_cancelled_while_redis_was_away_can_be_posted_again(tmp_path: Path) -> None:
    """It was answered as a repeat, and nothing ever went out."""
    server = start_redis()
    try:
        with running(tmp_path, redis=server.url) as gateway, ThreadPoolExecutor(1) as pool:
            event = like(event_id=uuid4().hex, deliver_at=round(time.time() * 1000) + 3_600_000)
            assert gateway.post(event).status == 202
            Redis.from_url(server.url).save()
            cancelling = pool.submit(gateway.call, "DELETE", f"/v1/notifications/{event['event_id']}")
            wait_for(
                lambda: any(dict(one.headers)["schema"] == b"cancel/1+json" for one in gateway.records("schedule"))
            )
            server.process.kill()
            released = msgspec.json.encode({"event_id": event["event_id"], "how": "cancelled"})
            headers = (("schema", b"released/1+json"),)
            gateway.log.append([NewRecord("schedule", 0, event["event_id"].encode(), released, headers)])
            assert cancelling.result(60).status == 200
            server.process.start()
            wait_for(lambda: gateway.post(other := like()).status == 202 and gateway.post(other).status == 200)
            wait_for(lambda: gateway.post(event).status == 202, 20)
            assert gateway.post(event).status == 200
    finally:
        server.stop()


# --- the P0 gateway ---


def test_p0_gateway_takes_p0_only_and_nothing_but_producers_calls(tmp_path: Path) -> None:
    with running(tmp_path, kind="p0") as gateway:
        assert gateway.post({"type": "otp", "target": "u", "payload": {"code": "1"}}, key="key-p0").status == 202
        assert gateway.post({"type": "like", "target": "u"}, key="key-all").paths == {"priority"}
        assert [one["type"] for one in gateway.values("events.p0")] == ["otp"]
        assert gateway.values("events.p1") == []
        assert gateway.call("PUT", "/v1/users/u", {}).status == 404
        assert gateway.get("/v1/preferences").status == 404
        assert (tmp_path / "state" / "gateway-p0").is_dir()
        assert not (tmp_path / "state" / "gateway").exists()
        with running(tmp_path) as ordinary:
            assert ordinary.post({"type": "otp", "target": "u", "payload": {"code": "1"}}, key="key-p0").status == 202
            assert len(ordinary.values("events.p0")) == 2


# --- clients ---


def exchange(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        answer = b""
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(pause_s)
        except ConnectionError:
            pass  # the server has closed; what it said before is read below
        try:
            while piece := client.recv(65_536):
                answer += piece
        except ConnectionError:
            pass
        return answer


HEAD = b"POST /v1/notifications HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key-shop\r\nconnection: close\r\n"


def test_clients_that_misbehave_are_bounded(impatient: Gateway) -> None:
    gateway = impatient
    endless = HEAD + b"x-big: " + b"a" * 200_000
    assert b"431" in exchange(gateway.port, endless)
    begin = time.monotonic()
    assert exchange(gateway.port, HEAD) == b"", "an unfinished head is closed"
    assert time.monotonic() - begin > 0.8
    assert b" 408 " in exchange(gateway.port, HEAD + b"content-length: 100\r\n\r\n{")
    slow = [HEAD + b"content-length: 60\r\n\r\n", *[b" "] * 12]
    assert b" 408 " in exchange(gateway.port, *slow, pause_s=0.1)
    assert b" 400 " in exchange(gateway.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    wait_for(lambda: gateway.post(like()).status == 202)


def test_who_begins_nothing_or_ends_nothing_holds_no_connection(impatient: Gateway) -> None:
    """4 096 such connections shut the gateway for everybody, for ever; they were never looked at again."""
    unread = b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
    for parts in ([b""], [b"\r\n"], [unread, b"x"], [unread, *[b"x"] * 6]):
        begin = time.monotonic()
        answer = exchange(impatient.port, *parts, pause_s=0.3)
        assert answer[:12] == (b"" if len(parts) == 1 else b"HTTP/1.1 200")
        assert 0.8 < time.monotonic() - begin < 15


def test_a_gateway_asks_for_the_files_that_its_connections_need(tmp_path: Path) -> None:
    """With the 1 024 that a process often has it reset every connection from some 860 on."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    try:
        with running(tmp_path) as started:
            assert started.process is not None
            given, _ = resource.prlimit(started.process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, most))
    assert given == min(4096 + 1024, most)


def test_heads_of_a_pipeline_have_each_their_own_time(impatient: Gateway) -> None:
    """Over a slow link every packet may end within one; the time of the first ended the connection."""
    asked = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    last = asked[9:-2] + b"connection: close\r\n\r\n"
    parts = [asked[:9], *[asked[9:] + asked[:9]] * 5, last]
    assert exchange(impatient.port, *parts, pause_s=0.3).count(b"HTTP/1.1 200") == 6


def test_what_comes_behind_a_body_has_a_bound(impatient: Gateway) -> None:
    """Of lines behind a body in parts the server kept every one, of anybody: 600 MB within seconds."""
    chunked = b"POST /v1/notifications HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 1000) for number in range(100))
    sent = 0
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as client, contextlib.suppress(OSError):
        client.sendall(chunked)
        while sent < 100 << 20:
            sent += client.send(lines)
    assert sent < 20 << 20, "what was on its way in the network's buffers"
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"type":"like"}' + b" " * 60_000) + b"0\r\n\r\n"
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    assert b" 400 " in exchange(impatient.port, head + body), "its parts may be as small as they like"


def test_a_large_body_behind_a_small_head_is_no_large_head(gateway: Gateway) -> None:
    body = b'{"type":"like","target":"u","payload":{"a":"' + b"x" * 240_000 + b'"}}'
    request = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    assert b" 400 " in exchange(gateway.port, request), "too large for a payload, not for a body"
