"""Push to Apple devices over HTTP/2.

`POST /3/device/<token>`, one request per device on shared connections. The apns-id is a UUID made of the delivery key,
so a resend carries the same one; a message that was not answered is ambiguous. A connection belongs to one credential:
(environment, team id, key id).
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

import orjson

from connectors.providers.channel import CheckResult, Delivery, Failed, Rejected, Result, Sent, Throttled, building
from connectors.providers.client import OneClient, ask, hand_over, transport_to
from connectors.providers.options import ApnsOptions
from connectors.providers.push.apns_token import ProviderToken, load_signing_key
from connectors.providers.push.credential import credential
from connectors.providers.push.fitting import fitted
from connectors.providers.request import Request
from connectors.providers.retry_after import parse_retry_after
from connectors.providers.transport import Response, Transport
from state.model.addresses import sandbox_token
from state.model.content import PushContent, WithdrawalContent

PAYLOAD_MAX_BYTES = 4096
COLLAPSE_MAX_BYTES = 64
EXPIRATION_MAX_S = 2**32 - 1
"""What a time had room for in APNs' first protocol; a ttl may be longer than any other."""
_NAMESPACE = b"carillon/apns-id/"
_PRIORITY = {"P0": "10", "P1": "10", "P2": "5"}


def apns_id(key: str) -> str:
    """The apns-id of a delivery key: a canonical lower-case UUID (RFC 9562, version 8)."""
    digest = hashlib.sha256(_NAMESPACE + key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


def build_payload(content: PushContent) -> bytes:
    """The JSON that the device gets."""
    alert: dict[str, Any] = {"body": content.body}
    if content.title:
        alert["title"] = content.title
    how = {"interruption-level": "passive"} if content.replaces else {"sound": "default"}
    payload: dict[str, Any] = {"aps": {"alert": alert, **how}}
    if content.data or content.replaces:
        payload["carillon"] = {**dict(content.data), **({"replaces": True} if content.replaces else {})}
    return orjson.dumps(payload)


def build_background(delivery: Delivery) -> bytes:
    """What wakes the application without a sound: it removes what is shown under this tag, the apns-collapse-id."""
    withdrawn = {"withdraw": True, "tag": delivery.collapse}
    return orjson.dumps({"aps": {"content-available": 1}, "carillon": withdrawn})


def fit_payload(content: PushContent) -> bytes:
    """The payload, its body cut where the whole would be too long."""
    payload = build_payload(content)
    if len(payload) <= PAYLOAD_MAX_BYTES:
        return payload
    return build_payload(fitted(content, size=lambda some: len(build_payload(some)), limit=PAYLOAD_MAX_BYTES))


class _Last:
    """The payload that was built last: a fan-out sends the same to many. No more is kept of what people say."""

    built: tuple[PushContent | None, bytes] = (None, b"")
    """Both at once: two threads must not mix them."""


def _payload_of(content: PushContent) -> bytes:
    known, payload = _Last.built
    if content is not known:
        payload = fit_payload(content)
        _Last.built = content, payload
    return payload


def build_request(delivery: Delivery, *, topic: str, token: str) -> Request:
    """The request for one delivery; pure."""
    content = delivery.content
    if not isinstance(content, (PushContent, WithdrawalContent)):
        raise TypeError("a push is sent to APNs")
    withdraws = isinstance(content, WithdrawalContent)
    is_quiet = withdraws or (isinstance(content, PushContent) and content.replaces)
    headers = {
        "authorization": f"bearer {token}",
        "apns-id": delivery.provider_id,
        "apns-topic": topic,
        "apns-push-type": "background" if withdraws else "alert",
        "apns-priority": "5" if is_quiet else _PRIORITY.get(delivery.priority, "10"),
        "apns-expiration": str(min(delivery.expires_at // 1000, EXPIRATION_MAX_S)),
    }
    if delivery.collapse is not None and len(delivery.collapse.encode()) <= COLLAPSE_MAX_BYTES:
        headers["apns-collapse-id"] = delivery.collapse
    payload = build_background(delivery) if isinstance(content, WithdrawalContent) else _payload_of(content)
    return Request(device_path(delivery.address), headers, payload)


def device_path(address: str) -> str:
    """The path of a device, its token escaped to one segment."""
    return f"/3/device/{address if address.isascii() and address.isalnum() else quote(address, safe='')}"


_TOKEN_GONE = frozenset({"Unregistered", "ExpiredToken"})
_TOKEN_BAD = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"})
_OUR_FAULT = frozenset({
    "BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPriority", "InvalidPushType", "PayloadEmpty",
    "DuplicateHeaders", "MissingDeviceToken", "BadPath", "MethodNotAllowed", "PayloadTooLarge",
})  # fmt: skip
_CREDENTIAL = frozenset({
    "TopicDisallowed", "BadTopic", "MissingTopic", "InvalidProviderToken", "MissingProviderToken", "BadCertificate",
    "BadCertificateEnvironment", "Forbidden", "UnrelatedKeyIdInToken", "BadEnvironmentKeyIdInToken",
    "BadEnvironmentKeyInToken",  # Apple's page has the one spelling, the wire the other
})  # fmt: skip
_TRANSIENT = frozenset({
    "IdleTimeout", "InternalServerError", "ServiceUnavailable", "Shutdown", "ExpiredProviderToken",
})  # fmt: skip
_TOO_MANY_TOKENS = "TooManyProviderTokenUpdates"


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The body of an answer that is not 200."""

    reason: str
    timestamp: int | None = None


def parse_response(response: Response, delivery: Delivery) -> Result:
    """What an answer means; pure. An unknown reason falls to a class by its status."""
    if response.status == 200:
        return Sent(response.headers.get("apns-id", delivery.provider_id))
    refusal = _refusal(response)
    wait = parse_retry_after(response.headers)
    known = _by_reason(refusal, delivery, wait)
    return known if known is not None else _by_status(response.status, refusal, delivery, wait)


def _by_reason(refusal: _Refusal, delivery: Delivery, wait: timedelta | None) -> Result | None:
    reason = refusal.reason
    if reason in _TOKEN_GONE:
        return Rejected(reason, token_gone=refusal.timestamp or delivery.registered_at)
    if reason in _TOKEN_BAD:
        return Rejected(reason, token_gone=delivery.registered_at)
    if reason in _OUR_FAULT:
        return Rejected(reason)
    if reason in _CREDENTIAL:  # not the token's fault: nothing is retired, the retries and the next channel remain
        return Failed(reason, retryable=reason != "Forbidden", of_credential=True)
    if reason == _TOO_MANY_TOKENS:
        return Throttled(wait or timedelta(minutes=20), reason)
    if reason in _TRANSIENT:
        return Failed(reason, retry_after=wait)
    return None


def _by_status(status: int, refusal: _Refusal, delivery: Delivery, wait: timedelta | None) -> Result:
    reason = refusal.reason or f"status {status}"
    if status == 410:
        return Rejected(reason, token_gone=refusal.timestamp or delivery.registered_at)
    if status == 429:
        return Throttled(wait, reason, of_address=refusal.reason == "TooManyRequests")
    if status == 403:
        return Failed(reason, of_credential=True)
    if 400 <= status < 500:
        return Rejected(reason)
    return Failed(reason, retry_after=wait)


def _refusal(response: Response) -> _Refusal:
    body = response.document()
    reason, timestamp = body.get("reason"), body.get("timestamp")
    return _Refusal(
        reason[:64] if isinstance(reason, str) and reason.isalnum() else "",
        timestamp if isinstance(timestamp, int) and not isinstance(timestamp, bool) and timestamp > 0 else None,
    )


def credential_verdict(response: Response) -> CheckResult:
    """What the answer to a request without a device says of the credential: refused for that alone, it is good."""
    reason = _refusal(response).reason
    if reason in _OUR_FAULT | _TOKEN_BAD:
        return CheckResult(True, f"key and topic are accepted; a request that names no device was refused ({reason})")
    hint = "; look at the key, key_id, team_id and topic" if reason in _CREDENTIAL else ""
    return CheckResult(False, f"{reason or f'status {response.status}'}{hint}")


class ApnsChannel(OneClient[Transport]):
    """See `connectors.providers.channel.Channel`."""

    name = "apns"
    _token: ProviderToken

    def __init__(self, options: ApnsOptions) -> None:
        self.options = options

    def provider_id(self, key: str) -> str:
        """The apns-id."""
        return apns_id(key)

    async def connect(self) -> None:
        """Load the key; the connection opens with the first send.

        :raises ConfigurationError: an option is missing or the key cannot be read.
        """
        pem = credential(self.options, "signing_key")
        self._token = ProviderToken(
            load_signing_key(pem, key="providers.apns.signing_key"),
            team_id=self.options.team_id,
            key_id=self.options.key_id,
            clock_s=time.time,
            uniform=random.uniform,
        )
        self._client = transport_to(self.options.origin, self.options, self.name, http2=True)

    async def check(self) -> CheckResult:
        """Ask with the credential for a path that names no device: APNs judges the token before the device."""
        client = self._connected()
        headers = {"authorization": f"bearer {await self._token.current()}", "apns-topic": self.options.topic}
        request = Request("/3/device/", headers, b"{}")
        return await ask(client, request, self.options.timeout, credential_verdict)

    async def send(self, delivery: Delivery) -> Result:
        """One request, and one more where APNs calls the provider token expired."""
        address = sandbox_token(delivery.address)  # if Apple's server is asked for a name after all, it says so itself
        if address is None:
            return Rejected("BadDeviceToken", token_gone=delivery.registered_at)
        delivery = delivery if address == delivery.address else replace(delivery, address=address)
        client = self._connected()
        bearer = await self._token.current()
        result = await self._attempt(client, delivery, bearer)
        if isinstance(result, Failed) and result.cause == "ExpiredProviderToken":
            renewed = await self._token.expired(bearer)
            if renewed != bearer:
                result = await self._attempt(client, delivery, renewed)
        return result

    async def _attempt(self, client: Transport, delivery: Delivery, bearer: str) -> Result:
        with building():
            request = build_request(delivery, topic=self.options.topic, token=bearer)
        if len(request.body) > PAYLOAD_MAX_BYTES:
            return Rejected("PayloadTooLarge")
        return await hand_over(client, request, self.options.timeout, partial(parse_response, delivery=delivery))
