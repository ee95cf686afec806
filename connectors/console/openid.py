"""Sign-in of people by OpenID Connect: the code flow with PKCE, and the role from a claim of the ID token.

What must come back with the answer (state, nonce, the verifier of PKCE, where to go on) waits in a signed cookie of ten
minutes, so a gateway keeps nothing of a sign-in that is never finished.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import jwt
import structlog

from connectors.console.sessions import cookie_of, is_same
from connectors.gateway.http import ApiRequest
from connectors.gateway.options import PEOPLE, OpenIdOptions, Role
from connectors.gateway.problems import ProblemError

CALLBACK = "/console/openid/answer"
START = "/console/openid"
_COOKIE = "carillon_openid"
_AUDIENCE = "carillon-openid"
_WAIT = timedelta(minutes=10)
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_DEADLINE_S = 10.0
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_logger = structlog.get_logger(__name__)


class Stranger(NamedTuple):
    """Who came back from the provider."""

    name: str
    role: Role
    onward: str
    account: str


class OpenId:
    """Begins and ends sign-ins."""

    def __init__(self, options: OpenIdOptions, secret: bytes, *, clock: Callable[[], int], secure: bool) -> None:
        """`secret` signs the cookie; `secure`: people come by HTTPS."""
        self._options, self._secret, self._clock, self._secure = options, secret, clock, secure
        self._provider: AccountProvider | None = None

    async def begin(self, onward: str, base_url: str) -> tuple[str, str]:
        """The provider's page to go to, and the value of `Set-Cookie`.

        :raises ProblemError: 503: the provider does not answer.
        """
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        claims = {
            "aud": _AUDIENCE, "state": state, "nonce": nonce, "verifier": verifier, "onward": onward,
            "exp": self._clock() // 1000 + int(_WAIT.total_seconds()),
        }  # fmt: skip
        url = await self._asked().page(base_url + CALLBACK, state, nonce, verifier)
        return url, self._cookie(jwt.encode(claims, self._secret, "HS256"), _WAIT)

    async def end(self, request: ApiRequest, base_url: str) -> Stranger:
        """Who it is.

        :raises ProblemError: 400: the answer belongs to no sign-in of this browser; 401: the provider refused; 403: he
            has no role here; 503: the provider does not answer.
        """
        given = dict(request.pairs())
        kept = self._kept(request)
        if kept is None or not is_same(kept["state"], given.get("state", "")):
            raise ProblemError(400, "This sign-in did not begin in this browser, or too long ago. Begin again.")
        if "code" not in given:
            raise ProblemError(401, "The provider of your account did not sign you in.")
        claims = await self._asked().claims(given["code"], kept["verifier"], base_url + CALLBACK)
        if not is_same(str(claims.get("nonce", "")), kept["nonce"]):
            raise ProblemError(401, "The provider's answer is of another sign-in. Begin again.")
        role = self._role(claims)
        if role is None:
            raise ProblemError(403, "Your account has no role here. Ask an administrator for one.")
        name = str(claims.get(self._options.name_claim) or claims["sub"])
        return Stranger(name, role, kept["onward"], str(claims["sub"]))

    def over(self) -> str:
        """The value of `Set-Cookie` that ends the waiting."""
        return self._cookie("", timedelta())

    def _asked(self) -> AccountProvider:
        self._provider = self._provider or AccountProvider(self._options)
        return self._provider

    def _cookie(self, value: str, life: timedelta) -> str:
        secure = "; Secure" if self._secure else ""
        # Lax, since the provider's page sends the browser back here from another site.
        return f"{_COOKIE}={value}; Path={START}; Max-Age={int(life.total_seconds())}; HttpOnly; SameSite=Lax{secure}"

    def _kept(self, request: ApiRequest) -> Mapping[str, str] | None:
        try:
            found: Mapping[str, Any] = jwt.decode(
                cookie_of(request, _COOKIE) or "", self._secret, algorithms=["HS256"], audience=_AUDIENCE,
                options={"verify_exp": False},
            )  # fmt: skip
        except jwt.PyJWTError:
            return None
        return found if found["exp"] * 1000 > self._clock() else None

    def _role(self, claims: Mapping[str, Any]) -> Role | None:
        listed = claims.get(self._options.role_claim)
        values = listed.split() if isinstance(listed, str) else listed if isinstance(listed, list) else []
        roles = self._options.roles or {role: role for role in PEOPLE}
        has = {roles[value] for value in values if isinstance(value, str) and value in roles}
        return next((role for role in PEOPLE if role in has), None)


class AccountProvider:
    """The provider's answers, by its own description of itself, which is read once."""

    def __init__(self, options: OpenIdOptions) -> None:
        self._options = options
        self._metadata: dict[str, Any] = {}

    async def page(self, callback: str, state: str, nonce: str, verifier: str) -> str:
        """The address to which a person is sent.

        :raises ProblemError: 503.
        """
        endpoint = (await self._described())["authorization_endpoint"]
        async with self._client(callback) as client:
            url, _ = client.create_authorization_url(endpoint, state=state, nonce=nonce, code_verifier=verifier)
        return str(url)

    async def claims(self, code: str, verifier: str, callback: str) -> Mapping[str, Any]:
        """What the ID token says, after its signature, issuer, audience and time were checked.

        :raises ProblemError: 401, 503.
        """
        from authlib.integrations.base_client import OAuthError
        from httpx2 import HTTPError

        described = await self._described()
        try:
            async with self._client(callback) as client:
                token = await client.fetch_token(described["token_endpoint"], code=code, code_verifier=verifier)
                keys = (await client.request("GET", described["jwks_uri"], withhold_token=True)).json()
            return self._verified(token["id_token"], keys)
        except (OAuthError, KeyError, ValueError, jwt.PyJWTError) as error:
            _logger.warning("sign_in_refused", error=type(error).__name__)
            raise ProblemError(401, "The provider's answer is not good. Begin again.") from error
        except HTTPError as error:
            raise _away(error) from error

    def _verified(self, id_token: str, keys: Mapping[str, Any]) -> Mapping[str, Any]:
        """OpenID Connect Core 1.0, 3.1.3.7."""
        known = jwt.PyJWKSet.from_dict(dict(keys)).keys
        name = jwt.get_unverified_header(id_token).get("kid")
        key = next((key for key in known if name is None or key.key_id == name), None)
        if key is None:
            raise jwt.InvalidKeyError("the provider lists no such key")
        claims: dict[str, Any] = jwt.decode(
            id_token, key, algorithms=_ALGORITHMS, audience=self._options.client_id,
            issuer=self._metadata["issuer"], leeway=60, options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )  # fmt: skip
        return claims

    async def _described(self) -> Mapping[str, Any]:
        from httpx2 import HTTPError

        if not self._metadata:
            url = self._options.issuer.rstrip("/") + "/.well-known/openid-configuration"
            try:
                async with self._client("") as client:
                    found = (await client.request("GET", url, withhold_token=True)).json()
            except (HTTPError, ValueError) as error:
                raise _away(error) from error
            if str(found.get("issuer", "")).rstrip("/") != self._options.issuer.rstrip("/"):
                _logger.error("openid_issuer_differs", configured=self._options.issuer)
                raise ProblemError(503, "The provider is another one than configured. Tell an administrator.")
            if not all(isinstance(found.get(name), str) for name in _ENDPOINTS):
                raise ProblemError(503, "The provider does not say where it signs people in. Tell an administrator.")
            self._metadata = found
        return self._metadata

    def _client(self, callback: str) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client

        return AsyncOAuth2Client(
            self._options.client_id, self._options.client_secret.reveal(), scope="openid email profile",
            redirect_uri=callback, timeout=_DEADLINE_S, trust_env=False, code_challenge_method="S256",
        )  # fmt: skip


def _away(error: Exception) -> ProblemError:
    _logger.warning("openid_provider_away", error=type(error).__name__)
    return ProblemError(503, "The provider of your account does not answer. Try again in a minute.")
