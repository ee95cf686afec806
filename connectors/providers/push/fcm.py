"""Push to Android devices through Firebase Cloud Messaging (HTTP v1, over HTTP/2).

`POST /v1/projects/<project>/messages:send`, one request per device. FCM takes no id of ours: it travels as
`carillon_id` among the data, so that the application can tell a resend. What was not answered is ambiguous.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import orjson

from connectors.providers.channel import CheckResult, Delivery, Failed, Rejected, Result, Sent, Throttled, building
from connectors.providers.client import hand_over, transport_to
from connectors.providers.options import FcmOptions
from connectors.providers.push.credential import credential
from connectors.providers.push.fcm_token import AccessToken, AccessTokenError
from connectors.providers.push.fitting import fitted
from connectors.providers.push.identity import ID_KEY, carillon_id
from connectors.providers.push.service_account import load_service_account
from connectors.providers.request import Request
from connectors.providers.retry_after import parse_retry_after
from connectors.providers.transport import Response, Transport, TransportError
from state.model.addresses import is_installation_id, sandbox_fcm_token
from state.model.content import PushContent, WithdrawalContent
from state.model.errors import UNDECODABLE, ConfigurationError

SHOWN_MAX_BYTES = 4096
"""Of notification and data together."""
TTL_MAX_S = 2_419_200
"""28 days."""
_PRIORITY = {"P0": "high", "P1": "high", "P2": "normal"}
_WAIT = timedelta(seconds=60)
"""Until the next try after a 429 that names no time."""
_WAIT_MIN = timedelta(seconds=10)
_NAME_MAX = 200
_CHECK = {"validate_only": True, "message": {"topic": "carillon-check"}}


def build_shown(content: PushContent, provider_id: str) -> dict[str, Any]:
    """What the device gets to show, and the data beside it."""
    notification = {"title": content.title, "body": content.body} if content.title else {"body": content.body}
    return {"notification": notification, "data": {**dict(content.data), ID_KEY: provider_id}}


def build_request(delivery: Delivery, *, project: str, token: str, now_ms: int) -> Request:
    """The request for one delivery; pure. What is left of its life becomes the ttl, in whole seconds.

    A notification without a collapse key takes the place of any other that waits for a device that is away. FCM keeps
    those of at most four keys. A withdrawal is data alone, so nothing is shown: the application removes the tag. So is
    what replaces another: Android would sound again for a notification.
    """
    if not isinstance(delivery.content, PushContent | WithdrawalContent):
        raise TypeError("a push is sent to FCM")
    left_s = (delivery.expires_at - now_ms) // 1000
    android: dict[str, Any] = {
        "ttl": f"{min(max(left_s, 0), TTL_MAX_S)}s", "priority": _PRIORITY.get(delivery.priority, "high")
    }  # fmt: skip
    if isinstance(delivery.content, WithdrawalContent):
        data = {"withdraw": "true", "tag": delivery.collapse or "", ID_KEY: delivery.provider_id}
        android |= {"priority": "normal", "collapse_key": delivery.collapse or ""}
        return _request(project, token, {"message": {**_target(delivery), "data": data, "android": android}})
    if delivery.content.replaces:
        return _request(project, token, {"message": _replacing(delivery, delivery.content, android)})
    if delivery.collapse is not None:
        android |= {"collapse_key": delivery.collapse, "notification": {"tag": delivery.collapse}}
    content = fitted(
        delivery.content, size=lambda some: _size(build_shown(some, delivery.provider_id)), limit=SHOWN_MAX_BYTES
    )
    message = {**_target(delivery), **build_shown(content, delivery.provider_id), "android": android}
    return _request(project, token, {"message": message})


def _target(delivery: Delivery) -> dict[str, str]:
    """An app that registers its installation has no token any more, and the other way round."""
    return {"fid" if is_installation_id(delivery.address) else "token": delivery.address}


def _replacing(delivery: Delivery, content: PushContent, android: dict[str, Any]) -> dict[str, Any]:
    """No collapse key: a phone that is away gets both, the one that is shown and this one."""

    def data(some: PushContent) -> dict[str, str]:
        told = {**dict(some.data), "title": some.title, "body": some.body}
        return {**told, "replaces": "true", "tag": delivery.collapse or "", ID_KEY: delivery.provider_id}

    fit = fitted(content, size=lambda some: _size(data(some)), limit=SHOWN_MAX_BYTES)
    return {**_target(delivery), "data": data(fit), "android": android | {"priority": "normal"}}


def _size(shown: dict[str, Any]) -> int:
    """At least what FCM counts, which is keys and values without the signs between them."""
    return len(orjson.dumps(shown))


def _request(project: str, token: str, body: dict[str, Any]) -> Request:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return Request(f"/v1/projects/{quote(project, safe='')}/messages:send", headers, orjson.dumps(body))


_UNAUTHENTICATED = "UNAUTHENTICATED"
_NO_SUCH_ADDRESS = "registration token"
"""Stands in what FCM says of a token that is none, and in no other INVALID_ARGUMENT."""
_CODES = frozenset({
    "UNREGISTERED", "INVALID_ARGUMENT", "SENDER_ID_MISMATCH", "THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR",
    "QUOTA_EXCEEDED", "UNAVAILABLE", "INTERNAL",
})  # fmt: skip


class _Detail(msgspec.Struct, frozen=True, rename="camel"):
    error_code: str = ""
    """Of an FcmError."""
    field_violations: list[Any] = []
    """Of a BadRequest."""


class _Error(msgspec.Struct, frozen=True):
    status: str = ""
    message: str = ""
    details: list[_Detail] = []


class _Body(msgspec.Struct, frozen=True):
    name: str = ""
    """Of a message that was taken."""
    error: _Error = _Error()


def parse_response(response: Response, delivery: Delivery) -> Result:
    """What an answer means; pure. An FcmError's code comes first, then the status, then HTTP's number."""
    body = _body(response)
    if response.status == 200 and (body.name or not body.error.status):
        return Sent(body.name if 0 < len(body.name) <= _NAME_MAX else delivery.provider_id)
    wait = parse_retry_after(response.headers)
    code = next((detail.error_code for detail in body.error.details if detail.error_code), "")
    if code in _CODES:
        return _by_code(code, body.error, delivery, wait)
    return _by_status(response.status, body.error.status, wait)


def _by_code(code: str, error: _Error, delivery: Delivery, wait: timedelta | None) -> Result:
    if code in ("UNREGISTERED", "SENDER_ID_MISMATCH"):
        return Rejected(code, token_gone=delivery.registered_at)
    if code == "INVALID_ARGUMENT":
        blames_us = any(detail.field_violations for detail in error.details) or _NO_SUCH_ADDRESS not in error.message
        return Rejected(code, token_gone=None if blames_us else delivery.registered_at)
    if code == "QUOTA_EXCEEDED":
        return _throttled(code, wait)
    return Failed(code, retry_after=wait)


def _by_status(number: int, status: str, wait: timedelta | None) -> Result:
    reason = status if status.isupper() and status.replace("_", "").isalpha() else f"status {number}"
    if number == 401:
        return Failed(_UNAUTHENTICATED, of_credential=True)
    if number == 429:
        return _throttled(reason, wait)
    if number in (403, 404):  # of the project or what is between: nothing is known of the token
        return Failed(reason)
    return Rejected(reason) if 400 <= number < 500 else Failed(reason, retry_after=wait)


def _throttled(reason: str, wait: timedelta | None) -> Throttled:
    return Throttled(_WAIT if wait is None else max(wait, _WAIT_MIN), reason)


def _body(response: Response) -> _Body:
    try:
        return msgspec.json.decode(response.body, type=_Body)
    except UNDECODABLE:
        return _Body()


class FcmChannel:
    """See `connectors.providers.channel.Channel`."""

    name = "fcm"

    def __init__(self, options: FcmOptions, *, clock_ms: Callable[[], int]) -> None:
        self.options = options
        self._clock_ms = clock_ms
        self._project = ""
        self._transports: list[Transport] = []
        self._token: AccessToken | None = None

    def provider_id(self, key: str) -> str:
        """The `carillon_id` of the data."""
        return carillon_id(key)

    async def connect(self) -> None:
        """Load the service account; connections open with the first sends.

        :raises ConfigurationError: an option is missing or the key cannot be read.
        """
        content = credential(self.options, "service_account")
        account = load_service_account(content, key="providers.fcm.service_account")
        self._project = account.project
        place = urlsplit(self.options.token_url or account.token_url)
        if place.scheme != "https":
            raise ConfigurationError("providers.fcm.service_account: its token_uri is not https://")
        origins = self.options.origin, f"https://{place.netloc}"
        self._transports = [transport_to(origin, self.options, self.name, http2=True) for origin in origins]
        self._token = AccessToken(
            account,
            self._transports[1],
            place.path or "/",
            timeout=self.options.timeout,
            clock_s=lambda: self._clock_ms() / 1000,
        )

    async def check(self) -> CheckResult:
        """Get a token, and have a message validated that goes to nobody."""
        try:
            async with asyncio.timeout(self.options.timeout.total_seconds()):
                bearer = await self._connected().renewed()
                request = _request(self._project, bearer, _CHECK)
                response = await self._transports[0].request(request, self.options.timeout)
        except TimeoutError:
            return CheckResult(False, "no answer within the deadline")
        except AccessTokenError as error:
            more = error.remedy or getattr(error.__cause__, "why", "")
            return CheckResult(False, f"{error.cause}: {more}" if more else error.cause)
        except TransportError as error:
            return CheckResult(False, error.told)
        if response.status == 200:
            return CheckResult(True, "the service account is accepted; a message was tried that goes to nobody")
        return CheckResult(False, f"the message tried was refused: {_body(response).error.status or response.status}")

    async def send(self, delivery: Delivery) -> Result:
        """One request, and one more with a new access token where FCM refuses the one it had."""
        address = sandbox_fcm_token(delivery.address)  # if Google is asked for a name after all, it says so itself
        if address is None:
            return Rejected("INVALID_ARGUMENT", token_gone=delivery.registered_at)
        delivery = delivery if address == delivery.address else replace(delivery, address=address)
        until = time.monotonic() + self.options.timeout.total_seconds()
        try:
            bearer = await self._bearer(until)
            result = await self._attempt(delivery, bearer, until)
            if isinstance(result, Failed) and result.cause == _UNAUTHENTICATED:
                result = await self._attempt(delivery, await self._bearer(until, refused=bearer), until)
        except AccessTokenError as error:
            return Failed(error.cause, retry_after=error.retry_after)
        return result

    async def close(self) -> None:
        """See `Channel.close`."""
        for transport in self._transports:
            await transport.close()

    async def _bearer(self, until: float, refused: str | None = None) -> str:
        token = self._connected()
        if refused is None and (held := token.held()) is not None:
            return held
        try:
            async with asyncio.timeout(until - time.monotonic()):
                return await token.renewed(refused)
        except TimeoutError:
            raise AccessTokenError("access token: none within the deadline") from None

    async def _attempt(self, delivery: Delivery, bearer: str, until: float) -> Result:
        with building():
            request = build_request(delivery, project=self._project, token=bearer, now_ms=self._clock_ms())
        left = timedelta(seconds=until - time.monotonic())
        if left <= timedelta():
            return Failed("no time left to send it")
        return await hand_over(self._transports[0], request, left, partial(parse_response, delivery=delivery))

    def _connected(self) -> AccessToken:
        if self._token is None:
            raise AssertionError("connect() comes before everything else")
        return self._token
