"""What an SMSC hands to us: receipts, which are taken once they are noted.

A receipt may be about a message of an earlier run, or of another process that is bound to the same SMSC. So where the
name is not known, what every process stored of its sends is read on. The receipt is answered when that is done: until
then the SMSC has it, and says it again to the next who binds. One that is found nowhere may come before the answer that
it is about, and waits for that in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from connectors.providers.channel import Delivery
from connectors.providers.sms.smpp_pdu import LATER, OK, read_message
from connectors.providers.sms.smpp_receipts import IdForm, Receipt, SentMessages, SentText, read_receipt
from state.model.errors import LogError, MalformedRecordError

_BAD_MESSAGE = 0x02
"""ESME_RINVCMDLEN."""
_PAUSES_S = (0.05, 0.35, 0.8)
"""Before each look at what was stored: another process may be about to store it. Some SMSCs wait two seconds."""
_LOOK_S = 5.0
"""So long an SMSC waits for its answer."""
Heard = Callable[[str, SentText, Receipt], Awaitable[None]]
"""Notes a receipt durably: of which provider, of what, and what it says. A LogError: not noted."""
Stored = Callable[[], Awaitable[Sequence[tuple[str, SentText]]]]
"""The messages that were taken, by the SMSC's names, as far as they were not given yet. A LogError: not read."""
_logger = structlog.get_logger(__name__)


class ReceiptDesk:
    """For one event loop."""

    def __init__(self, provider: str, id_form: IdForm, heard: Heard, stored: Stored | None) -> None:
        self._provider, self._heard, self._stored = provider, heard, stored
        self._sent = SentMessages(id_form)
        self._looking: asyncio.Task[None] | None = None

    async def sent(self, message_id: str, delivery: Delivery, at: int) -> None:
        """It was taken under this name."""
        emission_id = delivery.key.partition("/")[0]
        text = SentText(emission_id, delivery.user, delivery.device, delivery.first_event_id or None, at)
        early = self._sent.sent(message_id, text)
        if early is not None:
            await self._hear(early, text)

    async def take(self, body: bytes) -> int:
        """The status to answer; what is no receipt is not read."""
        try:
            receipt = read_receipt(read_message(body))
        except MalformedRecordError:
            return _BAD_MESSAGE
        if receipt is None:
            return OK
        text = self._sent.find(receipt)
        try:
            if text is None and receipt.outcome is not None and self._stored is not None:
                async with asyncio.timeout(_LOOK_S):
                    text = await self._found_later(receipt)
        except (LogError, TimeoutError) as error:
            _logger.warning("receipt_not_looked_up", provider=self._provider, error=str(error))
            return LATER
        if text is None:
            self._sent.expect(receipt)
            return OK
        return await self._hear(receipt, text)

    async def _found_later(self, receipt: Receipt) -> SentText | None:
        for pause_s in _PAUSES_S:
            await asyncio.sleep(pause_s)
            if (text := self._sent.find(receipt)) is not None:
                return text
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            await asyncio.shield(self._looking)
        return self._sent.find(receipt)

    async def _look(self) -> None:
        for message_id, text in () if self._stored is None else await self._stored():
            early = self._sent.sent(message_id, text)
            if early is not None:
                await self._hear(early, text)

    async def _hear(self, receipt: Receipt, text: SentText) -> int:
        try:
            await self._heard(self._provider, text, receipt)
        except LogError as error:
            _logger.warning("receipt_not_noted", provider=self._provider, error=str(error))
            return LATER
        return OK
