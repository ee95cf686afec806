"""A server that speaks FCM's protocol (HTTP v1) and grants its access tokens: HTTP/2 or HTTP/1.1, over TLS.

`POST /token` takes an assertion that the sandbox's service account signed, and grants a token for an hour.
`POST /v1/projects/<project>/messages:send` takes a message by such a token. Checked are the assertion (signature, key,
issuer, audience, scope, life), the access token, the message's shape (fields that FCM has not are refused) and size.
The journal's `id` is the `carillon_id` of the data. Misbehaviours: `connectors.sandbox`.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

import jwt
import msgspec
import orjson

from connectors.providers.push.service_account import (
    ASSERTION_LIFE_S,
    AUDIENCE,
    GRANT_TYPE,
    SCOPE,
    ServiceAccount,
)
from connectors.sandbox.http2 import Answer
from connectors.sandbox.journal import Journal
from connectors.sandbox.misbehaviour import OF_HTTP2, Behaviour, Misbehaviours
from state.model.addresses import sandbox_fcm_token

SHOWN_MAX_BYTES = 4096
TOKEN_LIFE_S = 3599
_ERROR_TYPE = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_VIOLATION_TYPE = "type.googleapis.com/google.rpc.BadRequest"
_REFUSALS = {  # HTTP status: status, FcmError's code
    401: ("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), 403: ("PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
    404: ("NOT_FOUND", ""), 429: ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), 500: ("INTERNAL", "INTERNAL"),
    503: ("UNAVAILABLE", "UNAVAILABLE"),
}  # fmt: skip
_NOT_REGISTERED = "The registration token is not a valid FCM registration token"
_OUR_CLOCK: jwt.types.Options = {
    "verify_exp": False, "verify_iat": False, "require": ["iss", "aud", "scope", "iat", "exp"]
}  # fmt: skip
_SCOPES = {SCOPE, "https://www.googleapis.com/auth/cloud-platform"}
"""Either is enough."""
_HTML = b"<html><body>error</body></html>"


class _Notification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str = ""
    body: str = ""
    image: str = ""


class _Android(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`notification` and `fcm_options` are taken as they are."""

    ttl: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,7}(\.[0-9]{1,9})?s$")] = "2419200s"
    priority: Literal["high", "normal", "HIGH", "NORMAL"] = "normal"
    collapse_key: str = ""
    restricted_package_name: str = ""
    data: dict[str, str] = {}
    notification: dict[str, Any] = {}
    fcm_options: dict[str, Any] = {}
    direct_boot_ok: bool = False


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is for other platforms is taken as it is."""

    fid: str = ""
    token: str = ""
    topic: str = ""
    condition: str = ""
    notification: _Notification = _Notification()
    data: dict[str, str] = {}
    android: _Android = _Android()
    apns: dict[str, Any] = {}
    webpush: dict[str, Any] = {}
    fcm_options: dict[str, Any] = {}

    @property
    def device(self) -> str:
        """Whom it is for, if that is one: an app's installation ID, or its registration token."""
        return self.fid or self.token


