"""Who asks: service keys and users' JWTs, both as `Authorization: Bearer`.

A token with two dots is a JWT, anything else a service key. Keys are looked up by their SHA-256 and compared in
constant time; users come from the JWT's `sub` only, never from a path, a body or a header.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import jwt

from connectors.gateway.options import Role, ServiceKey, UserTokens, hash_key
from connectors.gateway.problems import ProblemError
from state.model.admission import FieldError, Sender

_CHALLENGE = (("www-authenticate", "Bearer"),)


class Principal(NamedTuple):
    """Who was recognised."""

    role: Role | None
    """None: a user."""
    name: str
    """The sender_id, or the user."""
    sender: Sender | None = None
    limit_per_s: int = 0
    account: str | None = None
    """Of a person who signed in by OpenID: the provider's subject, which never changes."""
    credential: str | None = None
    """Which of the name's keys it came with."""


class Authenticator:
    """Recognises the holder of a credential. Its state is the configuration's; it may be used by any thread."""

    def __init__(
        self,
        keys: Sequence[ServiceKey],
        users: UserTokens,
        *,
        text_errors: Callable[[str, str], Sequence[FieldError]],
        revoked: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        """`text_errors` is the rule that every identifier, so also a `sub`, must keep; `revoked` says of whom no key is
        taken any more.
        """
        self._revoked = revoked
        self._keys = {key.key_sha256: (key.key_sha256, _principal(key)) for key in keys}
        self._users, self._text_errors = users, text_errors
        self._required = ["sub", "exp"] if users.expiry_required else ["sub"]
        self._algorithms = [name for name in users.algorithms if name.lower() != "none"]

    def recognise(self, authorization: str | None) -> Principal:
        """:raises ProblemError: 401; the answer does not tell what was wrong with the credential."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated()
        return self._user(token) if token.count(".") == 2 else self._service(token)

    def _service(self, token: str) -> Principal:
        digest = hash_key(token)
        known, principal = self._keys.get(digest, ("", None))
        if principal is None or not hmac.compare_digest(known, digest) or self._revoked(principal.name):
            raise unauthenticated()
        return principal

    def _user(self, token: str) -> Principal:
        try:
            claims = self._claims(token, self._users.key)
            self._check_audience(claims.get("aud"))
        except (jwt.PyJWTError, ValueError) as error:
            raise unauthenticated() from error
        user = claims["sub"]
        if self._text_errors("sub", user):
            raise unauthenticated()
        return Principal(None, user)

    def _claims(self, token: str, key: str) -> dict[str, Any]:
        """What a token says that this key signed, or the one before."""
        before = self._users.key_before
        try:
            # What else a host application puts in must fit, or may be missing.
            options: Any = {"require": self._required, "verify_aud": False}
            return jwt.decode(token, key, algorithms=self._algorithms, audience=self._users.audience, options=options)
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError, ValueError):  # of another kind of key
            if key == before or not before:
                raise
            return self._claims(token, before)

    def _check_audience(self, audience: object) -> None:
        """:raises jwt.InvalidAudienceError: the token is meant for somebody else."""
        named = [audience] if isinstance(audience, str) else audience
        if named is not None and (not isinstance(named, list) or self._users.audience not in named):
            raise jwt.InvalidAudienceError("another audience")


def _principal(key: ServiceKey) -> Principal:
    return Principal(key.role, key.sender_id, key.sender(), key.limit_per_s, credential=key.tag())


def unauthenticated() -> ProblemError:
    """401."""
    return ProblemError(
        401, "credentials are missing, wrong or expired, or a user's token lacks sub or exp", headers=_CHALLENGE
    )


def user_token(user: str, users: UserTokens, *, now_ms: int, lifetime: timedelta) -> str:
    """A JWT as a host application makes it; for trying and for tests. `users.key` must be a key that can sign."""
    claims = {
        "sub": user,
        "aud": users.audience,
        "iat": now_ms // 1000,
        "exp": now_ms // 1000 + int(lifetime.total_seconds()),
    }
    return jwt.encode(claims, users.key, algorithm=users.algorithms[0])
