"""Campaigns by HTTP: prepared by one person, approved by another, and seen by marketing alone."""

import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.console import Browser
from helpers.gateway import Gateway, Reply, running, token
from helpers.records import decision, delivery

MARKETING, ADMIN = "key-marketing", "key-admin"
CSV = {"content-type": "text/csv"}
DRAFT = {"type": "newsletter", "payload": {"headline": "Sale"}}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("campaigns")) as gateway:
        yield gateway


def call(gateway: Gateway, method: str, path: str, body: Any = None, key: str = MARKETING, **more: Any) -> Reply:
    return gateway.call(method, f"/v1/campaigns{path}", body, key=key, **more)


def create(gateway: Gateway, name: str, audience: bytes | None = b"user\nann\nbob\n") -> None:
    assert call(gateway, "POST", "", {"name": name, **DRAFT}).status == 201
    if audience is not None:
        assert call(gateway, "PUT", f"/{name}/audience", audience, headers=CSV).status == 200


def shown(gateway: Gateway, name: str) -> Any:
    return call(gateway, "GET", f"/{name}").json


def test_only_marketing_and_administrators_see_campaigns(told: Gateway) -> None:
    for key in ("key-shop", "key-p0", "key-ops", "key-support"):
        assert call(told, "GET", "", key=key).status == 403
        assert call(told, "POST", "", {"name": "x", **DRAFT}, key=key).status == 403
    assert call(told, "GET", "", key=ADMIN).status == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "Big Sale", **DRAFT}, "name"),
        ({"name": "a", "type": "otp", "payload": {"code": "1"}}, "type"),
        ({"name": "a", "type": "like"}, "type"),
        ({"name": "a", "type": "nothing-of-this-name"}, "type"),
        ({"name": "a"}, "type"),
    ],
)
def test_what_no_campaign_could_send_is_refused(told: Gateway, body: dict[str, Any], path: str) -> None:
    reply = call(told, "POST", "", body)
    assert (reply.status, reply.paths) == (400, {path})


def test_a_name_is_taken_once(told: Gateway) -> None:
    create(told, "once", None)
    assert call(told, "POST", "", {"name": "once", **DRAFT}).status == 409
    assert call(told, "GET", "/never").status == 404
    assert call(told, "POST", "/never/pause").status == 404


def test_the_way_from_a_file_to_its_release_needs_two_people(told: Gateway) -> None:
    create(told, "two", None)
    assert call(told, "POST", "/two/schedule", {}).status == 409
    assert call(told, "POST", "/two/approve", {"revision": 1}, ADMIN).status == 409, "it has no audience"
    assert call(told, "PUT", "/two/audience", b"user\nann\nbob\nann\n", headers=CSV).json["audience"] == {
        "recipients": 2, "doubles": 1, "bad": 0, "unknown": None, "reached": {}, "suppressed": {},
    }  # fmt: skip
    seen = shown(told, "two")["revision"]
    assert call(told, "POST", "/two/approve", {"revision": seen}).status == 409, "who changed it last"
    assert call(told, "POST", "/two/approve", {"revision": seen - 1}, ADMIN).status == 409, "what he has not seen"
    assert call(told, "POST", "/two/approve", {"revision": seen}, ADMIN).json["approvals"] == ["admin"]
    assert call(told, "PUT", "/two", {**DRAFT, "payload": {"headline": "More"}}).json["approvals"] == []
    seen = shown(told, "two")["revision"]
    assert call(told, "POST", "/two/approve", {"revision": seen}, ADMIN).status == 200
    assert call(told, "POST", "/two/schedule", {"local": "2030-12-01T09:00"}).json["state"] == "running"
    assert call(told, "PUT", "/two", DRAFT).status == 409
    assert call(told, "POST", "/two/throttle", {"per_second": 5}).json["per_second"] == 5
    assert call(told, "POST", "/two/pause").json["state"] == "paused"
    assert call(told, "POST", "/two/pause").status == 409
    assert call(told, "POST", "/two/resume").json["state"] == "running"
    assert call(told, "POST", "/two/cancel").json["state"] == "cancelled"
    assert call(told, "POST", "/two/resume").status == 409


