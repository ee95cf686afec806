"""Tickets: what opens a user's stream from a page, whose EventSource can set no header.

A ticket is in an address, and addresses end up in logs of others. So it opens nothing but that user's stream, and for a
minute; here it is taken out of the address before anything else sees that.

Layout, base64url without padding: version u8 (1), end u64 in ms UTC, big-endian, the user in UTF-8, then 16 bytes of
HMAC-SHA256 over all that.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256

from connectors.gateway.answers import StreamTicket
from connectors.gateway.auth import unauthenticated
from connectors.gateway.http import ApiRequest, ApiResponse, json_response

LIFETIME = timedelta(minutes=1)
_HEAD = struct.Struct(">BQ")
_VERSION = 1
_MAC_BYTES = 16


class Tickets:
    """Makes and reads tickets."""

    def __init__(self, secret: bytes, *, clock: Callable[[], int]) -> None:
        """`secret` signs nothing else; `clock` gives milliseconds since 1970 in UTC."""
        self._secret, self._clock = secret, clock

    def issue(self, user: str) -> tuple[str, int]:
        """A new ticket of a user, and the time it ends (ms UTC)."""
        until = self._clock() + LIFETIME // timedelta(milliseconds=1)
        body = _HEAD.pack(_VERSION, until) + user.encode()
        return base64.urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode(), until

    async def give(self, request: ApiRequest) -> ApiResponse:
        """A ticket for the session's user."""
        return json_response(200, StreamTicket(*self.issue(request.caller().name)))

    def user(self, ticket: str) -> str:
        """Whose it is.

        :raises ProblemError: 401: it is none of ours, or has ended.
        """
        try:
            data = base64.b64decode(ticket + "=" * (-len(ticket) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise unauthenticated() from error
        body, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if len(body) <= _HEAD.size or not hmac.compare_digest(mac, self._mac(body)):
            raise unauthenticated()
        version, until = _HEAD.unpack_from(body)
        if version != _VERSION or self._clock() >= until:
            raise unauthenticated()
        return body[_HEAD.size :].decode()

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._secret, body, sha256).digest()[:_MAC_BYTES]
