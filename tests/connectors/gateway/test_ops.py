"""The calls of operators, on a real gateway process."""

from helpers.gateway import Gateway


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
