"""Tickets: what opens a user's stream from a page, whose EventSource can set no header.

A ticket is in an address, and addresses end up in logs of others. So it opens nothing but that user's stream, and for a
minute; here it is taken out of the address before anything else sees that. It is a token (`state.model.signed`) that
says when it ends, then the user.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from connectors.gateway.answers import StreamTicket
from connectors.gateway.auth import unauthenticated
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from state.model.signed import Signed, TokenKeys

LIFETIME = timedelta(minutes=1)
_PURPOSE = b"carillon ticket 1\0"


class Tickets:
    """Makes and reads tickets."""

    def __init__(self, secret: bytes, *, clock: Callable[[], int]) -> None:
        """`secret` signs nothing else; `clock` gives milliseconds since 1970 in UTC."""
        self._tokens, self._clock = TokenKeys(_PURPOSE, [secret]), clock

    def issue(self, user: str) -> tuple[str, int]:
        """A new ticket of a user, and the time it ends (ms UTC)."""
        until = self._clock() + LIFETIME // timedelta(milliseconds=1)
        return self._tokens.sign(Signed(until, (user,))), until

    async def give(self, request: ApiRequest) -> ApiResponse:
        """A ticket for the session's user."""
        return json_response(200, StreamTicket(*self.issue(request.caller().name)))

    def user(self, ticket: str) -> str:
        """Whose it is.

        :raises ProblemError: 401: it is none of ours, or has ended.
        """
        said = self._tokens.read(ticket)
        if said is None or self._clock() >= said.moment:
            raise unauthenticated()
        return said.texts[0]