def test_a_dedicated_slot_is_asked_for_with_the_text_and_approved_with_it(told: Gateway) -> None:
    create(told, "slotted")
    assert shown(told, "slotted")["slot"] is False
    seen = shown(told, "slotted")["revision"]
    assert call(told, "POST", "/slotted/approve", {"revision": seen}, ADMIN).status == 200
    asked = call(told, "PUT", "/slotted", {**DRAFT, "slot": True}).json
    assert (asked["slot"], asked["approvals"]) == (True, [])
    assert call(told, "POST", "/slotted/approve", {"revision": asked["revision"]}).status == 409, "who asked for it"
    assert call(told, "POST", "/slotted/approve", {"revision": asked["revision"]}, ADMIN).status == 200
    given_up = call(told, "PUT", "/slotted", DRAFT).json
    assert (given_up["slot"], given_up["approvals"]) == (False, [])
    noted = [act["after"]["slot"] for act in told.values("audit") if "slot" in act["after"]]
    assert noted[-2:] == [True, False]
    event = {"type": "newsletter", "fan_out_type": "SEGMENT", "segment": "s", "object": "o", "slot": True}
    reply = told.call("POST", "/v1/notifications", event, key="key-shop")
    assert (reply.status, reply.paths) == (400, {"slot"}), "no sender takes one for himself"


def test_a_file_may_be_sent_to_go_in_stages(told: Gateway) -> None:
    create(told, "staged", None)
    for stages in ("10,1", "0", "1,1", "1,2,3,4,5,6", "101", "1.5", "x", "1,,2", "-1"):
        assert call(told, "PUT", f"/staged/audience?stages={stages}", b"user\nann\n", headers=CSV).status == 400
    assert call(told, "PUT", "/staged/audience?steps=1", b"user\nann\n", headers=CSV).status == 400
    file = b"user\n" + b"".join(b"staged%d\n" % number for number in range(300))
    sent = call(told, "PUT", "/staged/audience?stages=10,50,100", file, headers=CSV).json
    assert (sent["stages"], sent["stage"], sent["hold_minutes"]) == ([10, 50, 100], 1, None)
    assert call(told, "POST", "/staged/advance").status == 409, "it is a draft"
    assert call(told, "POST", "/staged/approve", {"revision": sent["revision"]}, ADMIN).status == 200
    started = call(told, "POST", "/staged/schedule", {"hold_minutes": 5}).json
    assert (started["state"], started["stage"], started["hold_minutes"]) == ("running", 1, 5)
    assert [call(told, "POST", "/staged/advance").json["stage"] for _ in range(2)] == [2, 3]
    assert call(told, "POST", "/staged/advance").status == 409
    assert call(told, "POST", "/staged/pause").status == 200
    create(told, "unstaged")
    assert (shown(told, "unstaged")["stages"], shown(told, "unstaged")["stage"]) == ([], 0)


def test_a_test_is_for_a_few_users_and_is_noted(told: Gateway) -> None:
    create(told, "tried", None)
    assert call(told, "POST", "/never/test", {"users": ["ann"]}).status == 404
    for users in ([], [f"u{number}" for number in range(6)], ["\n"], "ann"):
        assert call(told, "POST", "/tried/test", {"users": users}).status == 400
    assert call(told, "POST", "/tried/test", {"users": ["ann"], "revision": 9}).status == 409, "what he has not seen"
    assert call(told, "POST", "/tried/test", {"users": ["ann"]}, key="key-shop").status == 403
    sent = call(told, "POST", "/tried/test", {"users": ["ann", "bob", "ann"]})
    assert (sent.status, sent.json["users"]) == (200, 2)
    (noted,) = [act for act in told.values("audit") if act["about"].get("verb") == "test"]
    assert noted["about"]["event_id"] == sent.json["event_id"]
    assert shown(told, "tried")["revision"] == 1
    assert b'["ann","bob"]' in [record.value for record in told.records("campaigns") if b'"users"' in record.value][-1]
    assert call(told, "POST", "/tried/cancel").status == 200
    assert call(told, "POST", "/tried/test", {"users": ["ann"]}).status == 409


def test_every_act_is_noted_without_content(told: Gateway) -> None:
    create(told, "noted")
    acts = [act for act in told.values("audit") if act["about"].get("campaign") == "noted"]
    assert [(act["act"], act["about"]["verb"], act["by"]) for act in acts] == [
        ("campaign", "create", "marketing"), ("campaign", "audience", "marketing"),
    ]  # fmt: skip
    assert acts[1]["after"]["audience"]["recipients"] == 2
    assert "before" not in acts[0]
    assert (acts[1]["before"]["state"], acts[1]["before"]["revision"]) == ("draft", 1)
    assert "Sale" not in str(acts)


