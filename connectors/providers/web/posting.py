"""What webhooks and chats share: a POST of JSON to the address itself, through the guarded way out.

Every failure concerns that address alone, so a receiver that is dead opens no breaker. One that is silent is left alone
for a while, so that its requests, each until its deadline, do not keep the places of others'.
"""

from __future__ import annotations

import hashlib
import time
from abc import abstractmethod

from connectors.providers.channel import Delivery, Failed, Rejected, Result, Throttled, building
from connectors.providers.client import OneClient
from connectors.providers.egress import Egress, RefusedError
from connectors.providers.options import ChatOptions, EgressOptions, WebhookOptions
from connectors.providers.request import Request
from connectors.providers.transport import Response, TransportError
from connectors.providers.web.silence import SilentReceivers
from state.model.errors import ConfigurationError
from state.model.web_address import parse_url


class PostingChannel(OneClient[Egress]):
    """All of a `Channel` but its name, its check, and what requests and answers say."""

    name: str

    def __init__(self, options: WebhookOptions | ChatOptions, egress: EgressOptions) -> None:
        self.options, self.egress = options, egress
        self._receivers = SilentReceivers(time.monotonic)

    @abstractmethod
    def request(self, delivery: Delivery) -> Request:
        """The request for one delivery, now."""

    @abstractmethod
    def result(self, response: Response, delivery: Delivery) -> Result:
        """What an answer means."""

    def provider_id(self, key: str) -> str:
        """A hash: the key itself names a person."""
        return "msg_" + hashlib.sha256(f"{self.name}/{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]

    async def connect(self) -> None:
        """Prepare; connections open with the sends.

        :raises ConfigurationError: an option is missing or is none.
        """
        if faults := list(self.options.faults()):
            raise ConfigurationError("; ".join(faults))
        self._client = Egress(self.egress)

    async def send(self, delivery: Delivery) -> Result:
        """One request."""
        way_out = self._connected()
        url = parse_url(delivery.address)
        if url is None:
            return Rejected("no web address", token_gone=delivery.registered_at)
        with building():
            request = self.request(delivery)
        if delivery.priority != "P0" and (wait := self._receivers.pause(url[:3])) is not None:
            return Throttled(wait, "receiver silent", of_address=True)
        try:
            response = await way_out.request(url, request, self.options.timeout)
        except RefusedError as error:
            return Rejected(error.cause)
        except TransportError as error:
            self._receivers.silent(url[:3])
            return Failed(error.cause, ambiguous=error.ambiguous, of_address=True)
        self._receivers.answered(url[:3])
        return self.result(response, delivery)


def path_of(delivery: Delivery) -> str:
    """Path and query of the address."""
    url = parse_url(delivery.address)
    if url is None:
        raise TypeError("a message of this channel is sent to a web address")
    return url.target
