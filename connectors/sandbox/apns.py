"""A server that speaks APNs' protocol: HTTP/2 over TLS (`connectors.sandbox.http2`).

One stream at a time until a valid provider token was seen on the connection, 1000 then. Checked are path, provider
token (shape, signature, age), topic, push type, payload size. Misbehaviours: `connectors.sandbox`.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any
from urllib.parse import unquote

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from connectors.sandbox.http2 import Answer
from connectors.sandbox.journal import Journal
from connectors.sandbox.misbehaviour import OF_HTTP2, Misbehaviours

PAYLOAD_MAX_BYTES = 4096
TOKEN_AGE_MAX_S = 3600
_PUSH_TYPES = (
    "alert", "background", "voip", "complication", "fileprovider", "mdm", "location", "liveactivity", "pushtotalk",
    "widgets", "controls",
)  # fmt: skip
_PATH = re.compile(r"/3/device/([!-.0-~]{1,1200})")  # one segment, perhaps escaped
_BAD_STATUS_REASON = {
    400: "BadDeviceToken", 403: "InvalidProviderToken", 404: "BadPath", 405: "MethodNotAllowed", 410: "Unregistered",
    413: "PayloadTooLarge", 429: "TooManyRequests", 500: "InternalServerError", 503: "ServiceUnavailable",
}  # fmt: skip


class ApnsServer:
    """See `connectors.sandbox.http2.Http2Server`: the journal, the misbehaviours' memory, what is known of tokens."""

    streams_first = 1

    def __init__(self, journal: Journal, key: EllipticCurvePublicKey, topic: str) -> None:
        self.journal, self._topic, self._key = journal, topic, key
        self.misbehaviours = Misbehaviours(OF_HTTP2)
        self._issued_s: dict[str, int] = {}

    def judge(self, headers: dict[str, str], body: bytes) -> Answer:
        """Everything that APNs checks, and then what the token asks for."""
        match = _PATH.fullmatch(headers.get(":path", ""))
        identity = headers.get("apns-id") or str(uuid.uuid4())
        answer = Answer(200, to=unquote(match.group(1)) if match else "", identity=identity)
        answer.headers = (("apns-id", identity),)
        if headers.get(":method") != "POST":
            return _refuse(answer, 405, "MethodNotAllowed")
        if error := self._token_error(headers.get("authorization", "")):
            return _refuse(answer, 403, error)
        answer.trusts = True
        refusal = self._refusal(headers, answer.to) or _payload_refusal(body)
        return self._behave(answer) if refusal is None else _refuse(answer, *refusal)

    def _token_error(self, authorization: str) -> str:
        """Why APNs would refuse the provider token; empty if it would not."""
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token:
            return "MissingProviderToken"
        if token not in self._issued_s:
            issued = self._verify(token)
            if issued is None:
                return "InvalidProviderToken"
            if len(self._issued_s) > 1000:
                self._issued_s.clear()
            self._issued_s[token] = issued
        return "ExpiredProviderToken" if time.time() - self._issued_s[token] > TOKEN_AGE_MAX_S else ""

    def _verify(self, token: str) -> int | None:
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, self._key, algorithms=["ES256"], options={"verify_iat": False})
        except jwt.InvalidTokenError:
            return None
        kid, team, issued = header.get("kid"), claims.get("iss"), claims.get("iat")
        if not (isinstance(kid, str) and len(kid) == 10 and isinstance(team, str) and len(team) == 10):
            return None
        return issued if isinstance(issued, int) else None

    def _refusal(self, headers: dict[str, str], to: str) -> tuple[int, str] | None:
        """What APNs checks between the provider token and the payload."""
        if not to:
            return (400, "MissingDeviceToken") if headers.get(":path") == "/3/device/" else (404, "BadPath")
        if headers.get("apns-topic") != self._topic:
            return 400, "BadTopic" if "apns-topic" in headers else "MissingTopic"
        if headers.get("apns-push-type", "alert") not in _PUSH_TYPES:  # a watch needs it, other devices do not
            return 400, "InvalidPushType"
        if headers.get("apns-push-type") == "background" and headers.get("apns-priority") != "5":
            return 400, "BadPriority"
        if not headers.get("apns-expiration", "0").isdigit():
            return 400, "BadExpirationDate"
        if len(headers.get("apns-collapse-id", "")) > 64:
            return 400, "BadCollapseId"
        return None

    def _behave(self, answer: Answer) -> Answer:
        """What the token asks for."""
        answer.behaviour = behaviour = self.misbehaviours.of(answer.to)
        if behaviour.kind == "gone":
            return _refuse(answer, 410, "Unregistered", timestamp=time.time_ns() // 1_000_000)
        if behaviour.kind == "bad":
            return _refuse(answer, 400, "BadDeviceToken")
        if behaviour.kind == "credential":
            return _refuse(answer, 403, "ExpiredProviderToken")
        if behaviour.kind == "refuse":
            if behaviour.status == 429 or behaviour.retry_after_s is not None:
                answer.headers += (("retry-after", behaviour.wait_s(1)),)
            return _refuse(answer, behaviour.status, _BAD_STATUS_REASON.get(behaviour.status, "Unknown"))
        return answer


def _refuse(answer: Answer, status: int, reason: str, **more: Any) -> Answer:
    answer.status, answer.content = status, orjson.dumps({"reason": reason, **more})
    return answer


def _payload_refusal(body: bytes) -> tuple[int, str] | None:
    if not body:
        return 400, "PayloadEmpty"
    if len(body) > PAYLOAD_MAX_BYTES:
        return 413, "PayloadTooLarge"
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 400, "PayloadEmpty"
    return None if isinstance(payload, dict) and "aps" in payload else (400, "PayloadEmpty")
