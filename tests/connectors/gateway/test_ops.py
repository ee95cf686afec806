"""The calls of operators, on a real gateway process."""

from helpers.gateway import Gateway, now_ms


def test_kill_switch_is_a_control_record(gateway: Gateway) -> None:
    body, before = {"scope": "type", "value": "like", "reason": "spam"}, len(gateway.values("control"))
    reply = gateway.call("POST", "/v1/ops/kill", body, key="key-ops")
    assert reply.status == 200
    lifted = gateway.call("POST", "/v1/ops/kill", {**body, "on": False}, key="key-ops")
    assert lifted.json["offset"] > reply.json["offset"]
    assert [one["on"] for one in gateway.values("control")[before:]] == [True, False]
    assert gateway.call("POST", "/v1/ops/kill", {"scope": "type"}, key="key-ops").paths == {"value"}


def test_a_switch_that_names_nothing_is_refused_with_the_nearest_names(gateway: Gateway) -> None:
    before = len(gateway.values("control"))
    for scope, value, nearest in (
        ("type", "lik", "like"), ("sender", "shopp", "shop"), ("door", "shp", "shop"), ("channel", "pusch", "push"),
    ):  # fmt: skip
        reply = gateway.call("POST", "/v1/ops/kill", {"scope": scope, "value": value}, key="key-ops")
        assert (reply.status, reply.paths) == (404, {"value"})
        assert nearest in reply.json["errors"][0]["problem"]
    assert len(gateway.values("control")) == before
    for value in ("campaign_may", "digest"):
        body = {"scope": "type", "value": value, "on": False}
        assert gateway.call("POST", "/v1/ops/kill", body, key="key-ops").status == 200
    unknown = {"scope": "type", "value": "not_yet"}
    assert gateway.call("POST", "/v1/ops/kill", {**unknown, "force": True}, key="key-ops").status == 200
    assert gateway.call("POST", "/v1/ops/kill", {**unknown, "on": False}, key="key-ops").status == 200, "it was set"


def test_a_class_or_a_provider_is_drained_and_p0_and_what_it_goes_by_needs_two(gateway: Gateway) -> None:
    for value in ("P1", "webhook"):
        body = {"scope": "drain", "value": value, "reason": "maintenance"}
        assert gateway.call("POST", "/v1/ops/kill", body, key="key-ops").status == 200
        assert gateway.values("audit")[-1]["about"] == {"scope": "drain", "value": value}
        assert gateway.call("POST", "/v1/ops/kill", {**body, "on": False}, key="key-ops").status == 200
    for value in ("P0", "apns", "twilio"):
        body = {"scope": "drain", "value": value, "reason": "wrong runbook"}
        asked = gateway.call("POST", "/v1/ops/kill", body, key="key-ops")
        assert asked.status == 202
        confirm, path = {"decision": "confirm"}, f"/v1/approvals/{asked.json['id']}"
        assert gateway.call("POST", path, confirm, key="key-ops").status == 403, "he is the same person"
        assert gateway.get("/v1/ops/kill", key="key-ops").json == {"switches": []}
        assert gateway.call("POST", path, confirm, key="key-admin").status == 200
        (shown,) = gateway.get("/v1/ops/kill", key="key-ops").json["switches"]
        assert (shown["scope"], shown["value"]) == ("drain", value)
        assert gateway.call("POST", "/v1/ops/kill", {**body, "on": False}, key="key-ops").status == 200
    refused = gateway.call("POST", "/v1/ops/kill", {"scope": "drain", "value": "P3"}, key="key-ops")
    assert refused.status == 404
    assert "P0" in refused.json["errors"][0]["problem"]


def test_what_is_in_force_is_shown_since_when_by_whom_and_why(gateway: Gateway) -> None:
    asked = now_ms()
    for body in (
        {"scope": "campaign", "value": "spring", "reason": "wrong link"}, {"scope": "door", "value": "shop"},
        {"scope": "campaign", "value": "spring"}, {"scope": "type", "value": "like"},
        {"scope": "type", "value": "like", "on": False},
    ):  # fmt: skip
        assert gateway.call("POST", "/v1/ops/kill", body, key="key-ops").status == 200
    shown = gateway.get("/v1/ops/kill", key="key-ops").json["switches"]
    assert [(one["scope"], one["value"], one["by"], one["reason"]) for one in shown] == [
        ("campaign", "spring", "ops", "wrong link"), ("door", "shop", "ops", None),
    ]  # fmt: skip
    assert all(asked <= one["since"] <= now_ms() for one in shown)
    assert gateway.get("/v1/ops/kill").status == 403
    for one in shown:
        lift = {"scope": one["scope"], "value": one["value"], "on": False}
        assert gateway.call("POST", "/v1/ops/kill", lift, key="key-ops").status == 200
    assert gateway.get("/v1/ops/kill", key="key-ops").json == {"switches": []}


def test_metrics_count_by_operation_and_show_no_secret(gateway: Gateway) -> None:
    assert gateway.get("/v1/notifications/inbox", key="key-shop").status == 403
    text = gateway.get("/metrics", key=None).body.decode()
    assert 'carillon_gateway_requests_total{operation="getInbox",status="403"}' in text
    assert "canary" not in text
    assert "key-shop" not in text
