"""What a provider says of a delivery over its own connection, after it took it: noted in topic `outcomes`."""

from __future__ import annotations

from collections.abc import Callable

from connectors.log.grouped import BatchingAppender
from connectors.outcomes import outcome_record
from connectors.providers.channel import Delivery
from connectors.providers.sms.smpp_receipts import Receipt


class ReceiptNotes:
    """Handed to connectors that hear receipts."""

    def __init__(
        self, appender: BatchingAppender, partitions: Callable[[str], int], *, now_ms: Callable[[], int]
    ) -> None:
        """`partitions` gives a topic's number of them."""
        self._appender, self._partitions, self._now_ms = appender, partitions, now_ms

    async def __call__(self, provider: str, delivery: Delivery, receipt: Receipt) -> None:
        """Once it is durable.

        :raises LogError: it is not; the provider is to say it again.
        """
        if receipt.outcome is None:
            return
        record = outcome_record(
            receipt.outcome,
            user=delivery.user,
            channel=delivery.channel,
            device=delivery.device,
            emission_id=delivery.key.partition("/")[0],
            first_event_id=delivery.first_event_id or None,
            provider=provider,
            provider_id=receipt.message_id,
            reason=receipt.reason,
            at=self._now_ms(),
            partitions=self._partitions,
        )
        await self._appender.append([record])