class _Send(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    message: _Message
    validate_only: bool = False


class FcmServer:
    """See `connectors.sandbox.http2.Http2Server`: the journal, the misbehaviours' memory, the granted tokens."""

    streams_first = 100

    def __init__(self, journal: Journal, account: ServiceAccount, *, clock_s: Callable[[], float] = time.time) -> None:
        self.journal, self._account, self._clock_s = journal, account, clock_s
        self.misbehaviours = Misbehaviours(OF_HTTP2 | {"inside"})
        self._granted: dict[str, float] = {}
        """Access token to its end."""

    def judge(self, headers: dict[str, str], body: bytes) -> Answer:
        """A token's grant, or everything that FCM checks and then what the registration token asks for."""
        path = headers.get(":path", "")
        if headers.get(":method") == "POST" and path == "/token":
            return self._grant(body)
        if headers.get(":method") != "POST" or path != f"/v1/projects/{self._account.project}/messages:send":
            return Answer(404, _HTML, (("content-type", "text/html"),))
        if not self._knows(headers):
            return _error(401, "UNAUTHENTICATED", "")
        try:
            send = msgspec.json.decode(body, type=_Send)
        except msgspec.MsgspecError as error:
            return _violation("message", str(error))
        answer = self._send(send)
        if not send.validate_only:
            answer.to, answer.identity = send.message.device, send.message.data.get("carillon_id", "")
        return answer

    def _grant(self, body: bytes) -> Answer:
        form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        if form.get("grant_type") != GRANT_TYPE:
            return _json(400, {"error": "unsupported_grant_type"})
        if complaint := self._assertion_error(form.get("assertion", "")):
            return _json(400, {"error": "invalid_grant", "error_description": complaint})
        now = self._clock_s()
        self._granted = {token: ends for token, ends in self._granted.items() if ends > now}
        token = f"ya29.sandbox.{secrets.token_urlsafe(32)}"
        self._granted[token] = now + TOKEN_LIFE_S
        return _json(200, {"access_token": token, "expires_in": TOKEN_LIFE_S, "token_type": "Bearer"})

    def _assertion_error(self, assertion: str) -> str:
        """Why Google would refuse the assertion; empty if it would not."""
        try:
            key_id = jwt.get_unverified_header(assertion).get("kid")
            claims = jwt.decode(
                assertion, self._account.key.public_key(), algorithms=["RS256"], audience=AUDIENCE, options=_OUR_CLOCK
            )
        except jwt.InvalidTokenError:
            return "Invalid JWT Signature."
        if key_id != self._account.key_id or claims["iss"] != self._account.email:
            return "Invalid grant: account not found"
        issued, ends, now = claims["iat"], claims["exp"], self._clock_s()
        if not (isinstance(issued, int) and isinstance(ends, int) and issued - 60 <= now < ends):
            return "Invalid JWT: Token must be a short-lived token and in a reasonable timeframe"
        if ends - issued > ASSERTION_LIFE_S:
            return "Invalid JWT: Token must be a short-lived token (60 minutes)"
        return "" if _SCOPES & {*str(claims["scope"]).split()} else "Invalid scope"

    def _knows(self, headers: dict[str, str]) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._granted.get(token, 0.0) > self._clock_s()

    def _send(self, send: _Send) -> Answer:
        message = send.message
        if sum(1 for target in (message.fid, message.token, message.topic, message.condition) if target) != 1:
            return _violation("message", "Exactly one of fid, token, topic and condition must be set")
        if int(message.android.ttl[:-1].partition(".")[0]) > 2_419_200:
            return _violation("message.android.ttl", "TTL must be at most 28 days")
        if _shown_bytes(message) > SHOWN_MAX_BYTES:
            return _violation("message", "Message is too big")
        if send.validate_only or not message.device:
            return self._take()
        if sandbox_fcm_token(message.device) is None:
            return _error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", _NOT_REGISTERED)
        name = "" if ":" in message.token else message.token  # what Google registers has a colon, or comes as `fid`
        behaviour = self.misbehaviours.of(name, message.device)
        answer = self._behave(behaviour)
        answer.behaviour = behaviour
        return answer

    def _take(self) -> Answer:
        return _json(200, {"name": f"projects/{self._account.project}/messages/0:{uuid.uuid4().hex}"})

    def _behave(self, behaviour: Behaviour) -> Answer:
        if behaviour.kind == "gone":
            return _error(404, "NOT_FOUND", "UNREGISTERED", "Requested entity was not found.")
        if behaviour.refuses:
            return _refusal(behaviour)
        if behaviour.kind == "bad":
            return _error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", _NOT_REGISTERED)
        return _error(401, "UNAUTHENTICATED", "") if behaviour.kind == "credential" else self._take()


def _refusal(behaviour: Behaviour) -> Answer:
    status = behaviour.status
    if status == 400:
        return _violation("message.android", "Invalid value")
    if status not in _REFUSALS:
        return Answer(status, _HTML, (("content-type", "text/html"),))
    answer = _error(status, *_REFUSALS[status])
    if status == 429 or behaviour.retry_after_s is not None:
        answer.headers += (("retry-after", behaviour.wait_s(12)),)
    return answer


def _shown_bytes(message: _Message) -> int:
    """Keys and values of the data, and the words of the notification."""
    texts = [message.notification.title, message.notification.body, *message.data, *message.data.values()]
    return sum(len(text.encode()) for text in texts)


def _violation(place: str, description: str) -> Answer:
    detail = {"@type": _VIOLATION_TYPE, "fieldViolations": [{"field": place, "description": description}]}
    return _error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", description, detail)


def _error(status: int, name: str, code: str, message: str = "", *more: dict[str, Any]) -> Answer:
    details: list[dict[str, Any]] = [{"@type": _ERROR_TYPE, "errorCode": code}] if code else []
    content = {"code": status, "message": message or name, "status": name, "details": [*details, *more]}
    return _json(status, {"error": content})


def _json(status: int, content: dict[str, Any]) -> Answer:
    return Answer(status, orjson.dumps(content), (("content-type", "application/json; charset=UTF-8"),))
