"""What a provider says of a delivery over its own connection, after it took it: noted in topic `outcomes`.

Topic `attempts` is what is remembered of sends over restarts and processes: each answer has the name that the provider
gave to the message, and the intent before it says which provider that was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from connectors.log.grouped import BatchingAppender
from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import stored_batches
from connectors.outcomes import outcome_record
from connectors.providers.sms.smpp_receipts import REMEMBERED_MAX, Receipt, SentText
from flows.steps.sending.attempts import TOPIC, read_attempt
from state.model.delivery import ATTEMPT, split_key
from state.model.envelope import TopicPartition, header

_SMS = "sms"
_BACK_MS = timedelta(days=1) // timedelta(milliseconds=1)
_BACK_MAX = 1_000_000
"""Records of a partition, of which only those of text messages are decoded."""
_BETWEEN = f"/{_SMS}/".encode()


class ReceiptNotes:
    """Handed to connectors that hear receipts."""

    def __init__(
        self, appender: BatchingAppender, partitions: Callable[[str], int], *, now_ms: Callable[[], int]
    ) -> None:
        """`partitions` gives a topic's number of them."""
        self._appender, self._partitions, self._now_ms = appender, partitions, now_ms

    async def __call__(self, provider: str, text: SentText, receipt: Receipt) -> None:
        """Once it is durable.

        :raises LogError: it is not; the provider is to say it again.
        """
        if receipt.outcome is None:
            return
        record = outcome_record(
            receipt.outcome,
            user=text.user,
            channel=_SMS,
            device=text.device,
            emission_id=text.emission_id,
            first_event_id=text.first_event_id,
            provider=provider,
            provider_id=receipt.message_id,
            reason=receipt.reason,
            at=self._now_ms(),
            partitions=self._partitions,
        )
        await self._appender.append([record])


class StoredTexts:
    """The text messages that any process handed to a provider, read on at each call: first those of the last day."""

    def __init__(self, log: Log, partitions: Sequence[int], provider: str, *, now_ms: Callable[[], int]) -> None:
        """`partitions` of topic `attempts`."""
        self._log, self._provider, self._now_ms = log, provider, now_ms
        self._places: list[TopicPartition] = [(TOPIC, partition) for partition in partitions]
        self._positions = dict[TopicPartition, int]()
        self._found = list[tuple[str, SentText]]()
        """Not given yet."""
        self._begun = dict[str, str | None]()
        """Provider of each intent that has no answer yet, by key."""

    async def __call__(self) -> list[tuple[str, SentText]]:
        """What came since the last call; one call at a time.

        :raises LogError: it cannot be read; the next call gives it.
        """
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[tuple[str, SentText]]:
        ends = self._log.end_offsets(self._places)
        for batch in stored_batches(self._log, {place: self._start(place, ends[place]) for place in ends}, ends):
            for record in batch:
                if _BETWEEN in record.key and header(record.headers, "schema") == ATTEMPT.json:
                    self._take(record)
                self._positions[record.topic, record.partition] = record.offset + 1
        self._positions |= ends
        found, self._found = self._found[-REMEMBERED_MAX:], []
        return found

    def _start(self, place: TopicPartition, end: int) -> int:
        position = self._positions.get(place)
        if position is None:
            position = max(end - _BACK_MAX, self._log.offset_at(*place, self._now_ms() - _BACK_MS))
        return max(position, self._log.begin_offset(*place))

    def _take(self, record: Record) -> None:
        attempt = read_attempt(record)
        if attempt.state == "intent":
            self._begun[attempt.key] = attempt.provider
            return
        provider, names = self._begun.pop(attempt.key, None), split_key(attempt.key, _SMS)
        if provider == self._provider and names is not None and attempt.provider_id is not None:
            emission_id, user, device = names
            self._found.append((attempt.provider_id, SentText(emission_id, user, device, at=attempt.at)))
