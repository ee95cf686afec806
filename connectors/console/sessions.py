"""Sessions of people in a browser: a signed cookie, good for eight hours, and ended everywhere by one record.

The cookie names a person and a role; it bears no credential. A form carries a token made of its session, and must come
from a page of ours: another site's page cannot act in a person's name.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import urlsplit

import jwt

from connectors.gateway.auth import Principal
from connectors.gateway.http import ApiRequest
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


class Sessions:
    """Of one process. Those of others are good here if they share the secret."""

    def __init__(self, secret: bytes, *, clock: Callable[[], int], secure: bool) -> None:
        """`secure`: people come by HTTPS, so the cookie is never sent otherwise."""
        self._secret, self._clock, self._secure = secret, clock, secure
        self._ended: dict[str, int] = {}

    def open(self, person: Principal) -> str:
        """The value of `Set-Cookie` for a person who has signed in."""
        now_ms = self._clock()
        claims = {
            "sub": person.name, "role": person.role, "aud": _AUDIENCE, "began": now_ms,
            "jti": secrets.token_urlsafe(16), "exp": (now_ms + LIFETIME // _MS) // 1000,
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
            given = SimpleCookie(request.header(b"cookie") or "").get(COOKIE)
            if given is None:
                return None
            claims = jwt.decode(
                given.value, self._secret, algorithms=["HS256"], audience=_AUDIENCE,
                options={"require": ["exp", "sub", "jti"], "verify_exp": False},
            )  # fmt: skip
        except (CookieError, jwt.PyJWTError):
            return None
        if claims["exp"] * 1000 <= self._clock() or claims["began"] <= self._ended.get(claims["sub"], -1):
            return None
        token = hmac.new(self._secret, b"form/" + claims["jti"].encode(), sha256).hexdigest()
        return Session(Principal(claims["role"], claims["sub"]), token)

    def on_record(self, record: Record) -> None:
        """Take a record of `audit`: somebody ended all of his sessions.

        :raises MalformedRecordError: it does not decode.
        """
        act = AUDIT.decode(record.value)
        if act.act == "sign_out_everywhere":
            self.end(act.by, act.at)

    def end(self, name: str, at: int) -> None:
        """Whatever this person began by then is over."""
        self._ended[name] = max(at, self._ended.get(name, -1))


def is_from_here(request: ApiRequest) -> bool:
    """Whether a form was sent by a page of this gateway, as the browser says."""
    site, origin = request.header(b"sec-fetch-site"), request.header(b"origin")
    if site is not None:
        return site == "same-origin"
    return origin is None or urlsplit(origin).netloc == request.header(b"host")


def is_signed(session: Session, form: Mapping[str, str]) -> bool:
    """Whether the form was made for this session."""
    return hmac.compare_digest(session.token, form.get("token", ""))