def test_why_is_noted_where_it_is_said(told: Gateway) -> None:
    create(told, "why")
    seen = shown(told, "why")["revision"]
    assert call(told, "POST", "/why/approve", {"revision": seen, "reason": "checked"}, key="key-admin").status == 200
    assert call(told, "POST", "/why/schedule", {"at": 4_000_000_000_000, "reason": "spring"}).status == 200
    assert call(told, "POST", "/why/pause", {"reason": "a wrong link"}).status == 200
    assert call(told, "POST", "/why/resume").status == 200
    assert call(told, "POST", "/why/cancel", {"revision": seen, "reason": "late"}).status == 409, "what he has not seen"
    assert call(told, "POST", "/why/cancel", {"because": "late"}).status == 400
    assert call(told, "POST", "/why/cancel", {"reason": "too late"}).status == 200
    said = {
        act["about"]["verb"]: act.get("reason") for act in told.values("audit") if act["about"].get("campaign") == "why"
    }
    assert {verb: said[verb] for verb in ("approve", "start", "pause", "resume", "cancel")} == {
        "approve": "checked", "start": "spring", "pause": "a wrong link", "resume": None, "cancel": "too late",
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {"at": 1, "local": "2026-12-01T09:00"}, {"local": "2026-13-01T09:00"}, {"local": "soon"}, {"at": -1},
        {"at": 1_796_000_000},
        {"local": "2026-12-01T09:00Z"},
    ],
)  # fmt: skip
def test_a_time_that_no_clock_shows_is_refused(told: Gateway, body: dict[str, Any]) -> None:
    if call(told, "GET", "/timed").status == 404:
        create(told, "timed")
    assert call(told, "POST", "/timed/schedule", body).status == 400


def test_bad_rows_are_left_out_and_can_be_fetched(told: Gateway) -> None:
    create(told, "rows", None)
    file = b"user,timezone\nann,Europe/Paris\n,\nbob,Mars/Base\n" + b"x" * 300 + b",\neve,\n"
    found = call(told, "PUT", "/rows/audience", file, headers=CSV).json["audience"]
    assert (found["recipients"], found["bad"]) == (2, 3)
    rows = call(told, "GET", "/rows/bad-rows")
    lines = [line for line in rows.body.decode().splitlines() if line]
    assert [line.startswith(f'{{"row":{number},') for line, number in zip(lines, (3, 4, 5), strict=True)] == [True] * 3
    assert "Mars" not in rows.body.decode(), "a problem repeats no value"


def test_rows_behind_a_quotation_mark_that_is_not_closed_are_told_as_such(told: Gateway) -> None:
    create(told, "quoted", None)
    file = b'user\nann\n"eve\n' + b"bob\n" * 90
    assert call(told, "PUT", "/quoted/audience", file, headers=CSV).json["audience"]["bad"] == 1
    problem = call(told, "GET", "/quoted/bad-rows").body.decode()
    assert "user: is 92 lines, the last of them this: a quotation mark is not closed" in problem


@pytest.mark.parametrize("kind", ["parquet", "ndjson"])
def test_other_forms_of_files(told: Gateway, kind: str) -> None:
    create(told, kind, None)
    if kind == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.table({"user": ["ann", "bob", "ann"]}), buffer)
        body, media = buffer.getvalue(), "application/vnd.apache.parquet"
    else:
        body, media = b'{"user":"ann"}\n{"user":"bob"}\n{"user":"ann"}\n', "application/x-ndjson"
    found = call(told, "PUT", f"/{kind}/audience", body, headers={"content-type": media}).json["audience"]
    assert (found["recipients"], found["doubles"]) == (2, 1)


@pytest.mark.parametrize("file", [b"", b"name\nann\n", b"user\n", b"user\n,\n"])
def test_a_file_that_names_nobody_changes_nothing(told: Gateway, file: bytes) -> None:
    if call(told, "GET", "/empty").status == 404:
        create(told, "empty")
    before = shown(told, "empty")
    assert call(told, "PUT", "/empty/audience", file, headers=CSV).status == 400
    assert shown(told, "empty") == before


