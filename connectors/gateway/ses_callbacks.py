"""The callbacks of Amazon SES, which come through SNS. See `connectors.gateway.callbacks`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from connectors.gateway.http import ApiRequest
from connectors.gateway.problems import retry_later
from connectors.gateway.receipt_reader import ForgedError
from connectors.providers.egress import Egress
from connectors.providers.email.ses_events import read_event
from connectors.providers.email.sns import (
    CONFIRMATION,
    Fetch,
    SnsMessage,
    SnsSignatures,
    amazon_address,
    decode_sns,
    is_old,
)
from connectors.providers.options import EgressOptions
from connectors.providers.receipts import ProviderReport
from connectors.providers.request import Request
from connectors.providers.transport import TransportError
from state.model.web_address import WebAddress

_DEADLINE = timedelta(seconds=10)
_OK = 200
_logger = structlog.get_logger(__name__)


def fetch_by(options: EgressOptions) -> Fetch:
    """Gets what Amazon serves, by the rules of egress; rarely called, so no connection is kept."""

    async def fetch(address: WebAddress) -> bytes | None:
        egress = Egress(options)
        try:
            response = await egress.request(address, Request(address.target, {}, method="GET"), _DEADLINE)
        finally:
            await egress.close()
        return response.body if response.status == _OK else None

    return fetch


class SesReceipts:
    """Those of one topic of SNS; its subscription is confirmed when it is made."""

    def __init__(self, topic_arn: str, fetch: Fetch, clock: Callable[[], int]) -> None:
        """`clock` in milliseconds since 1970."""
        self._topic_arn, self._signatures = topic_arn, SnsSignatures(topic_arn, fetch)
        self._fetch, self._clock = fetch, clock

    async def read(self, request: ApiRequest) -> ProviderReport | None:
        """See `ReceiptReader`.

        :raises ProblemError: 503: Amazon does not serve the certificate or the confirmation; SNS repeats the message.
        """
        message = decode_sns(await request.body())
        try:
            if message is None:
                raise ForgedError("form")
            if message.topic_arn != self._topic_arn:  # most often an ARN that was mistyped, so it is told apart
                raise ForgedError("topic")
            if not await self._signatures.is_good(message):
                raise ForgedError
            if is_old(message, self._clock()):  # Amazon repeats nothing that is answered with 401
                raise ForgedError("old")
            if message.type != CONFIRMATION:
                return read_event(message.message)
            await self._confirm(message)
        except TransportError as error:
            raise retry_later(503, f"asking Amazon failed: {error.cause}", 1000) from error
        return None

    async def _confirm(self, message: SnsMessage) -> None:
        address = amazon_address(message.subscribe_url)
        if address is None:
            raise ForgedError
        if await self._fetch(address) is None:
            raise retry_later(503, "Amazon did not take the confirmation", 1000)
        _logger.info("sns_subscribed", topic=message.topic_arn)
