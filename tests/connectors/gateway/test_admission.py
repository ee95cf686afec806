"""What admission does once the store of repeats answers again."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import pytest

from connectors.admission.options import RedisOptions
from connectors.admission.redis import RedisAdmissionStore
from connectors.gateway.admission import Admission
from connectors.log.interface import NewRecord
from infra.services import start_redis
from operators.identity import repeat_check
from state.model.admission import Admitted
from state.model.errors import StoreUnavailableError
from state.model.event import Event

NOW = 1_700_000_000_000


class _Appender:
    async def append(self, records: Sequence[NewRecord]) -> list[int]:
        return [0] * len(records)


def admitted(event_id: str) -> Admitted:
    event = Event(
        event_id=event_id, type="like", priority="P1", sender_id="s", actor="a", target=event_id, ingested_at=NOW,
        ttl_ms=1, deliver_at=NOW + 60_000,
    )  # fmt: skip
    return Admitted(event, repeat_check(event, given=True, repeat_window_ms=3_600_000))


async def is_known(store: RedisAdmissionStore, event_id: str) -> bool:
    with suppress(StoreUnavailableError):
        return await store.known(event_id, NOW) is not None
    return False


def test_of_what_was_cancelled_meanwhile_the_store_is_not_told() -> None:
    """Its event_id is free, and would be taken again."""
    server = start_redis()

    async def law() -> None:
        store = RedisAdmissionStore(RedisOptions(server.url, deadline=timedelta(seconds=20)))
        admission = Admission(
            store, _Appender(), lambda _topic: 4, clock=lambda: NOW, kind="ordinary",
            append_deadline=timedelta(seconds=20), pending_max=100,
        )  # fmt: skip
        await admission.admit([admitted("cancelled"), admitted("kept")])
        with pytest.raises(StoreUnavailableError):
            await admission.forget("cancelled")
        server.process.start()
        for _ in range(600):
            if await is_known(store, "kept"):
                break
            await asyncio.sleep(0.1)
        assert await is_known(store, "kept")
        assert not await is_known(store, "cancelled")
        await admission.drain()
        await store.close()

    try:
        server.process.kill()
        asyncio.run(law())
    finally:
        server.stop()
