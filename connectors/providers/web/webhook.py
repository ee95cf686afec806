"""Webhooks, by the Standard Webhooks specification: a signed POST of JSON (TOPICS.md, "What a webhook gets").

The webhook-id depends on the delivery alone, so a receiver knows a repeat by it; the timestamp is of each try.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from connectors.providers.channel import CheckResult, Delivery, Failed, Rejected, Result, Sent, Throttled
from connectors.providers.options import EgressOptions, WebhookOptions
from connectors.providers.request import Request
from connectors.providers.retry_after import parse_retry_after
from connectors.providers.transport import Response
from connectors.providers.web.posting import PostingChannel, path_of
from connectors.providers.web.signature import endpoint_secret, sign
from state.model.content import WebhookContent

_GONE = 410
_BODY_BYTES_MAX = 20_000
"""What the specification advises; all but the payload is bounded by half of it and more."""
_THROTTLED = (429, 502, 503, 504)


def build_request(delivery: Delivery, options: WebhookOptions, *, now_ms: int) -> Request:
    """The request for one delivery; pure."""
    content = delivery.content
    if not isinstance(content, WebhookContent):
        raise TypeError("a document is sent to a webhook")
    body = _body(delivery, content, content.data)
    if len(body) > _BODY_BYTES_MAX:
        body = _body(delivery, content, {**content.data, "payload": None, "payload_left_out": True})
    secrets = [
        endpoint_secret(secret, delivery.user, delivery.device)
        for secret in (options.secret, options.secret_before)
        if secret
    ]
    headers = sign(secrets, delivery.provider_id, now_ms // 1000, body)
    return Request(path_of(delivery), {"content-type": "application/json", **headers}, body)


def _body(delivery: Delivery, content: WebhookContent, data: Mapping[str, Any]) -> bytes:
    return orjson.dumps({
        "type": content.type,
        "timestamp": datetime.fromtimestamp(content.at // 1000, UTC).isoformat(),
        "data": {"user": delivery.user, "endpoint": delivery.device, **data},
    })  # fmt: skip


def parse_response(response: Response, delivery: Delivery) -> Result:
    """What an answer means; pure. Whatever is wrong concerns this receiver alone; a redirect is a failure."""
    status, reason = response.status, f"status {response.status}"
    if 200 <= status < 300:
        return Sent(delivery.provider_id)
    if status == _GONE:
        return Rejected(reason, token_gone=delivery.registered_at)
    wait = parse_retry_after(response.headers)
    if status in _THROTTLED:
        return Throttled(wait, reason, of_address=True)
    return Failed(reason, retry_after=wait, of_address=True)


class WebhookChannel(PostingChannel):
    """See `connectors.providers.channel.Channel`."""

    name = "webhook"
    options: WebhookOptions

    def __init__(self, options: WebhookOptions, egress: EgressOptions, *, clock_ms: Callable[[], int]) -> None:
        super().__init__(options, egress)
        self._clock_ms = clock_ms

    def request(self, delivery: Delivery) -> Request:
        """Signed now."""
        return build_request(delivery, self.options, now_ms=self._clock_ms())

    def result(self, response: Response, delivery: Delivery) -> Result:
        """See `parse_response`."""
        return parse_response(response, delivery)

    async def check(self) -> CheckResult:
        """There is nobody to ask: every receiver is somebody else's."""
        secrets = "two secrets" if self.options.secret_before else "one secret"
        return CheckResult(True, f"messages are signed by {secrets}; there is no server to ask")
