"""Steering the simulated providers while they run: which of them does what wrong, to how many of its messages.

HTTP on a loopback port of its own (`steering` in `ports.json`), with the key of operators of the development
credentials (`DIR/credentials.json`) as bearer; in all answers `{"misbehaviours": [...]}` is what is asked for now.

- `GET /misbehaviours`.
- `PUT /misbehaviours` with `{"provider","name","share","seed","retry_after_s"}`, of which the first two are needed:
  `connectors.sandbox` has the words that `name` may be. Of one word of a provider the last PUT counts.
- `DELETE /misbehaviours?provider=P&name=N`: without `name` all of that provider, without both all.

A refusal is `{"error": {"field", "detail"}}`, `detail` saying what to do.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec

from connectors.sandbox.http2 import Answer
from connectors.sandbox.journal import Journal
from connectors.sandbox.listener import Listener
from connectors.sandbox.misbehaviour import Steered, SteeringError

PATH = "/misbehaviours"
_JSON = (("content-type", "application/json"),)

_FIELDS = f"a document has {', '.join(Steered.__struct_fields__)}"


class _Credentials(msgspec.Struct, frozen=True):
    """What counts here of `flows.config.credentials`."""

    keys: dict[str, str]


class SteeringServer:
    """See `connectors.sandbox.http1.Http1Server`."""

    journal: Journal | None = None

    def __init__(self, listeners: Mapping[str, Listener], credentials: Path) -> None:
        """`listeners` by provider."""
        self._listeners, self._credentials = listeners, credentials

    def judge(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Whoever has the key may look, ask and lift."""
        path, method = urlsplit(target), headers[":method"]
        refusal = self._key_refusal(headers.get("authorization", ""))
        if refusal is not None:
            return refusal
        if path.path != PATH or method not in ("GET", "PUT", "DELETE"):
            return _refusal(404, "path", f"there is GET, PUT and DELETE {PATH}")
        try:
            if method == "PUT":
                self._steer(body)
            elif method == "DELETE":
                self._lift(dict(parse_qsl(path.query, keep_blank_values=True)))
        except SteeringError as error:
            return _refusal(400, error.field, error.detail)
        found = [each for listener in self._listeners.values() for each in listener.misbehaviours.steered()]
        return Answer(200, msgspec.json.encode({"misbehaviours": found}), _JSON)

    def _key_refusal(self, authorization: str) -> Answer | None:
        """None: the bearer is the operators' key."""
        try:
            key = msgspec.json.decode(self._credentials.read_bytes(), type=_Credentials).keys["ops"]
        except (OSError, msgspec.MsgspecError, KeyError):
            return _refusal(401, "authorization", f"no key in {self._credentials.name}; `carillon up` makes it")
        kind, _, given = authorization.partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.encode(), key.encode()):
            return None
        return _refusal(401, "authorization", f"must be `Bearer KEY`, KEY being `ops` in {self._credentials.name}")

    def _steer(self, body: bytes) -> None:
        try:
            steered = msgspec.json.decode(body, type=Steered)
        except msgspec.MsgspecError as error:
            text, _, place = str(error).partition(" - at `$.")
            raise SteeringError(place.rstrip("`") or "body", f"{text}; {_FIELDS}") from None
        listener = self._listener(steered.provider)
        listener.misbehaviours.steer(steered)
        listener.obey()

    def _lift(self, query: dict[str, str]) -> None:
        provider, name = query.pop("provider", None), query.pop("name", None)
        if query:
            raise SteeringError(min(query), "there are `provider` and `name`")
        listeners = list(self._listeners.values()) if provider is None else [self._listener(provider)]
        lifted = 0
        for listener in listeners:
            lifted += listener.misbehaviours.lift(name)
            listener.obey()
        if name is not None and not lifted:
            raise SteeringError("name", f"nobody was asked for {name!r}; GET {PATH} says what is asked for")

    def _listener(self, provider: str) -> Listener:
        if provider not in self._listeners:
            raise SteeringError("provider", f"{provider!r} is none; there are {', '.join(self._listeners)}")
        return self._listeners[provider]


def _refusal(status: int, field: str, detail: str) -> Answer:
    return Answer(status, msgspec.json.encode({"error": {"field": field, "detail": detail}}), _JSON)
