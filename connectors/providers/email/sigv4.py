"""Signs requests as Amazon wants it: AWS Signature Version 4, all that one service with plain paths needs.

    canonical request  method, path, sorted query, the signed headers, their names, SHA-256 of the body; a line each
    string to sign     AWS4-HMAC-SHA256, time, DAY/REGION/SERVICE/aws4_request, SHA-256 of the canonical request
    key                HMAC over HMAC of the secret with day, region, service and `aws4_request`

Every header that the request has is signed, and `host`, `x-amz-date` and `x-amz-security-token`. Paths are taken as
they are: nothing here needs them normalized.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl, quote, urlsplit

from connectors.providers.request import Request

ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Credential:
    """Who signs, and for what."""

    access_key_id: str
    secret: str = field(repr=False)
    region: str
    service: str
    session_token: str = field(default="", repr=False)
    """Of a temporary key; empty: the key is lasting."""


def signed(request: Request, credential: Credential, *, host: str, now_s: float) -> Request:
    """The request with its signature; pure. `host` is what the Host header will say (`host_of`)."""
    at = datetime.fromtimestamp(int(now_s), UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = request.headers | {"x-amz-date": at}
    if credential.session_token:
        headers["x-amz-security-token"] = credential.session_token
    names = ";".join(sorted({"host", *headers}))
    scope = f"{at[:8]}/{credential.region}/{credential.service}/aws4_request"
    proof = signature(canonical_request(request, headers | {"host": host}, names), credential, at)
    headers["authorization"] = (
        f"{ALGORITHM} Credential={credential.access_key_id}/{scope}, SignedHeaders={names}, Signature={proof}"
    )
    return replace(request, headers=headers)


def canonical_request(request: Request, headers: dict[str, str], names: str) -> str:
    """The canonical request; `names` are those signed, lower case, sorted, with semicolons between."""
    path, _, query = request.path.partition("?")
    pairs = sorted((_quoted(name), _quoted(value)) for name, value in parse_qsl(query, keep_blank_values=True))
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in names.split(";")]
    hashed = sha256(request.body).hexdigest()
    return "\n".join([request.method, path, "&".join("=".join(pair) for pair in pairs), *lines, "", names, hashed])


def signature(canonical: str, credential: Credential, at: str) -> str:
    """The signature over a canonical request; `at` as in `x-amz-date`."""
    day = at[:8]
    key = f"AWS4{credential.secret}".encode()
    for text in (day, credential.region, credential.service, "aws4_request"):
        key = _hmac(key, text)
    scope = f"{day}/{credential.region}/{credential.service}/aws4_request"
    return _hmac(key, "\n".join([ALGORITHM, at, scope, sha256(canonical.encode()).hexdigest()])).hex()


def host_of(origin: str) -> str:
    """What the Host header says in requests to an origin: without the scheme's own port."""
    parts = urlsplit(origin)
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return name if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{name}:{parts.port}"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
