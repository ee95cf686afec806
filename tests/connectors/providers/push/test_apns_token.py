"""The token with which APNs knows us."""

from __future__ import annotations

import asyncio

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.providers.push.apns_token import ProviderToken


def test_the_provider_token_is_minted_once_for_all_and_rarely() -> None:
    """At its age drawn between 30 and 50 minutes; after `expired` never within 20 minutes (429 otherwise)."""
    now = [1_000_000.0]
    key = ec.generate_private_key(ec.SECP256R1())
    holder = ProviderToken(
        key, team_id="T" * 10, key_id="K" * 10, clock_s=lambda: now[0], uniform=lambda low, high: (low + high) / 2
    )

    async def run() -> None:
        first = await holder.current()
        assert set(await asyncio.gather(*(holder.current() for _ in range(50)))) == {first}
        assert jwt.get_unverified_header(first) == {"alg": "ES256", "kid": "K" * 10, "typ": "JWT"}
        assert jwt.decode(first, key.public_key(), algorithms=["ES256"]) == {"iss": "T" * 10, "iat": 1_000_000}
        now[0] += 39 * 60
        assert await holder.current() == first
        now[0] += 2 * 60
        second = await holder.current()
        assert second != first
        assert await holder.expired(second) == second, "renewed within 20 minutes"
        now[0] += 20 * 60
        assert len(set(await asyncio.gather(*(holder.expired(second) for _ in range(50)))) - {second}) == 1

    asyncio.run(run())


def test_a_token_of_a_time_that_was_none_is_not_used_for_hours() -> None:
    """The clock was an hour ahead and is right again: Apple takes no token of a time to come."""
    now = [1_000_000.0]
    key = ec.generate_private_key(ec.SECP256R1())
    holder = ProviderToken(
        key, team_id="T" * 10, key_id="K" * 10, clock_s=lambda: now[0], uniform=lambda low, _high: low
    )

    async def run() -> None:
        await holder.current()
        now[0] -= 3600
        token = await holder.current()
        assert jwt.decode(token, key.public_key(), algorithms=["ES256"])["iat"] == now[0]
        assert await holder.current() == token

    asyncio.run(run())
