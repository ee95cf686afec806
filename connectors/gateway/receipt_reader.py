"""How the callbacks of one provider are read. See `connectors.gateway.callbacks`."""

from __future__ import annotations

from typing import Protocol

from connectors.gateway.http import ApiRequest
from connectors.gateway.problems import ProblemError
from connectors.providers.receipts import ProviderReport


class ForgedError(ProblemError):
    """401: the provider did not sign it."""

    def __init__(self) -> None:
        super().__init__(401, "the signature is missing or does not fit; nothing was noted")


class ReceiptReader(Protocol):
    """Reads the callbacks of one provider."""

    async def read(self, request: ApiRequest) -> ProviderReport | None:
        """What it says; None: nothing that is noted.

        :raises ForgedError: the provider did not sign it.
        """
        ...
