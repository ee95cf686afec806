"""The access token of FCM: bought with a JWT that the service account signs (OAuth 2.0, RFC 7523), good for an hour.

It is renewed five minutes before it ends, beside the sends, which go on with the old one meanwhile. One renewal at a
time: whoever needs the token waits for the same one, and hears of the same failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode

import jwt
import msgspec
import structlog

from connectors.metrics import CREDENTIAL_REFUSED
from connectors.providers.push.service_account import ASSERTION_LIFE_S, AUDIENCE, GRANT_TYPE, SCOPE, ServiceAccount
from connectors.providers.request import Request
from connectors.providers.retry_after import parse_retry_after
from connectors.providers.transport import Response, Transport, TransportError
from state.model.errors import UNDECODABLE, CarillonError

RENEW_BEFORE_S = 5 * 60
_LAST_S = 10
"""So long before its end nothing is sent with it any more: the request may take a while."""
_PAUSE_S = 0.5
"""After a failure the next renewal waits so long; who needs a token meanwhile hears of that failure again."""
_WORDS_MAX = 64
_ANEW = "make a new key, name it in providers.fcm.service_account, and restart"
_REMEDIES = {
    "invalid_grant": f"this machine's clock is wrong: set it right; or the key was taken back: {_ANEW}",
    "invalid_client": f"Google does not know the service account: {_ANEW}",
    "unauthorized_client": f"the account may not send: give it the role of Firebase Cloud Messaging, or {_ANEW}",
    "account_disabled": f"the service account is switched off: switch it on, or {_ANEW}",
}
"""By the word with which Google refuses the account itself: nothing but an operator mends that."""
_REFUSED = f"Google refuses the service account: look at it in Google's console, or {_ANEW}"
_logger = structlog.get_logger(__name__)


class AccessTokenError(CarillonError):
    """There is no access token now; nothing was sent to anybody. The cause has no secret in it; `remedy` is what to do
    where the account is refused.
    """

    def __init__(self, cause: str, retry_after: timedelta | None = None, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause, self.retry_after, self.remedy = cause, retry_after, remedy


def build_grant(account: ServiceAccount, path: str, *, now_s: float) -> Request:
    """The request that buys an access token; pure."""
    issued = int(now_s)
    claims = {
        "iss": account.email, "aud": AUDIENCE, "scope": SCOPE, "iat": issued, "exp": issued + ASSERTION_LIFE_S
    }  # fmt: skip
    assertion = jwt.encode(claims, account.key, algorithm="RS256", headers={"kid": account.key_id})
    form = urlencode({"grant_type": GRANT_TYPE, "assertion": assertion})
    return Request(path, {"content-type": "application/x-www-form-urlencoded"}, form.encode())


class _Granted(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: int


class _Refused(msgspec.Struct, frozen=True):
    error: str


def parse_grant(response: Response) -> tuple[str, int]:
    """The access token, and for how many seconds it is good.

    :raises AccessTokenError: it was not granted.
    """
    try:
        if response.status == 200:
            granted = msgspec.json.decode(response.body, type=_Granted)
            return granted.access_token, granted.expires_in
        word = msgspec.json.decode(response.body, type=_Refused).error
    except UNDECODABLE:
        word = ""
    known = word[:_WORDS_MAX] if word.replace("_", "").isalnum() else f"status {response.status}"
    remedy = _REMEDIES.get(word, _REFUSED if response.status in (401, 403) else "")
    raise AccessTokenError(f"access token: {known}", parse_retry_after(response.headers), remedy)


class AccessToken:
    """The present access token of one service account, for one event loop."""

    def __init__(
        self,
        account: ServiceAccount,
        transport: Transport,
        path: str,
        *,
        timeout: timedelta,
        clock_s: Callable[[], float],
    ) -> None:
        self._account, self._transport, self._path = account, transport, path
        self._timeout, self._clock_s = timeout, clock_s
        self._token, self._ends_s, self._pause_until_s = "", 0.0, 0.0
        self._failure: AccessTokenError | None = None
        self._refused = ""
        self._renewal: asyncio.Task[str] | None = None

    def held(self) -> str | None:
        """The token to send with now; None: there is none. Near its end a renewal is begun."""
        left = self._ends_s - self._clock_s()
        if left <= RENEW_BEFORE_S and self._renewal is None and not self._pausing():
            self._begin()
        return self._token if left > _LAST_S else None

    async def renewed(self, refused: str | None = None) -> str:
        """A token, and another one than the one that was refused.

        :raises AccessTokenError: there is none.
        """
        if refused is not None and refused == self._token:
            self._ends_s = 0.0
        held = self.held()
        if held is not None:
            return held
        if self._renewal is None:
            raise self._failure or AccessTokenError("access token: none")
        return await asyncio.shield(self._renewal)

    def _pausing(self) -> bool:
        return 0 < self._pause_until_s - self._clock_s() <= _PAUSE_S

    def _begin(self) -> None:
        self._renewal = asyncio.get_running_loop().create_task(self._renew())
        self._renewal.add_done_callback(self._over)

    def _over(self, renewal: asyncio.Task[str]) -> None:
        self._renewal = None
        if renewal.cancelled():
            return
        if isinstance(failure := renewal.exception(), AccessTokenError):
            self._failure, self._pause_until_s = failure, self._clock_s() + _PAUSE_S
            self._say_refused(failure.cause, failure.remedy)
        elif failure is None:
            self._say_refused("", "")

    def _say_refused(self, cause: str, remedy: str) -> None:
        """Once: while it lasts, renewals are refused twice a second."""
        if remedy and remedy != self._refused:
            _logger.error("credential_refused", provider="fcm", cause=cause, remedy=remedy)
        if remedy or (self._refused and not cause):  # of a token that is refused when it is used, others tell
            self._refused = remedy
            CREDENTIAL_REFUSED.labels("fcm").set(bool(remedy))

    async def _renew(self) -> str:
        began_s = self._clock_s()
        try:
            response = await self._transport.request(
                build_grant(self._account, self._path, now_s=began_s), self._timeout
            )
        except TransportError as error:
            raise AccessTokenError(f"access token: {error.cause}") from error
        self._token, life_s = parse_grant(response)
        self._ends_s = began_s + life_s
        return self._token
