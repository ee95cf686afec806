"""Who sends to browsers: VAPID (RFC 8292), an ES256 JWT for each push service.

A subscription belongs to the key that the web page named when it asked for it: with another key it must be made anew.
"""

from __future__ import annotations

from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from connectors.providers.push.webpush_encryption import public_point
from state.model.subscriptions import unpadded

LIFE_S = 12 * 3600
"""RFC 8292 allows 24 hours; services whose clocks differ from ours refuse what is near."""
RENEW_S = 6 * 3600
_KEPT_MAX = 1000


def application_key(key: EllipticCurvePrivateKey) -> str:
    """What a web page calls `applicationServerKey`."""
    return unpadded(public_point(key))


class VapidTokens:
    """The value of the Authorization header for each push service, signed anew every six hours."""

    def __init__(self, key: EllipticCurvePrivateKey, subject: str, *, clock_s: Callable[[], float]) -> None:
        """`subject`: whom a push service may tell of trouble, mailto: or https:."""
        self._key, self._subject, self._clock_s = key, subject, clock_s
        self._public = application_key(key)
        self._held: dict[str, tuple[str, float]] = {}

    def authorization(self, origin: str) -> str:
        """For the service at this origin."""
        now = self._clock_s()
        token, signed = self._held.get(origin, ("", 0.0))
        if not token or not 0 <= now - signed < RENEW_S:
            token = self._sign(origin, now)
        return f"vapid t={token}, k={self._public}"

    def _sign(self, origin: str, now: float) -> str:
        claims = {"aud": origin, "exp": int(now) + LIFE_S, "sub": self._subject}
        token = jwt.encode(claims, self._key, algorithm="ES256")
        if len(self._held) >= _KEPT_MAX:
            self._held.clear()
        self._held[origin] = token, now
        return token
