"""How the callbacks of one provider are read. See `connectors.gateway.callbacks`."""

from __future__ import annotations

from typing import Literal, Protocol

from connectors.gateway.http import ApiRequest
from connectors.gateway.problems import ProblemError
from connectors.providers.receipts import ProviderReport

_REFUSED = {
    "signature": "the signature is missing or does not fit",
    "old": "it was written longer ago than it is repeated",
    "topic": "its topic is not providers.ses.events_topic",
    "form": "it is no message of Amazon SNS, as none is where raw delivery is switched on",
}


class ForgedError(ProblemError):
    """401: not signed by the provider, too long ago, or for somebody else. `reason` is a label of CALLBACKS_REFUSED."""

    def __init__(self, reason: Literal["signature", "old", "topic", "form"] = "signature") -> None:
        super().__init__(401, f"{_REFUSED[reason]}; nothing was noted")
        self.reason = reason


class ReceiptReader(Protocol):
    """Reads the callbacks of one provider."""

    async def read(self, request: ApiRequest) -> ProviderReport | None:
        """What it says; None: nothing that is noted.

        :raises ForgedError: the provider did not sign it.
        """
        ...
