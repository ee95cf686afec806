"""The bucket in a real Redis."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.admission.options import RedisOptions
from connectors.rates.redis import RedisBucket
from infra.services import free_port
from state.model.errors import StoreUnavailableError

PLACE = ("push", "*")


def bucket(url: str, prefix: Path, rate_per_s: float, name: str = "apns", *, p0_share: float = 0.25) -> RedisBucket:
    options = RedisOptions(url, prefix=str(prefix), deadline=timedelta(seconds=2))
    return RedisBucket(options, PLACE, name, rate_per_s=rate_per_s, p0_share=p0_share)


def run(work: Awaitable[None]) -> None:
    async def main() -> None:
        await work

    asyncio.run(main())


def test_leases_leave_the_reserve_and_p0_may_go_into_debt(redis_url: str, tmp_path: Path) -> None:
    """At one token in a hundred seconds nothing comes back while the test runs."""

    async def main() -> None:
        slow = bucket(redis_url, tmp_path, 0.01)
        assert (await slow.lease(5)).given == 1, "a bucket of one has no reserve: else nobody but P0 would ever go"
        await slow.close()
        wide = bucket(redis_url, tmp_path, 40.0, "twilio")
        assert (await wide.lease(9)).given == 3, "four at most, one of them for P0"
        await wide.spent(100)
        none = await wide.lease(1)
        assert none.given == 0
        assert 900 <= none.wait_ms <= 1_050, "a second's worth of debt, and a token beyond the reserve"
        await wide.close()

    run(main())


def test_each_provider_has_a_bucket_of_its_own_and_processes_share_it(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        one, other = (bucket(redis_url, tmp_path, 0.01, p0_share=0.0) for _ in range(2))
        another = bucket(redis_url, tmp_path, 0.01, "fcm", p0_share=0.0)
        given = await asyncio.gather(*(each.lease(1) for each in (one, other, another)))
        assert sorted(each.given for each in given[:2]) == [0, 1]
        assert given[2].given == 1
        for each in (one, other, another):
            await each.close()

    run(main())


def test_a_redis_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        away = bucket(f"redis://127.0.0.1:{free_port()}/0", tmp_path, 10.0)
        with pytest.raises(StoreUnavailableError):
            await away.lease(1)
        await away.close()

    run(main())
