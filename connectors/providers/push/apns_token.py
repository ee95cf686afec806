"""The provider token of APNs: an ES256 JWT, one per credential, minted rarely.

Apple refuses a token older than an hour and answers 429 to one renewed more often than every 20 minutes. So a token is
renewed at its first use after a moment drawn between 30 and 50 minutes of age (processes do not renew together), and
after `ExpiredProviderToken` only if it is older than 20 minutes. A clock that was set back says that the one before was
wrong, and with it the token's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from state.model.errors import ConfigurationError

RENEW_FROM_S = 30 * 60
RENEW_TO_S = 50 * 60
NEVER_WITHIN_S = 20 * 60


def load_signing_key(pem: bytes, *, key: str) -> EllipticCurvePrivateKey:
    """The P-256 key in a PEM file, such as Apple's .p8.

    :raises ConfigurationError: naming the configuration key.
    """
    try:
        loaded = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{key}: not a PEM private key without a password") from error
    if not isinstance(loaded, EllipticCurvePrivateKey) or loaded.curve.name != "secp256r1":
        raise ConfigurationError(f"{key}: not an elliptic-curve key on P-256")
    return loaded


class ProviderToken:
    """The present token of one credential; single flight, for one event loop."""

    def __init__(
        self,
        signing_key: EllipticCurvePrivateKey,
        *,
        team_id: str,
        key_id: str,
        clock_s: Callable[[], float],
        uniform: Callable[[float, float], float],
    ) -> None:
        self._signing_key, self._team_id, self._key_id = signing_key, team_id, key_id
        self._clock_s, self._uniform = clock_s, uniform
        self._lock = asyncio.Lock()
        self._token = ""
        self._minted_s = 0.0
        self._renew_s = 0.0

    async def current(self) -> str:
        """The token to send now; only its renewal costs anything (29 microseconds)."""
        if self._is_fresh():
            return self._token
        async with self._lock:
            if not self._is_fresh():
                self._mint()
        return self._token

    def _is_fresh(self) -> bool:
        return bool(self._token) and self._minted_s <= self._clock_s() < self._renew_s

    async def expired(self, refused: str) -> str:
        """APNs called `refused` expired: the token to try once more; the same one where it may not be renewed yet."""
        async with self._lock:
            if self._token == refused and self._clock_s() - self._minted_s >= NEVER_WITHIN_S:
                self._mint()
        return self._token

    def _mint(self) -> None:
        now = self._clock_s()
        claims = {"iss": self._team_id, "iat": int(now)}
        self._token = jwt.encode(claims, self._signing_key, algorithm="ES256", headers={"kid": self._key_id})
        self._minted_s = now
        self._renew_s = now + self._uniform(RENEW_FROM_S, RENEW_TO_S)
