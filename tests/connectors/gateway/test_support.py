"""Support's calls and the audit, on a real gateway with a small ledger."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from helpers.gateway import Gateway, running
from helpers.healthy_ledger import MIA, healthy

from connectors.audit_chain import checked_audit
from connectors.gateway.records import segment_chunk
from state.model.errors import AuditFaultError

WHY = "reason=" + quote("ticket 7")
HISTORY = f"/v1/support/users/{MIA}/history"
KNOWN = f"/v1/support/users/{MIA}"
EXPLAIN = f"/v1/explain?event=e2&user={MIA}"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("told")) as gateway:
        gateway.log.append(healthy())
        yield gateway


def acts(gateway: Gateway) -> list[tuple[str, str, dict[str, str], str | None]]:
    return [(act["by"], act["act"], act["about"], act.get("reason")) for act in gateway.values("audit")]


@pytest.mark.parametrize("path", [f"{EXPLAIN}&{WHY}", f"{HISTORY}?{WHY}", f"{KNOWN}?{WHY}"])
def test_only_support_and_administrators_look(told: Gateway, path: str) -> None:
    before = len(acts(told))
    for key in ("key-shop", "key-p0", "key-ops", "key-marketing"):
        assert told.get(path, key=key).status == 403
    assert told.get(path, key=None).status == 401
    assert len(acts(told)) == before
    for key in ("key-support", "key-admin"):
        assert told.get(path, key=key).status == 200


@pytest.mark.parametrize("path", [f"{EXPLAIN}&", f"{HISTORY}?", f"{KNOWN}?"])
@pytest.mark.parametrize("reason", ["", "reason=", "reason=%20", "reason=" + "x" * 501])
def test_who_does_not_say_why_sees_nothing(told: Gateway, path: str, reason: str) -> None:
    before = len(acts(told))
    reply = told.get(path + reason, key="key-support")
    assert (reply.status, reply.paths) == (400, {"reason"})
    assert len(acts(told)) == before


def test_an_explanation_has_every_record_in_words_and_is_noted(told: Gateway) -> None:
    found = told.get(f"{EXPLAIN}&{WHY}", key="key-support").json
    kinds = [record["kind"] for record in found["records"]]
    assert kinds == ["decision", "emission", "delivery", "delivery", "inbox"]
    assert all(record["explanation"] for record in found["records"])
    assert acts(told)[-1] == ("support", "explain", {"event": "e2", "user": MIA}, "ticket 7")
    assert told.get(f"/v1/explain?event=nothing&user={MIA}&{WHY}", key="key-support").status == 404
    assert acts(told)[-1][2] == {"event": "nothing", "user": MIA}, "a look in vain is noted as well"


def test_a_history_is_paged_from_the_newest_record_back(told: Gateway) -> None:
    whole = told.get(f"{HISTORY}?{WHY}", key="key-support").json
    assert whole["cursor"] is None
    times = [record.get("decided_at") or record["at"] for record in whole["records"]]
    assert times == sorted(times, reverse=True)
    assert {record["user"] for record in whole["records"]} == {MIA}
    paged, behind = [], [""]
    while behind:
        page = told.get(f"{HISTORY}?{WHY}&limit=1{behind.pop()}", key="key-support").json
        paged += page["records"]
        behind = [f"&cursor={page['cursor']}"] if page["cursor"] else []
    assert paged == whole["records"], "also of those that bear the same time"


def test_support_is_told_where_a_user_is_reached_and_his_segments_as_last_defined(told: Gateway) -> None:
    token = "ab" * 32
    path, device = f"/v1/users/{MIA}/endpoints/push/phone", {"address": token, "platform": "ios"}
    assert told.call("PUT", path, device, key="key-shop").status == 200
    for segment, users in (("b", [MIA, "noah"]), ("a", [MIA]), ("left", [MIA]), ("left", ["noah"]), ("none", [])):
        assert told.call("PUT", f"/v1/segments/{segment}", users, key="key-shop").status == 200
    told.log.append([segment_chunk("unfinished", 1, 0, [MIA], told.log.partitions)])
    found = told.get(f"{KNOWN}?{WHY}", key="key-support")
    assert found.json["segments"] == ["a", "b"]
    assert [(each["channel"], each["id"]) for each in found.json["endpoints"]] == [("push", "phone")]
    assert token.encode() not in found.body
    assert acts(told)[-1] == ("support", "history", {"user": MIA}, "ticket 7")


def test_nobody_sees_content(told: Gateway) -> None:
    for path in (f"{EXPLAIN}&{WHY}", f"{HISTORY}?{WHY}"):
        assert b"payload" not in told.get(path, key="key-support").body


def test_what_is_done_to_switches_is_noted_with_what_changed(told: Gateway) -> None:
    body = {"scope": "type", "value": "like", "reason": "spam"}
    assert told.call("POST", "/v1/ops/kill", body, key="key-ops").status == 200
    assert told.call("POST", "/v1/ops/kill", {**body, "on": False}, key="key-ops").status == 200
    about = {"scope": "type", "value": "like"}
    assert acts(told)[-2:] == [("ops", "kill", about, "spam"), ("ops", "lift", about, "spam")]
    changes = [(act["before"]["on"], act["after"]["on"]) for act in told.values("audit")[-2:]]
    assert changes == [(False, True), (True, False)]


def test_the_audit_is_read_by_operators_the_newest_first(told: Gateway) -> None:
    assert told.get("/v1/audit", key="key-support").status == 403
    told.get(f"{HISTORY}?{WHY}", key="key-support")
    told.call("POST", "/v1/ops/kill", {"scope": "all", "on": False}, key="key-ops")
    shown = told.get("/v1/audit?limit=2", key="key-ops").json
    assert [act["act"] for act in shown["acts"]] == ["lift", "history"]
    older = told.get(f"/v1/audit?limit=500&cursor={shown['cursor']}", key="key-admin").json["acts"]
    assert len(older) == len(acts(told)) - 2
    assert told.get("/v1/audit?cursor=1000000", key="key-ops").status == 200, "beyond the newest"
    first = told.get("/v1/audit?limit=1&cursor=1", key="key-ops").json
    assert (len(first["acts"]), first["cursor"]) == (1, None), "there is nothing before the first"
    about_mia = told.get(f"/v1/audit?user={MIA}", key="key-ops").json["acts"]
    assert {act["about"]["user"] for act in about_mia} == {MIA}
    assert {act["by"] for act in told.get("/v1/audit?by=support", key="key-ops").json["acts"]} == {"support"}


def test_a_query_that_is_none_is_refused_and_nothing_is_noted(told: Gateway) -> None:
    before = len(acts(told))
    for query in ("limit=0", "limit=501", "limit=x", "cursor=x", "cursor="):
        assert told.get(f"{HISTORY}?{WHY}&{query}", key="key-support").status == 400
    assert len(acts(told)) == before


LIMIT = {"per_second": 7, "reason": "more"}
TEXTS = {"texts": {"title": "T", "one": "{{ actor }}"}, "reason": "nicer"}


@pytest.mark.parametrize(
    ("method", "path", "body", "key"),
    [
        ("GET", f"{EXPLAIN}&{WHY}", None, "key-support"),
        ("GET", f"{HISTORY}?{WHY}", None, "key-support"),
        ("POST", "/v1/ops/kill", {"scope": "type", "value": "like", "reason": "spam"}, "key-ops"),
        ("POST", "/v1/ops/kill", {"scope": "type", "value": "like", "on": False}, "key-ops"),
        ("POST", "/v1/ops/kill", {"scope": "all", "reason": "spam"}, "key-ops"),
        ("PUT", "/v1/types/wave", {"table": {"channels": ["in_app"]}, "reason": "a try"}, "key-ops"),
        ("PUT", "/v1/senders/shop/limit", LIMIT, "key-ops"),
        ("PUT", "/v1/templates/like/pt", TEXTS, "key-marketing"),
    ],
)
def test_what_cannot_be_noted_is_neither_shown_nor_done(
    told: Gateway, method: str, path: str, body: object, key: str
) -> None:
    def stored() -> list[int]:
        return [len(told.records(topic)) for topic in ("audit", "control", "registry")]

    before = stored()
    with told.fault("refuse_audit"):
        refused = told.call(method, path, body, key=key)
    assert refused.status == 503
    assert MIA not in refused.body.decode()
    assert stored() == before
    assert told.call(method, path, body, key=key).status in (200, 202), "it was the audit, and nothing else"
    assert stored()[0] == before[0] + 1


def test_what_gateways_note_is_one_chain(told: Gateway) -> None:
    for _ in range(2):
        told.get(f"{HISTORY}?{WHY}", key="key-support")
    records = told.records("audit")
    found = checked_audit(records)
    assert (found.older, found.sure_to) == (0, records[-2].offset)
    changed = [records[0]._replace(value=b"{}"), *records[1:]]
    with pytest.raises(AuditFaultError):
        checked_audit(changed)
