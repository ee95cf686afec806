"""What channels share that reach their provider through one client: to make it, to ask it, to close it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from connectors.providers.channel import CheckResult, Failed, Result
from connectors.providers.request import Request
from connectors.providers.transport import Response, Transport, TransportError, WreqTransport
from connectors.providers.trust import readable_ca


class _Closable(Protocol):
    async def close(self) -> None: ...


_Client = TypeVar("_Client", bound=_Closable)


class OneClient(Generic[_Client]):
    """A `Channel` whose `connect` makes a client."""

    _client: _Client | None = None

    def _connected(self) -> _Client:
        if self._client is None:
            raise AssertionError("connect() comes before everything else")
        return self._client

    async def close(self) -> None:
        """See `Channel.close`."""
        if self._client is not None:
            await self._client.close()


class _ClientOptions(Protocol):
    """What is asked of the options."""

    @property
    def connect_timeout(self) -> timedelta: ...

    @property
    def ca_file(self) -> Path | None: ...


def transport_to(origin: str, options: _ClientOptions, provider: str, *, http2: bool) -> Transport:
    """A client of this provider.

    :raises ConfigurationError: the file of certificates cannot be read.
    """
    ca_file = readable_ca(options.ca_file, f"providers.{provider}.ca_file")
    return WreqTransport(origin, http2=http2, connect_timeout=options.connect_timeout, ca_file=ca_file)


async def ask(
    transport: Transport, request: Request, within: timedelta, verdict: Callable[[Response], CheckResult]
) -> CheckResult:
    """One request of a `check`."""
    try:
        return verdict(await transport.request(request, within))
    except TransportError as error:
        return CheckResult(False, error.told)


async def hand_over(
    transport: Transport, request: Request, within: timedelta, meaning: Callable[[Response], Result]
) -> Result:
    """One request of a `send`."""
    try:
        response = await transport.request(request, within)
    except TransportError as error:
        return Failed(error.cause, ambiguous=error.ambiguous)
    return meaning(response)
