"""What a store says once events were accepted without it: the latest of a kind that it has may not be the latest."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.admission.interface import AdmissionStore, Reservation, ReserveOutcome
from connectors.admission.options import RedisOptions
from connectors.admission.redis import RedisAdmissionStore
from connectors.admission.rocksdb import RocksAdmissionStore
from operators.identity import repeat_check
from state.model.admission import RepeatCheck
from state.model.event import Event

HOUR = 3_600_000
NOW = 1_700_000_000_000
NEW, REPEAT = ReserveOutcome.NEW, ReserveOutcome.REPEAT


def claim(
    event_id: str, target: str, now: int, *, key: str | None = None, deliver_at: int | None = None, given: bool = False
) -> RepeatCheck:
    event = Event(
        event_id=event_id, type="like", priority="P1", sender_id="s", actor="a", target=target, ingested_at=now,
        ttl_ms=1, idempotency_key=key, deliver_at=deliver_at,
    )  # fmt: skip
    return repeat_check(event, given=given, repeat_window_ms=HOUR)


def said(answers: list[Reservation]) -> list[tuple[ReserveOutcome, str]]:
    return [answer[:2] for answer in answers]


@pytest.mark.parametrize("kind", ["embedded", "redis"])
def test_nothing_repeats_by_content_what_came_before(kind: str, tmp_path: Path, redis_url: str) -> None:
    """A like, an unlike that the store has not heard of, and the like again: that is no repeat of the first."""

    async def law(store: AdmissionStore) -> None:
        first = [
            claim("e1", "ann", NOW), claim("k1", "bob", NOW, key="k"), claim("d1", "eve", NOW, deliver_at=NOW + HOUR),
        ]  # fmt: skip
        await store.reserve(first, NOW)
        again = [
            claim("e2", "ann", NOW + 2), claim("k2", "bob", NOW + 2, key="k"),
            claim("d2", "eve", NOW + 2, deliver_at=NOW + HOUR), claim("e1", "zoe", NOW + 2, given=True),
        ]  # fmt: skip
        repeats = [(REPEAT, "e1"), (REPEAT, "k1"), (REPEAT, "d1"), (REPEAT, "e1")]
        assert said(await store.look(again, NOW + 2)) == repeats
        answers = await store.reserve(again, NOW + 2, NOW + 1)
        assert said(answers) == [(NEW, "e2"), (REPEAT, "k1"), (NEW, "d2"), (REPEAT, "e1")]
        assert said(await store.look([claim("e3", "ann", NOW + 3)], NOW + 3, NOW + 1)) == [(REPEAT, "e2")]
        await store.close()

    asyncio.run(law(_redis(redis_url, tmp_path) if kind == "redis" else RocksAdmissionStore(tmp_path / "admission")))


def test_what_one_gateway_missed_counts_for_all_that_share_the_store(redis_url: str, tmp_path: Path) -> None:
    async def law() -> None:
        one, two = _redis(redis_url, tmp_path), _redis(redis_url, tmp_path)
        await one.reserve([claim("e1", "ann", NOW)], NOW)
        await one.reserve([claim("x", "bob", NOW + 2)], NOW + 2, NOW + 1)
        await one.reserve([claim("y", "eve", NOW + 2)], NOW + 2)
        assert said(await two.reserve([claim("e2", "ann", NOW + 2)], NOW + 2)) == [(NEW, "e2")]
        assert said(await one.reserve([claim("e3", "ann", NOW + 3)], NOW + 3)) == [(REPEAT, "e2")]
        await one.close()
        await two.close()

    asyncio.run(law())


def _redis(url: str, directory: Path) -> RedisAdmissionStore:
    return RedisAdmissionStore(RedisOptions(url, prefix=str(directory), deadline=timedelta(seconds=20)))
