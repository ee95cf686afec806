"""A server that speaks the protocol of push services for browsers (RFC 8030): HTTPS (`connectors.sandbox.http1`).

`/subscription/NAME` gives the subscription of a made-up browser, as JSON, and `/push/NAME` takes messages for it.
Checked are the sender's token (RFC 8292: signature, key, audience, life, subject), TTL, Urgency, Topic, the size, and
the body, which the browser decrypts (RFC 8291). The journal's `to` is the browser's name, its `id` the `carillon_id` of
the data. Misbehaviours: `connectors.sandbox`; a name such as `301-` is answered with a redirect to the browser `moved`.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from urllib.parse import unquote

import jwt
import msgspec
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors.sandbox.browsers import Browsers, UndecryptableError
from connectors.sandbox.http2 import Answer
from connectors.sandbox.journal import Journal
from connectors.sandbox.misbehaviour import OF_HTTPS, Behaviour, Misbehaviours
from state.model.subscriptions import unpadded

BODY_MAX_BYTES = 4096
TTL_MAX_S = 2_592_000
_LIFE_MAX_S = 24 * 3600
_PATH = re.compile(r"/(push|subscription)/([!-.0-~]{1,1200})")
_VAPID = re.compile(r"vapid t=([A-Za-z0-9_.-]+), ?k=([A-Za-z0-9_-]+)", re.IGNORECASE)
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_URGENCIES = ("very-low", "low", "normal", "high")
_OUR_CLOCK: jwt.types.Options = {"verify_exp": False, "verify_aud": False, "require": ["aud", "exp", "sub"]}


class _Data(msgspec.Struct, frozen=True):
    carillon_id: str = ""


class _Pushed(msgspec.Struct, frozen=True):
    data: _Data = _Data()


class WebPushServer:
    """See `connectors.sandbox.http1.Http1Server`: the journal, the misbehaviours' memory, who sends, the browsers."""

    def __init__(
        self,
        journal: Journal,
        key: ec.EllipticCurvePublicKey,
        browsers: Browsers,
        *,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`key`: with which all browsers subscribed."""
        self.journal, self._key, self._browsers, self._clock_s = journal, key, browsers, clock_s
        self.misbehaviours = Misbehaviours(OF_HTTPS)

    def judge(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """A subscription, or everything that is checked of a message and then what the browser's name asks for."""
        path, origin = _PATH.fullmatch(target), f"https://{headers.get('host', '')}"
        if path is None:
            return _refusal(404, "no such resource")
        name = unquote(path[2])
        if path[1] == "subscription":
            return Answer(200, self._browsers.address(name, origin).encode(), (("content-type", "application/json"),))
        refusal = self._sender_refusal(headers.get("authorization", ""), origin) or _headers_refusal(headers)
        answer = refusal or self._take(name, origin, body)
        answer.to = name
        return answer

    def _sender_refusal(self, authorization: str, origin: str) -> Answer | None:
        found = _VAPID.fullmatch(authorization)
        if found is None:
            return _refusal(401, "no VAPID token")
        try:
            claims = jwt.decode(found[1], self._key, algorithms=["ES256"], options=_OUR_CLOCK)
        except jwt.InvalidTokenError:
            return _refusal(403, "VAPID token not signed by the subscription's key")
        ends, now = claims["exp"], self._clock_s()
        if found[2] != unpadded(_point(self._key)):
            return _refusal(403, "VAPID key is not the subscription's")
        if claims["aud"] != origin or not isinstance(ends, int) or not now < ends <= now + _LIFE_MAX_S:
            return _refusal(403, "VAPID token for another service, or not for the next 24 hours")
        subject = str(claims["sub"])
        return None if subject.startswith(("mailto:", "https://")) else _refusal(403, "VAPID subject is no address")

    def _take(self, name: str, origin: str, body: bytes) -> Answer:
        if len(body) > BODY_MAX_BYTES:
            return _refusal(413, "larger than 4096 bytes")
        try:
            message = self._browsers.decrypt(name, body)
        except UndecryptableError as error:
            return _refusal(400, str(error))
        if body[21:86] == _point(self._key):
            return _refusal(400, "encrypted by the VAPID key")
        behaviour = self.misbehaviours.of(name)
        answer = _behave(behaviour, origin)
        answer.behaviour, answer.identity, answer.shown = behaviour, _identity(message), message
        return answer


def _behave(behaviour: Behaviour, origin: str) -> Answer:
    if behaviour.kind in ("gone", "bad"):
        return _refusal(410 if behaviour.kind == "gone" else 404, "no such subscription")
    if behaviour.kind == "credential":
        return _refusal(403, "VAPID token not signed by the subscription's key")
    if behaviour.kind != "refuse":
        return Answer(201, headers=(("location", f"{origin}/message/{uuid.uuid4().hex}"), ("ttl", "0")))
    answer = _refusal(behaviour.status, "as the name asks")
    if behaviour.status == 429 or behaviour.retry_after_s is not None:
        answer.headers += (("retry-after", behaviour.wait_s(12)),)
    if behaviour.status < 400:
        answer.headers += (("location", f"{origin}/push/moved"),)
    return answer


def _headers_refusal(headers: dict[str, str]) -> Answer | None:
    ttl, urgency, topic = headers.get("ttl", ""), headers.get("urgency", "normal"), headers.get("topic")
    if not ttl.isdigit() or int(ttl) > TTL_MAX_S:
        return _refusal(400, "TTL")
    if urgency not in _URGENCIES:
        return _refusal(400, "Urgency")
    if topic is not None and not _TOPIC.fullmatch(topic):
        return _refusal(400, "Topic")
    return None if headers.get("content-encoding") == "aes128gcm" else _refusal(400, "Content-Encoding")


def _refusal(status: int, message: str) -> Answer:
    content = orjson.dumps({"code": status, "message": message})
    return Answer(status, content, (("content-type", "application/json"),))


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _identity(message: bytes) -> str:
    """Of what other senders than ours say, none."""
    try:
        return msgspec.json.decode(message, type=_Pushed).data.carillon_id
    except msgspec.MsgspecError:
        return ""
