"""Posting events to a real gateway process: every status, all errors at once, repeats, batches, records on the log."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from helpers.gateway import Gateway, now_ms, running

from connectors.gateway.records import segment_commit
from state.model.event import EVENT
from state.model.keys import key_group, partition_of_group

OTP = {"type": "otp", "target": "u1", "payload": {"code": "123456"}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("gateway")) as started:
        yield started


def like(**fields: Any) -> dict[str, Any]:
    return {"type": "like", "actor": "a", "target": f"t-{uuid4().hex}", "object": "o", **fields}


def test_new_event_is_202_and_on_the_log_in_its_place(gateway: Gateway) -> None:
    event, before_ms = like(payload={"text": "é"}, created_at=5), now_ms()
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    reply = gateway.post(event, headers={"traceparent": trace})
    assert reply.status == 202
    (record,) = [one for one in gateway.records("events.p1") if one.key == event["target"].encode()]
    stored = EVENT.decode(record.value)
    assert stored.event_id == reply.json["event_id"]
    assert (stored.sender_id, stored.priority, stored.ttl_ms) == ("shop", "P1", 3_600_000)
    assert before_ms <= stored.ingested_at <= now_ms()
    assert record.partition == partition_of_group(key_group(event["target"]), 4)
    assert dict(record.headers) == {"schema": b"event/1+json", "lane": b"p1", "trace": trace.encode()}


@pytest.mark.parametrize(
    ("event", "topic", "key"),
    [
        ({"type": "new_post", "fan_out_type": "FOLLOWERS", "actor": "star-1"}, "events.p1", "star-1"),
        ({"type": "newsletter", "fan_out_type": "SEGMENT", "segment": "seg-1"}, "events.p2", "seg-1"),
        ({"type": "maintenance", "fan_out_type": "BROADCAST", "event_id": "b-1"}, "events.p1", "b-1"),
        ({"type": "maintenance", "fan_out_type": "BROADCAST", "actor": "staff-1"}, "events.p1", "staff-1"),
        ({"type": "like", "priority": "P2", "target": "lowered-1"}, "events.p2", "lowered-1"),
        ({**OTP, "target": "otp-1"}, "events.p0", "otp-1"),
    ],
)
def test_each_class_and_fan_out_has_its_topic_and_key(
    gateway: Gateway, event: dict[str, Any], topic: str, key: str
) -> None:
    if "segment" in event:
        gateway.call("PUT", f"/v1/segments/{event['segment']}", [])
    assert gateway.post(event, key="key-all").status == 202
    assert [one.partition for one in gateway.records(topic) if one.key == key.encode()] == [
        partition_of_group(key_group(key), 4)
    ]


def test_every_error_is_told_at_once_and_nothing_is_accepted(gateway: Gateway) -> None:
    before = len(gateway.records("events.p1"))
    reply = gateway.post({
        "type": "like", "actor": "a\n", "object": "", "segment": "x" * 257, "idempotency_key": "e\u0301",
        "payload": {"a": [[[[[[[[1]]]]]]]]}, "ttl_ms": 1.5, "created_at": True, "deliver_at": "soon", "retracts": 1,
        "priority": "P3", "to": {"fax": "1"}, "role": "admin", "ingested_at": 1, "parent_event_id": 7,
    })  # fmt: skip
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.paths == {
        "actor", "object", "segment", "idempotency_key", "payload", "ttl_ms", "created_at", "deliver_at", "retracts",
        "priority", "to.fax", "role", "ingested_at", "parent_event_id", "target",
    }  # fmt: skip
    assert all(error["problem"] and error["remedy"] for error in reply.json["errors"])
    assert len(gateway.records("events.p1")) == before


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ({"type": "new_post", "fan_out_type": "FOLLOWERS"}, "actor"),
        ({"type": "newsletter", "fan_out_type": "SEGMENT"}, "segment"),
        ({"type": "like", "fan_out_type": "BROADCAST"}, "fan_out_type"),
        ({"type": "new_post", "target": "u"}, "fan_out_type"),
        ({"type": "like"}, "target"),
        ({"target": "u"}, "type"),
        ({**OTP, "to": {"in_app": "x"}}, "to.in_app"),
        ({"type": "like", "target": "u", "to": {"push": "x"}}, "to"),
        ({"type": "like", "target": "u", "payload": {"n": 2**64}}, "payload"),
        ({"type": "like", "target": "u", "payload": {"n": "x" * 16_384}}, "payload"),
        ({"type": "like", "target": "u", "unknown": None}, "unknown"),
        ({"type": "like", "target": "u", "schema_version": 0}, "schema_version"),
        ([], ""),
        (1, ""),
        (None, ""),
    ],
)
def test_400_names_the_field(gateway: Gateway, event: Any, path: str) -> None:
    reply = gateway.post(msgspec.json.encode(event), key="key-all")
    assert reply.status == 400
    assert path in reply.paths


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"type": NaN}', b"\xff\xfe", b'{"type":"like","target":"\xff"}', b"[" * 100_000, b'{"a":"\\ud800"}'],
)
def test_poison_is_400(gateway: Gateway, body: bytes) -> None:
    assert gateway.post(body).status == 400


@pytest.mark.parametrize(
    ("event", "key", "path"),
    [
        ({"type": "nobody_knows", "target": "u"}, "key-shop", "type"),
        (OTP, "key-shop", "type"),
        ({"type": "like", "target": "u"}, "key-p0", "type"),
        ({"type": "comment", "target": "u"}, "key-likes", "type"),
        ({"type": "like", "target": "u", "sender_id": "other"}, "key-shop", "sender_id"),
        ({"type": "like", "target": "u", "priority": "P0"}, "key-shop", "priority"),
        ({"type": "newsletter", "fan_out_type": "SEGMENT", "segment": "s", "priority": "P1"}, "key-shop", "priority"),
        ({**OTP, "priority": "P1"}, "key-p0", "priority"),
    ],
)
def test_403_for_what_this_sender_may_not_do(gateway: Gateway, event: Any, key: str, path: str) -> None:
    reply = gateway.post(event, key=key)
    assert reply.status == 403
    assert reply.paths == {path}


@pytest.mark.parametrize("payload", [None, {}, {"Code": "1"}, {"code": None}, {"code": ""}, {"code": "\u200b"}])
def test_a_code_without_its_code_is_400(gateway: Gateway, payload: Any) -> None:
    reply = gateway.post({**OTP, "payload": payload, "fan_out_type": "SEGMENT"}, key="key-p0")
    assert (reply.status, reply.paths) == (400, {"payload.code", "fan_out_type", "segment"})
    assert gateway.post({**OTP, "payload": payload, "retracts": True}, key="key-p0").status == 202


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("sms", "+49 151 12345678"), ("sms", "0049151123"), ("sms", "+1555"), ("email", "Ann <ann@x.example>"),
        ("email", " a@x.example"), ("push", "not hex"), ("push", "\u00e9" + "ab" * 32),
    ],
)  # fmt: skip
def test_to_is_checked_as_addresses_on_file_are(gateway: Gateway, channel: str, address: str) -> None:
    reply = gateway.post({**OTP, "to": {channel: address}}, key="key-p0")
    assert (reply.status, reply.paths) == (400, {f"to.{channel}"})


def test_to_is_stored_in_one_form(gateway: Gateway) -> None:
    to = {"sms": "+49015112345678", "email": "A@EXAMPLE.org", "push": "AB" * 32}
    event_id = gateway.post({**OTP, "to": to}, key="key-p0").json["event_id"]
    (stored,) = [one["to"] for one in gateway.values("events.p0") if one["event_id"] == event_id]
    assert stored == {"sms": "+4915112345678", "email": "A@example.org", "push": "ab" * 32}


def test_what_is_allowed_at_the_edges(gateway: Gateway) -> None:
    deep: dict[str, Any] = {}
    for _ in range(7):
        deep = {"a": deep}
    exact = {"x": "y" * (16_384 - 8)}
    for event in (
        like(payload=deep), like(payload=exact), like(to={}), like(to={"push": None}), like(sender_id="shop"),
        like(object="x" * 256), like(ttl_ms=0), like(schema_version=2, whatever=[1]), like(priority=None),
        like(actor="مرحبا 🙂"), like(payload=None),
    ):  # fmt: skip
        assert gateway.post(event).status == 202, event
    assert gateway.post({**OTP, "to": {"email": "new@example.org"}}, key="key-p0").status == 202
    assert {"email": "new@example.org"} in [one["to"] for one in gateway.values("events.p0")]


def test_body_beyond_256_kib_is_413_with_and_without_a_length(gateway: Gateway) -> None:
    big = b'{"type":"like","payload":{"a":"' + b"x" * (256 * 1024) + b'"}}'
    assert gateway.post(big).status == 413
    assert gateway.post(iter([big[:1000], big[1000:]])).status == 413
    assert gateway.post(b"{}", headers={"content-encoding": "gzip"}).status == 415


def test_repeat_is_200_with_the_original_id(gateway: Gateway) -> None:
    for reason, hours, event in (
        ("content", 1, like()), ("key", 1, like(idempotency_key=uuid4().hex)),
        ("event_id", 24, like(event_id=uuid4().hex)),
    ):  # fmt: skip
        first, second = gateway.post(event), gateway.post(event)
        assert (first.status, second.status) == (202, 200)
        assert first.json["event_id"] == second.json["event_id"]
        assert first.json.keys() == {"status", "event_id"}
        assert (second.json["repeat_of"], second.json["reason"]) == (first.json["event_id"], reason)
        assert abs(second.json["until"] - now_ms() - hours * 3_600_000) < 60_000
        stored = [one for one in gateway.values("events.p1") if one["target"] == event["target"]]
        assert len(stored) == 1, "a repeat leaves no trace"


def test_a_repeat_by_content_is_told_also_under_another_event_id(gateway: Gateway) -> None:
    event = like(event_id=uuid4().hex)
    gateway.post(event)
    again = gateway.post({**event, "event_id": uuid4().hex})
    assert (again.status, again.json["repeat_of"], again.json["reason"]) == (200, event["event_id"], "content")
    assert again.json["event_id"] == event["event_id"]


def test_another_body_under_a_key_is_409_with_the_original_id(gateway: Gateway) -> None:
    event = like(idempotency_key=uuid4().hex)
    first = gateway.post(event)
    second = gateway.post({**event, "object": "p"})
    assert second.status == 409
    assert second.json["event_id"] == first.json["event_id"]
    assert gateway.post(event, key="key-other").status == 202, "keys are the sender's own"


def test_like_unlike_like_is_three_events(gateway: Gateway) -> None:
    event = like()
    replies = [gateway.post({**event, "retracts": retracts}) for retracts in (False, True, False)]
    assert [reply.status for reply in replies] == [202, 202, 202]
    assert len({reply.json["event_id"] for reply in replies}) == 3


def test_keyless_p0_is_never_a_repeat(gateway: Gateway) -> None:
    assert [gateway.post(OTP, key="key-p0").status for _ in range(2)] == [202, 202]


def test_hundred_parallel_posts_of_one_key_are_one_event(gateway: Gateway) -> None:
    event = like(idempotency_key=uuid4().hex)
    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _: gateway.post(event), range(100)))
    assert Counter(reply.status for reply in replies) == {202: 1, 200: 99}
    assert len({reply.json["event_id"] for reply in replies}) == 1
    assert {one["event_id"] for one in gateway.values("events.p1") if one["target"] == event["target"]} == {
        replies[0].json["event_id"]
    }


def test_retraction_goes_to_its_lane_and_to_schedule(gateway: Gateway) -> None:
    event = like(retracts=True)
    event_id = gateway.post(event).json["event_id"]
    for topic in ("events.p1", "schedule"):
        assert event_id in [one["event_id"] for one in gateway.values(topic)]


@pytest.mark.parametrize("retracts", [False, True])
def test_kept_event_goes_to_schedule_only(gateway: Gateway, retracts: bool) -> None:
    event = like(deliver_at=now_ms() + 60_000, retracts=retracts)
    event_id = gateway.post(event).json["event_id"]
    kept = [one for one in gateway.records("schedule") if one.key == event_id.encode()]
    assert [EVENT.decode(one.value).deliver_at for one in kept] == [event["deliver_at"]]
    assert event_id not in [one["event_id"] for one in gateway.values("events.p1")]
    past = gateway.post(like(deliver_at=now_ms() - 1))
    assert past.json["event_id"] in [one["event_id"] for one in gateway.values("events.p1")]


@pytest.mark.parametrize(
    ("offset_ms", "status"),
    [
        (-3_540_000, 202), (-3_605_000, 400), (366 * 86_400_000 - 5_000, 202), (366 * 86_400_000 + 60_000, 400),
        (-now_ms() * 999 // 1000, 400), (now_ms() * 999, 400),
    ],
    ids=["an hour ago", "more", "a year ahead", "more than a year", "in seconds", "in microseconds"],
)  # fmt: skip
def test_a_time_of_another_unit_is_no_time(gateway: Gateway, offset_ms: int, status: int) -> None:
    reply = gateway.post(like(deliver_at=now_ms() + offset_ms))
    assert reply.status == status
    assert status == 202 or reply.paths == {"deliver_at"}


def test_a_segment_that_nobody_defined_is_404_with_the_nearest_names(gateway: Gateway) -> None:
    for name in ("beta-testers", "beta-tester", "staff"):
        gateway.call("PUT", f"/v1/segments/{name}", [])
    to_segment = {"type": "newsletter", "fan_out_type": "SEGMENT"}
    wrong = gateway.post({**to_segment, "segment": "betatesters"})
    assert (wrong.status, wrong.paths) == (404, {"segment"})
    remedy = wrong.json["errors"][0]["remedy"]
    assert "beta-testers" in remedy
    assert "staff" not in remedy
    batch = [{**to_segment, "segment": name} for name in ("staff", "stuff", "nobody-at-all", "stuff")] + [like()]
    reply = gateway.call("POST", "/v1/notifications/batch", batch)
    assert [item["status"] for item in reply.json] == [202, 404, 404, 404, 202]
    assert {one["segment"] for one in gateway.values("events.p2") if one["segment"]} >= {"staff"}
    assert "stuff" not in {one["segment"] for one in gateway.values("events.p2")}


def test_a_segment_that_came_another_way_is_known_at_once(gateway: Gateway) -> None:
    for number in range(5):
        name = f"other-way-{number}"
        gateway.log.append([segment_commit(name, 1, 0, gateway.log.partitions)])
        assert gateway.post({"type": "newsletter", "fan_out_type": "SEGMENT", "segment": name}).status == 202


# --- batch ---


@pytest.mark.parametrize("form", ["array", "ndjson"])
def test_batch_answers_each_item_in_order(gateway: Gateway, form: str) -> None:
    keyed = like(idempotency_key=uuid4().hex)
    items = [like(), keyed, keyed, {**keyed, "object": "x"}, {"type": "like"}, OTP, 5]
    lines = b"\n".join([*map(msgspec.json.encode, items), b"{", b""])
    body = lines if form == "ndjson" else msgspec.json.encode(items)
    media_type = "application/x-ndjson" if form == "ndjson" else "application/json"
    reply = gateway.call("POST", "/v1/notifications/batch", body, headers={"content-type": media_type})
    assert reply.status == 200
    expected = [202, 202, 200, 409, 400, 403, 400]
    assert [item["status"] for item in reply.json] == expected + ([400] if form == "ndjson" else [])
    assert reply.json[1]["event_id"] == reply.json[2]["event_id"] == reply.json[3]["event_id"]
    assert reply.json[4]["errors"][0]["path"] == "target"


def test_batch_is_in_order_on_the_log(gateway: Gateway) -> None:
    target = uuid4().hex
    items = [like(target=target, object=str(number)) for number in range(500)]
    reply = gateway.call("POST", "/v1/notifications/batch", items)
    assert {item["status"] for item in reply.json} == {202}
    stored = [one["object"] for one in gateway.values("events.p1") if one["target"] == target]
    assert stored == [str(number) for number in range(500)]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        *(("application/json", body) for body in (b"[", b"[1", b"", b" ", b"{}", b'{"a":1}\n{"a":1}', b"5")),
        *(("application/x-ndjson", body) for body in (b"", b"\n \n")),
    ],
)  # fmt: skip
def test_what_is_no_batch_is_400(gateway: Gateway, media_type: str, body: bytes) -> None:
    for path in ("/v1/notifications/batch", "/v1/follows"):
        reply = gateway.call("POST", path, body, headers={"content-type": media_type})
        assert (reply.status, reply.paths) == (400, {""}), path


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json"])
def test_another_media_type_is_415_and_the_right_one_is_named(gateway: Gateway, media_type: str) -> None:
    event = msgspec.json.encode(like())
    reply = gateway.post(event, headers={"content-type": media_type})
    assert (reply.status, reply.headers["accept"]) == (415, "application/json")
    assert "application/json" in reply.json["detail"]
    assert gateway.post(event, headers={"content-type": "Application/JSON; charset=utf-8"}).status == 202


def test_a_member_given_twice_is_400(gateway: Gateway) -> None:
    reply = gateway.post(b'{"type":"like","actor":"a","target":"b","object":"o","target":"c"}')
    assert (reply.status, reply.paths) == (400, {"target"})


def test_empty_batch_is_an_empty_answer(gateway: Gateway) -> None:
    assert gateway.call("POST", "/v1/notifications/batch", b"[]").json == []


# --- limits ---


def test_limit_is_429_with_retry_after(gateway: Gateway) -> None:
    while True:  # until all posts fall into one second, on a busy machine too
        time.sleep(1.1)
        begin = time.monotonic()
        replies = [gateway.post(like(), key="key-slow") for _ in range(7)]
        batch = gateway.call("POST", "/v1/notifications/batch", [like()] * 3, key="key-slow")
        if time.monotonic() - begin < 0.9:
            break
    assert [reply.status for reply in replies] == [202] * 5 + [429] * 2
    assert replies[-1].headers["retry-after"] == "1"
    assert batch.status == 429
    time.sleep(1.1)
    batch = gateway.call("POST", "/v1/notifications/batch", [like() for _ in range(8)], key="key-slow")
    assert [item["status"] for item in batch.json] == [202] * 5 + [429] * 3


# --- progress and cancelling ---


def test_progress_counts_outcomes_and_is_the_senders_own(gateway: Gateway) -> None:
    event_id = gateway.post(like()).json["event_id"]
    path = f"/v1/notifications/{event_id}"
    assert gateway.get(path).json == {
        "event_id": event_id, "state": "accepted", "deliver_at": None, "audience": "the target", "recipients": 0,
        "outcomes": {}, "deliveries": {}, "heard": {}, "segments": 0, "cost": 0.0, "fan_out": None, "rollout": None,
    }  # fmt: skip
    (gateway.directory / "progress.json").write_bytes(msgspec.json.encode({event_id: {"EMITTED": 2, "INBOX": 1}}))
    assert (gateway.get(path).json["recipients"], gateway.get(path).json["state"]) == (3, "decided")
    assert gateway.get(path, key="key-other").status == 404
    assert gateway.get("/v1/notifications/unknown").status == 404


def answer_cancels(gateway: Gateway, event_id: str, how: list[str]) -> None:
    """What the owner of `schedule` does: one `released` record for each cancel that it reads, or several at once."""
    from connectors.log.interface import NewRecord

    seen, deadline = 0, time.monotonic() + 20
    while seen < len(how) and time.monotonic() < deadline:
        cancels = [
            one for one in gateway.records("schedule")
            if one.key == event_id.encode() and dict(one.headers)["schema"] == b"cancel/1+json"
        ]  # fmt: skip
        for answers in how[seen : len(cancels)]:
            bodies = [msgspec.json.encode({"event_id": event_id, "how": answer}) for answer in answers.split()]
            headers = (("schema", b"released/1+json"),)
            gateway.log.append([NewRecord("schedule", 0, event_id.encode(), body, headers) for body in bodies])
        seen = max(seen, len(cancels))
        time.sleep(0.01)


def test_cancel_frees_key_and_event_id(gateway: Gateway) -> None:
    event = like(deliver_at=now_ms() + 60_000, idempotency_key=uuid4().hex, event_id=uuid4().hex)
    path = f"/v1/notifications/{gateway.post(event).json['event_id']}"
    with ThreadPoolExecutor(1) as pool:
        pool.submit(answer_cancels, gateway, event["event_id"], ["cancelled"])
        assert gateway.call("DELETE", path, key="key-other").status == 404
        assert gateway.call("DELETE", path).status == 200
    assert gateway.get(path).status == 404
    assert gateway.call("DELETE", path).status == 404
    assert gateway.post({**event, "object": "another"}).status == 202


@pytest.mark.parametrize(
    ("answers", "status"),
    [(["released", "released"], 409), (["released", "cancelled"], 200), (["released", "cancelled released"], 200)],
    ids=["late", "race", "at once"],
)
def test_cancel_goes_by_the_order_of_the_topic(gateway: Gateway, answers: list[str], status: int) -> None:
    event_id = gateway.post(like(deliver_at=now_ms() + 60_000)).json["event_id"]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(answer_cancels, gateway, event_id, answers)
        assert gateway.call("DELETE", f"/v1/notifications/{event_id}").status == status


def test_cancel_without_an_answer_is_503_and_of_an_event_not_kept_409(tmp_path: Path) -> None:
    with running(tmp_path, cancel_deadline_s=1) as gateway:
        kept = gateway.post(like(deliver_at=now_ms() + 60_000)).json["event_id"]
        assert gateway.call("DELETE", f"/v1/notifications/{kept}").status == 503
        at_once = gateway.post(like()).json["event_id"]
        assert gateway.call("DELETE", f"/v1/notifications/{at_once}").status == 409
