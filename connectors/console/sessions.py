"""Sessions of people in a browser: a signed cookie, good for eight hours, and ended everywhere by one record.

The cookie names a person and a role; it bears no credential. A form carries a token made of its session, and must come
from a page of ours: another site's page cannot act in a person's name.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple

import jwt

from connectors.gateway.auth import Principal
from connectors.gateway.http import ApiRequest
from connectors.gateway.options import Role
from connectors.log.interface import Record
from state.model.audit import AUDIT

LIFETIME = timedelta(hours=8)
COOKIE = "carillon_session"
_AUDIENCE = "carillon-console"
_PATH = "/console"
_MS = timedelta(milliseconds=1)


class Session(NamedTuple):
    """One person in one browser."""

    person: Principal
    token: str
    """What his forms carry."""
    name: str
    """Which of his sessions it is."""


class Sessions:
    """Of one process. Those of others are good here if they share the secret."""

    def __init__(
        self,
        secret: bytes,
        *,
        clock: Callable[[], int],
        secure: bool,
        keys: Collection[tuple[str, Role, str]] | None,
        revoked: Callable[[str], bool],
    ) -> None:
        """`secure`: people come by HTTPS, so the cookie is never sent otherwise. `keys`: names and roles of those who
        sign in by key, each with the key's tag, which end the sessions of all others; None: they sign in by OpenID.
        `revoked`: whose sessions are over for now.
        """
        self._secret, self._clock, self._secure = secret, clock, secure
        self._keys = None if keys is None else {(name, role, self._sealed(tag)) for name, role, tag in keys}
        self._revoked = revoked
        self._ended: dict[str, int] = {}
        self._signed_out: dict[str, int] = {}
        self.on_sign_in: Callable[[], None] = lambda: None
        """Hears, in the follower's thread, of a sign-in, at whichever gateway: that person may come."""

    def open(self, person: Principal) -> str:
        """The value of `Set-Cookie` for a person who has signed in."""
        now_ms = self._clock()
        claims = {
            "sub": person.name, "role": person.role, "aud": _AUDIENCE, "began": now_ms,
            "by": "openid" if self._keys is None else "key", "jti": secrets.token_urlsafe(16),
            "exp": (now_ms + LIFETIME // _MS) // 1000, "account": person.account,
            "key": self._sealed(person.credential),
        }  # fmt: skip
        return self._cookie(jwt.encode(claims, self._secret, "HS256"), int(LIFETIME.total_seconds()))

    def closed(self) -> str:
        """The value of `Set-Cookie` that ends it in this browser."""
        return self._cookie("", 0)

    def _cookie(self, value: str, seconds: int) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{COOKIE}={value}; Path={_PATH}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"

    def of(self, request: ApiRequest) -> Session | None:
        """Whose request it is; None: he must sign in."""
        try:
            claims = jwt.decode(
                cookie_of(request, COOKIE) or "", self._secret, algorithms=["HS256"], audience=_AUDIENCE,
                options={"require": ["exp", "sub", "jti"], "verify_exp": False},
            )  # fmt: skip
        except jwt.PyJWTError:
            return None
        if claims["exp"] * 1000 <= self._clock() or claims["began"] <= self._ended.get(claims["sub"], -1):
            return None
        person = Principal(claims["role"], claims["sub"], account=claims.get("account"))
        if claims["jti"] in self._signed_out or not self._still(person, claims.get("by"), claims.get("key")):
            return None
        token = hmac.new(self._secret, b"form/" + claims["jti"].encode(), sha256).hexdigest()
        return Session(person, token, claims["jti"])

    def _sealed(self, tag: str | None) -> str | None:
        """A key's tag as the cookie has it: nobody who reads the cookie can try keys against it."""
        return None if tag is None else hmac.new(self._secret, b"key/" + tag.encode(), sha256).hexdigest()[:16]

    def _still(self, person: Principal, by: str | None, key: str | None) -> bool:
        """Whether he could sign in now as he did then."""
        if self._revoked(person.name):
            return False
        if self._keys is None:
            return by == "openid" and person.account is not None  # an earlier release did not keep the account
        return by == "key" and (person.name, person.role, key) in self._keys

    def sign_out(self, session: Session) -> None:
        """This one is over, on this gateway also for a copy of its cookie."""
        now_ms = self._clock()
        self._signed_out = {name: end for name, end in self._signed_out.items() if end > now_ms}
        self._signed_out[session.name] = now_ms + LIFETIME // _MS

    def on_record(self, record: Record) -> None:
        """Take a record of `audit`: somebody signed in, or ended all of his sessions.

        :raises MalformedRecordError: it does not decode.
        """
        act = AUDIT.decode(record.value)
        if act.act == "sign_out_everywhere":
            self.end(act.by, act.at)
        elif act.act == "sign_in":
            self.on_sign_in()

    def end(self, name: str, at: int) -> None:
        """Whatever this person began by then is over."""
        self._ended[name] = max(at, self._ended.get(name, -1))


def is_from_here(request: ApiRequest) -> bool:
    """Whether a form was sent by a page of this gateway, as the browser says."""
    site, origin = request.header(b"sec-fetch-site"), request.header(b"origin")
    if site is not None:
        return site == "same-origin"
    return origin is None or origin.partition("://")[2] == request.header(b"host")


def is_signed(session: Session, form: Mapping[str, str]) -> bool:
    """Whether the form was made for this session."""
    return is_same(session.token, form.get("token", ""))


def is_same(one: str, other: str) -> bool:
    """Compares in a time that tells nothing."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def cookie_of(request: ApiRequest, name: str) -> str | None:
    """The value of a cookie, whatever the host's other cookies look like."""
    for part in (request.header(b"cookie") or "").split(";"):
        found, _, value = part.strip().partition("=")
        if found == name:
            return value
    return None