def test_chunks_are_of_one_zone_and_no_larger_than_a_second_of_the_throttle(told: Gateway) -> None:
    create(told, "zoned", None)
    call(told, "POST", "/zoned/throttle", {"per_second": 2})
    users = "".join(f"u{number},{'Asia/Tokyo' if number % 2 else ''}\n" for number in range(6))
    call(told, "PUT", "/zoned/audience", f"user,timezone\n{users}".encode(), headers=CSV)
    chunks = [value for value in told.values("campaigns") if value.get("campaign") == "zoned" and "users" in value]
    assert [(chunk["zone"], len(chunk["users"])) for chunk in chunks] == [
        ("Asia/Tokyo", 2), ("Asia/Tokyo", 1), ("UTC", 2), ("UTC", 1),
    ]  # fmt: skip
    assert sorted(user for chunk in chunks for user in chunk["users"]) == [f"u{number}" for number in range(6)]


def test_a_report_of_what_was_not_released_is_empty(told: Gateway) -> None:
    create(told, "few")
    nothing: dict[str, Any] = {"outcomes": {}, "reasons": {}, "deliveries": {}, "heard": {}, "variants": {}}
    assert call(told, "GET", "/few/report").json == {"name": "few", "recipients": None, **nothing}


def test_a_report_tells_of_the_variants_that_went_to_many(told: Gateway) -> None:
    create(told, "halves")
    for number in range(45):
        user, variant = f"half{number}", "b" if number < 5 else "a"
        of_campaign = {"object": "halves", "sender_id": "campaigns", "emission_id": f"em_{user}"}
        told.log.append([decision(user, "h1", "EMITTED", ("d", 1, number), **of_campaign)])
        told.log.append([delivery(user, f"em_{user}", "m", "DELIVERED", 9, variant=variant)])
    report = call(told, "GET", "/halves/report").json
    assert (report["variants"].keys(), report["variants"]["a"].keys()) == ({"a"}, {"sent"})
    assert report["variants"]["a"]["sent"] in (30, 40), "in tens, less a number that was drawn for the file"
    browser = Browser(told)
    browser.sign_in("key-marketing")
    assert f"Variant a sent: {report['variants']['a']['sent']}" in browser.get("/console/campaigns?name=halves").words


def test_a_file_of_one_person_tells_nothing_of_him(told: Gateway) -> None:
    phone = {"platform": "ios", "address": "ab" * 32}
    assert told.call("PUT", "/v1/users/alone/endpoints/push/p", phone, key="key-shop").status == 200
    seen = []
    for opted_in in (True, False):
        wanted = {"types": {"newsletter": {"enabled": opted_in}}}
        assert told.call("PUT", "/v1/preferences", wanted, key=token("alone")).status == 200
        create(told, f"alone-{opted_in}".lower(), b"user\nalone\n")
        seen.append(shown(told, f"alone-{opted_in}".lower())["audience"])
    create(told, "alone-nobody", b"user\nnobody-of-this-name\n")
    assert seen == [shown(told, "alone-nobody")["audience"]] * 2


def open_tables(gateway: Gateway) -> int:
    assert gateway.process is not None
    found = 0
    for link in Path(f"/proc/{gateway.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += "audience.sqlite" in str(link.readlink())
    return found


def test_files_are_taken_one_at_a_time(told: Gateway) -> None:
    names, answers = [f"queue{number}" for number in range(4)], list[int]()
    for name in names:
        create(told, name, None)
    file = b"user\n" + b"".join(b"u%d\n" % number for number in range(20_000))

    def upload(name: str) -> None:
        answers.append(call(told, "PUT", f"/{name}/audience", file, headers=CSV).status)

    most = 0
    threads = [threading.Thread(target=upload, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, open_tables(told))
    assert (answers, most) == ([200] * len(names), 1)


def test_an_upload_tells_whom_it_would_reach_and_why_not_the_others(told: Gateway) -> None:
    for number in range(60):
        user = f"est{number}"
        phone = {"platform": "ios", "address": f"{number:064x}"}
        if number % 3 != 2:
            assert told.call("PUT", f"/v1/users/{user}/endpoints/push/p", phone, key="key-shop").status == 200
        wanted = {"types": {"newsletter": {"enabled": number % 3 != 1}}}
        assert told.call("PUT", "/v1/preferences", wanted, key=token(user)).status == 200
    create(told, "estimate", b"user\n" + b"".join(b"est%d\n" % number for number in range(60)))
    audience = shown(told, "estimate")["audience"]
    assert audience["reached"] in ({"push": 10}, {"push": 20}), "of 20, less a number that nobody knows, in tens"
    tens = audience["reached"]["push"]
    assert audience["suppressed"] == {"type_off": tens, "no_channel": tens}
    assert call(told, "PUT", "/estimate", {**DRAFT, "type": "promotion"}).status == 200
    assert shown(told, "estimate")["audience"]["reached"] == {}, "it was of another type"
