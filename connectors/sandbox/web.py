"""Receivers of webhooks and chats: HTTP/1.1 over TLS. The last part of the path may name a misbehaviour.

The webhook receiver takes what the endpoint's own secret signed within five minutes, and answers 401 to the rest; the
journal's `id` is the webhook-id. The chat receiver takes JSON with a text, and answers in Slack's words; the journal's
`id` is the Idempotency-Key. `to` is the whole address.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from connectors.providers.web.signature import endpoint_secret, is_genuine
from connectors.sandbox.http2 import Answer
from connectors.sandbox.journal import Journal
from connectors.sandbox.misbehaviour import OF_HTTPS, Behaviour, Misbehaviours


class _For(msgspec.Struct, frozen=True):
    user: str
    endpoint: str


class _Webhook(msgspec.Struct, frozen=True):
    type: str
    timestamp: str
    data: _For


class _Chat(msgspec.Struct, frozen=True):
    text: str


class WebhookServer:
    """What all connections share."""

    def __init__(self, journal: Journal, secrets: Sequence[str]) -> None:
        """`secrets` are those of `providers.webhook`, of which endpoints' own are made."""
        self.journal, self._secrets, self.misbehaviours = journal, secrets, Misbehaviours(OF_HTTPS)

    def judge(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """See `connectors.sandbox.http1.Http1Server`."""
        behaviour = self.misbehaviours.of(_name(target), target)
        return _message(self._judged(behaviour, headers, body), behaviour, target, headers, "webhook-id")

    def _judged(self, behaviour: Behaviour, headers: dict[str, str], body: bytes) -> Answer:
        try:
            place = msgspec.json.decode(body, type=_Webhook).data
        except msgspec.MsgspecError:
            return Answer(400)
        own = [endpoint_secret(secret, place.user, place.endpoint) for secret in self._secrets]
        if not is_genuine(own, headers, body, now_s=int(time.time())):
            return Answer(401)
        status = {"gone": 410, "bad": 400, "credential": 401, "refuse": behaviour.status}.get(behaviour.kind, 200)
        return Answer(status)


class ChatServer:
    """What all connections share."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.misbehaviours = (
            journal,
            Misbehaviours(OF_HTTPS - {"credential"} | {"inside"}),
        )  # its address is the credential

    def judge(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """See `connectors.sandbox.http1.Http1Server`."""
        behaviour = self.misbehaviours.of(_name(target), target)
        return _message(_said(behaviour, body), behaviour, target, headers, "idempotency-key")


def _said(behaviour: Behaviour, body: bytes) -> Answer:
    try:
        if not msgspec.json.decode(body, type=_Chat).text:
            return Answer(400, b"no_text")
    except msgspec.MsgspecError:
        return Answer(400, b"invalid_payload")
    if behaviour.refuses:
        return Answer(behaviour.status, b"rollup_error" if behaviour.status == 500 else b"")
    refused = {"gone": (404, b"no_service"), "bad": (403, b"action_prohibited")}
    return Answer(*refused.get(behaviour.kind, (200, b"ok")))


def _message(answer: Answer, behaviour: Behaviour, target: str, headers: dict[str, str], identity: str) -> Answer:
    answer.behaviour = behaviour
    answer.to, answer.identity = f"https://{headers.get('host', '')}{target}", headers.get(identity, "")
    if answer.status == 429 or behaviour.retry_after_s is not None:
        answer.headers += (("retry-after", behaviour.wait_s(1)),)
    return answer


def _name(target: str) -> str:
    return target.partition("?")[0].rpartition("/")[2]
