"""Push to web browsers (RFC 8030), whose addresses are URLs at the push services of their makers.

`POST` to the endpoint of a subscription, encrypted for the browser. What arrives there is JSON as the page's service
worker shows it: `title`, `body`, `tag`, `data`; one that does is `connectors/gateway/web/carillon-worker.js`. The
protocol has no id of ours: it travels as `carillon_id` among the data. What was not answered is ambiguous. Users choose
the endpoints, so only those at listed hosts are called, and by the guarded way out (`connectors/providers/egress.py`).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
import orjson

from connectors.providers.channel import CheckResult, Delivery, Failed, Rejected, Result, Sent, Throttled, building
from connectors.providers.client import OneClient
from connectors.providers.egress import Egress, RefusedError
from connectors.providers.options import EgressOptions, WebPushOptions
from connectors.providers.push.apns_token import load_signing_key
from connectors.providers.push.credential import credential
from connectors.providers.push.fitting import fitted
from connectors.providers.push.identity import ID_KEY, carillon_id
from connectors.providers.push.webpush_encryption import MESSAGE_MAX_BYTES, sealed
from connectors.providers.push.webpush_token import VapidTokens
from connectors.providers.request import Request
from connectors.providers.retry_after import parse_retry_after
from connectors.providers.transport import Response, TransportError
from state.model.content import PushContent, WithdrawalContent
from state.model.errors import UNDECODABLE
from state.model.subscriptions import PushAddress, SubscriptionFault, read_subscription
from state.model.web_address import parse_url

TTL_MAX_S = 2_419_200
"""28 days: what every known service keeps."""
_URGENCY = {"P0": "high", "P1": "normal", "P2": "low"}
"""RFC 8030 5.3: high is for what cannot wait for power, normal for messages of people, low for topics."""
_GONE = (404, 410)
_REASON_MAX = 64


def topic(collapse: str) -> str:
    """A collapse key as a Topic: 32 characters of base64url. What waits under it for a browser is replaced."""
    return urlsafe_b64encode(sha256(collapse.encode("utf-8", "surrogatepass")).digest()[:24]).decode()


def build_notification(content: PushContent, delivery: Delivery) -> bytes:
    """What the service worker gets: the title, and options of `showNotification`."""
    message: dict[str, Any] = {"title": content.title, "body": content.body}
    if content.replaces:
        message["replaces"] = True
    if delivery.collapse is not None:
        message["tag"] = delivery.collapse
    return orjson.dumps({**message, "data": {**dict(content.data), ID_KEY: delivery.provider_id}})


def build_withdrawal(delivery: Delivery) -> bytes:
    """What has the service worker close the notification with this tag."""
    return orjson.dumps({"withdraw": True, "tag": delivery.collapse, "data": {ID_KEY: delivery.provider_id}})


def _fit_notification(delivery: Delivery) -> bytes:
    if not isinstance(delivery.content, PushContent):
        raise TypeError("a push is sent to browsers")
    content = fitted(
        delivery.content, size=lambda some: len(build_notification(some, delivery)), limit=MESSAGE_MAX_BYTES
    )
    return build_notification(content, delivery)


def build_request(delivery: Delivery, address: PushAddress, *, authorization: str, now_ms: int) -> Request:
    """The request for one delivery. What is left of its life becomes the TTL, in whole seconds."""
    withdraws = isinstance(delivery.content, WithdrawalContent)
    replaces = isinstance(delivery.content, PushContent) and delivery.content.replaces
    headers = {
        "authorization": authorization,
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
        "ttl": str(min(max((delivery.expires_at - now_ms) // 1000, 0), TTL_MAX_S)),
        "urgency": "low" if withdraws or replaces else _URGENCY.get(delivery.priority, "normal"),
    }
    if delivery.collapse is not None:  # a browser that is away gets both, the one that is shown and what replaces it
        headers["topic"] = topic(f"{delivery.collapse}/replaces" if replaces else delivery.collapse)
    message = build_withdrawal(delivery) if withdraws else _fit_notification(delivery)
    body = sealed(message, key=address.key, secret=address.secret)
    return Request(address.url.target, headers, body)


_CREDENTIAL = re.compile(rb"vapid|jwt|authoriz", re.IGNORECASE)
"""What services say in a 400 that is about our key or token: VapidPkHashMismatch, UnauthorizedRegistration."""
_OF_EARLIER_MAX = 100_000
"""So many browsers are known to have subscribed with the earlier key; of others it is found out again."""


class _RefusalBody(msgspec.Struct, frozen=True):
    """As Apple and Mozilla say why; the others say it in words."""

    reason: Any = None
    errno: Any = None


def parse_response(response: Response, delivery: Delivery) -> Result:
    """What an answer means; pure. Where our key or token is refused (400, 401, 403) no subscription is retired."""
    status, reason = response.status, _reason(response)
    wait = parse_retry_after(response.headers)
    if 200 <= status < 300:
        return Sent(delivery.provider_id)  # the Location has the subscription in it
    if status in _GONE:
        return Rejected(reason, token_gone=delivery.registered_at)
    if status == 429:  # RFC 8030 8.4: of this subscription
        return Throttled(wait, reason, of_address=True)
    if _refuses_key(response):
        return Failed(reason)
    return Rejected(reason) if status < 500 else Failed(reason, retry_after=wait)


def _refuses_key(response: Response) -> bool:
    """Our key or token is refused: the message was not taken."""
    return response.status in (401, 403) or (response.status == 400 and _CREDENTIAL.search(response.body) is not None)


def _reason(response: Response) -> str:
    try:
        body = msgspec.json.decode(response.body, type=_RefusalBody)
    except UNDECODABLE:
        body = _RefusalBody()
    if isinstance(body.reason, str) and len(body.reason) <= _REASON_MAX and body.reason.isalpha():
        return body.reason
    return f"status {response.status}" + (f", errno {body.errno}" if type(body.errno) is int else "")


class WebPushChannel(OneClient[Egress]):
    """See `connectors.providers.channel.Channel`."""

    name = "webpush"

    def __init__(self, options: WebPushOptions, egress: EgressOptions, *, clock_ms: Callable[[], int]) -> None:
        self.options, self.egress = options, egress
        self._clock_ms = clock_ms
        self._tokens: list[VapidTokens] = []
        """Of our key, and of the earlier one."""
        self._of_earlier: set[int] = set()
        """Hashes of the endpoints that were sent to with the earlier key, since ours was refused."""

    def provider_id(self, key: str) -> str:
        """The `carillon_id` of the data."""
        return carillon_id(key)

    async def connect(self) -> None:
        """Load the keys; connections open with the first sends.

        :raises ConfigurationError: an option is missing or a key cannot be read.
        """
        names = ["signing_key", *(["earlier_signing_key"] if self.options.earlier_signing_key else [])]
        self._tokens = [self._tokens_of(name) for name in names]
        self._client = Egress(self.egress)

    def _tokens_of(self, name: str) -> VapidTokens:
        key = load_signing_key(credential(self.options, name), key=f"providers.webpush.{name}")
        return VapidTokens(key, self.options.subject, clock_s=lambda: self._clock_ms() / 1000)

    async def check(self) -> CheckResult:
        """Reach the first service of the list; without a subscription, none can be asked for more."""
        origin = self.options.origin
        if (url := parse_url(origin)) is None:
            return CheckResult(False, "no address")
        try:
            response = await self._connected().request(url, Request("/", {}, method="GET"), self.options.timeout)
        except TransportError as error:
            return CheckResult(False, error.told)
        return CheckResult(
            True, f"{origin} answers (status {response.status}); the key is judged with the first message"
        )

    async def send(self, delivery: Delivery) -> Result:
        """One request, if the subscription is at a host of the list: when it was registered, the list was another.
        A second one with the other key where one is refused, and that key is remembered for the browser.
        """
        address = read_subscription(delivery.address, self.options.hosts)
        if isinstance(address, SubscriptionFault):
            return Rejected(f"subscription: {address.complaint[0]}")
        try:
            response = await self._answered(delivery, address)
        except RefusedError as error:
            return Rejected(error.cause)
        except TransportError as error:  # below a domain of the list, a user may have named what never was there
            unnamed = address.url.authority not in self.options.hosts
            return Failed(error.cause, ambiguous=error.ambiguous, of_address=unnamed)
        return parse_response(response, delivery)

    async def _answered(self, delivery: Delivery, address: PushAddress) -> Response:
        """By the key with which the browser subscribed; by the last that is tried, where it refuses all."""
        subscription = hash(delivery.address)
        tokens = self._tokens if subscription not in self._of_earlier else self._tokens[::-1]
        for each in tokens[:-1]:
            if not _refuses_key(response := await self._request(delivery, address, each)):
                return response
        response = await self._request(delivery, address, tokens[-1])
        if len(tokens) > 1 and not _refuses_key(response):
            self._note(subscription, earlier=tokens[-1] is not self._tokens[0])
        return response

    async def _request(self, delivery: Delivery, address: PushAddress, tokens: VapidTokens) -> Response:
        with building():
            request = build_request(
                delivery, address, authorization=tokens.authorization(address.origin), now_ms=self._clock_ms()
            )
        return await self._connected().request(address.url, request, self.options.timeout)

    def _note(self, subscription: int, *, earlier: bool) -> None:
        """With which key a browser subscribed."""
        if len(self._of_earlier) >= _OF_EARLIER_MAX:
            self._of_earlier.clear()
        (self._of_earlier.add if earlier else self._of_earlier.discard)(subscription)
