"""What webhooks say, and what the answers of receivers mean: pure."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from helpers.deliveries import REGISTERED, delivery

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from connectors.providers.options import EgressOptions, WebhookOptions
from connectors.providers.transport import Response
from connectors.providers.web import webhook
from connectors.providers.web.signature import endpoint_secret, is_genuine
from state.model.content import WebhookContent

EGRESS = EgressOptions()
OPTIONS = WebhookOptions(secret="s" * 32, secret_before="b" * 32)
CONTENT = WebhookContent("like", 1_700_000_000_123, {"event_id": "e1", "text": "Ann liked \u00fc", "payload": {"a": 1}})
HOOK = delivery(CONTENT, channel="webhook", device="main", user="zoe", address="https://hooks.example.org/a?b=c")


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {}, Sent("pid")),
        (204, {}, Sent("pid")),
        (299, {}, Sent("pid")),
        (301, {"location": "https://x.example/"}, Failed("status 301", of_address=True)),
        (400, {}, Failed("status 400", of_address=True)),
        (404, {}, Failed("status 404", of_address=True)),
        (410, {}, Rejected("status 410", token_gone=REGISTERED)),
        (429, {}, Throttled(None, "status 429", of_address=True)),
        (429, {"retry-after": "7"}, Throttled(timedelta(seconds=7), "status 429", of_address=True)),
        (502, {}, Throttled(None, "status 502", of_address=True)),
        (503, {"retry-after": "9"}, Throttled(timedelta(seconds=9), "status 503", of_address=True)),
        (504, {}, Throttled(None, "status 504", of_address=True)),
        (500, {"retry-after": "5"}, Failed("status 500", retry_after=timedelta(seconds=5), of_address=True)),
    ],
)
def test_answers(status: int, headers: dict[str, str], expected: Result) -> None:
    assert webhook.parse_response(Response(status, headers, b"whatever it says"), HOOK) == expected


def test_a_body_has_at_most_20_000_bytes_so_a_large_payload_stays_behind() -> None:
    for size, left_out in ((15_000, False), (16_384, True)):
        data = {"event_id": "e1", "text": "x" * 4_000, "payload": {"a": "y" * size}}
        hook = delivery(WebhookContent("like", 1, data), channel="webhook", address="https://hooks.example.org/")
        body = webhook.build_request(hook, OPTIONS, now_ms=1).body
        assert len(body) <= 20_000
        sent = json.loads(body)["data"]
        assert (sent["payload"] is None, sent.get("payload_left_out", False)) == (left_out, left_out)
        assert sent["text"] == data["text"]


def test_the_request_is_signed_by_both_secrets_of_the_endpoint_and_timed_by_the_try() -> None:
    request = webhook.build_request(HOOK, OPTIONS, now_ms=1_700_000_100_999)
    body: dict[str, Any] = json.loads(request.body)
    assert (request.method, request.path) == ("POST", "/a?b=c")
    assert body == {
        "type": "like",
        "timestamp": "2023-11-14T22:13:20+00:00",
        "data": {"user": "zoe", "endpoint": "main", **CONTENT.data},
    }
    assert request.headers["webhook-id"] == "pid"
    assert request.headers["webhook-timestamp"] == "1700000100"
    for secret in (OPTIONS.secret, OPTIONS.secret_before):
        own = endpoint_secret(secret, "zoe", "main")
        assert is_genuine([own], request.headers, request.body, now_s=1_700_000_100)
    again = webhook.build_request(HOOK, OPTIONS, now_ms=1_700_000_200_000)
    assert again.body == request.body
    assert again.headers["webhook-id"] == request.headers["webhook-id"]
    assert "sss" not in repr(OPTIONS)


def test_the_id_of_a_delivery_has_no_dot_which_would_end_it() -> None:
    channel = webhook.WebhookChannel(OPTIONS, egress=EGRESS, clock_ms=lambda: 0)
    assert "." not in channel.provider_id("em_1/a.b/webhook/c.d")
    assert "a.b" not in channel.provider_id("em_1/a.b/webhook/c.d")
