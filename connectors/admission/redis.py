"""Admission store and sender limits in Redis, for gateways that share them.

Every call ends within its deadline: no retries, short timeouts, a bounded pool. What Redis does not answer raises
`StoreUnavailableError`; the gateway then accepts without it (later layers catch repeats) and limits by itself.

Keys, `PREFIX` as configured; texts are raw bytes behind a fixed prefix and come last, so that no id can collide:

    PREFIX:e:<event_id>     hash: c committed 0|1, u until, k kept until, s scope in hex or empty, n sender_id,
                            f fan_out_type (earlier versions: none)
    PREFIX:s:<scope hex>    hash: u until, b content in hex, e event_id
    PREFIX:l:<sender_id>    list of "<millisecond> <count>", oldest first: what was granted in the last second
    PREFIX:m:<sender_id>    the sum of those counts
    PREFIX:g                the last millisecond in which a gateway accepted events that are not here (none: never)

All times are the gateways' milliseconds, compared by the scripts; Redis's own expiry only clears up, a minute later.
The scripts are fixed texts and run atomically; they touch keys that they read from others, so this is for one
Redis (with replicas), not for Redis Cluster. It must not evict (`maxmemory-policy noeviction`): see `carillon check`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, cast

from connectors.admission.interface import Known, RepeatReason, Reservation, ReserveOutcome
from connectors.admission.limits import WINDOW_MS, Grant
from connectors.admission.options import RedisOptions
from connectors.redis_client import RedisClient
from state.model.admission import RepeatCheck
from state.model.errors import StoreUnavailableError

_LOOK = """
local scope_key, prefix, now = KEYS[1], ARGV[1], tonumber(ARGV[2])
local given, keyed, content, event_id = ARGV[3] == '1', ARGV[4] == '1', ARGV[5], ARGV[6]
local function committed(id)
  local found = redis.call('HMGET', prefix .. ':e:' .. id, 'c', 'u')
  return (found[2] and now < tonumber(found[2]) and found[1] == '1') and 1 or 0
end
local missed, known = tonumber(ARGV[7]), tonumber(redis.call('GET', prefix .. ':g') or '0')
if missed > known then redis.call('SET', prefix .. ':g', ARGV[7]) end
missed = math.max(missed, known)
local function outdated(id)
  if missed == 0 then return false end
  local found = redis.call('HMGET', prefix .. ':e:' .. id, 'u', 'k')
  return not found[1] or tonumber(found[2]) > 0 or tonumber(found[1]) - 86400000 <= missed
end
local scope = {}
if scope_key ~= '' then
  scope = redis.call('HMGET', scope_key, 'u', 'b', 'e')
  if scope[1] and now >= tonumber(scope[1]) then scope = {} end
end
local same = scope[2] == content
if scope[1] and keyed then
  if same and given and event_id ~= scope[3] then same = false end
  return {same and 'repeat' or 'conflict', scope[3], committed(scope[3]), 'key', scope[1]}
end
local event_key = prefix .. ':e:' .. event_id
if given then
  local till = redis.call('HGET', event_key, 'u')
  if till and now < tonumber(till) then return {'repeat', event_id, committed(event_id), 'event_id', till} end
end
if scope[1] and same and not outdated(scope[3]) then
  return {'repeat', scope[3], committed(scope[3]), 'content', scope[1]}
end
"""
_NEW = """
return {'new', event_id, 0}
"""
_SET = """
redis.call('DEL', event_key)
redis.call('HSET', event_key, 'c', '0', 'u', ARGV[9], 'k', ARGV[10], 's', ARGV[12], 'n', ARGV[11], 'f', ARGV[13])
redis.call('PEXPIRE', event_key, math.max(1, tonumber(ARGV[9]) - now) + 60000)
if scope_key ~= '' then
  redis.call('DEL', scope_key)
  redis.call('HSET', scope_key, 'u', ARGV[8], 'b', content, 'e', event_id)
  redis.call('PEXPIRE', scope_key, math.max(1, tonumber(ARGV[8]) - now) + 60000)
end
"""

_COMMIT = """
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'c', '1') end
end
return #KEYS
"""

_FORGET = """
local scope = redis.call('HGET', KEYS[1], 's')
if not scope then return 0 end
redis.call('DEL', KEYS[1])
local scope_key = ARGV[1] .. ':s:' .. scope
if scope ~= '' and redis.call('HGET', scope_key, 'e') == ARGV[2] then redis.call('DEL', scope_key) end
return 1
"""

_TAKE = """
local entries, sum_key = KEYS[1], KEYS[2]
local now, count, limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function entry(place)
  local at, had = string.match(redis.call('LINDEX', entries, place) or '', '^(%d+) (%d+)$')
  return tonumber(at), tonumber(had)
end
local last, last_count = entry(-1)
now = math.max(now, last or 0)
local total = last and tonumber(redis.call('GET', sum_key) or '0') or 0
local first, first_count = entry(0)
while first and first <= now - window do
  redis.call('LPOP', entries)
  total = total - first_count
  first, first_count = entry(0)
end
local granted = math.max(0, math.min(count, limit - total))
if granted > 0 then
  if first and last == now then redis.call('RPOP', entries) else last_count = 0 end
  redis.call('RPUSH', entries, string.format('%.0f %.0f', now, last_count + granted))
  redis.call('PEXPIRE', entries, window + 60000)
  first = first or now
end
redis.call('SET', sum_key, string.format('%.0f', total + granted), 'PX', window + 120000)
local retry = granted == count and 0 or first and (first + window - now) or window
return {granted, retry, total + granted}
"""


class RedisAdmissionStore:
    """`AdmissionStore` in Redis."""

    def __init__(self, options: RedisOptions) -> None:
        """Connect at the first call."""
        self._client = RedisClient(options)
        self._reserve = self._client.redis.register_script(_LOOK + _SET + _NEW)
        self._look = self._client.redis.register_script(_LOOK + _NEW)
        self._commit = self._client.redis.register_script(_COMMIT)
        self._forget = self._client.redis.register_script(_FORGET)

    async def reserve(self, claims: Sequence[RepeatCheck], now_ms: int, missed_ms: int = 0) -> list[Reservation]:
        """See `AdmissionStore`; each claim is atomic, the group is one round trip."""
        return await self._ask(self._reserve, claims, now_ms, missed_ms)

    async def look(self, claims: Sequence[RepeatCheck], now_ms: int, missed_ms: int = 0) -> list[Reservation]:
        """See `AdmissionStore`."""
        return await self._ask(self._look, claims, now_ms, missed_ms)

    async def _ask(self, script: Any, claims: Sequence[RepeatCheck], now_ms: int, missed_ms: int) -> list[Reservation]:
        if not claims:
            return []
        async with self._client.redis.pipeline(transaction=False) as pipeline:  # a failed one gives its connection back
            for claim in claims:
                arguments = self._arguments(claim, now_ms, missed_ms)
                await script(keys=[self._scope_key(claim)], args=arguments, client=pipeline)
            answers = await self._client.answer(pipeline.execute())
        return [_reservation(*answer) for answer in answers]

    def _scope_key(self, claim: RepeatCheck) -> str:
        return "" if claim.scope is None else f"{self._client.prefix}:s:{claim.scope.hex()}"

    def _arguments(self, claim: RepeatCheck, now_ms: int, missed_ms: int) -> list[str | int]:
        return [
            self._client.prefix, now_ms, int(claim.given), int(claim.keyed), claim.content.hex(), claim.event_id,
            missed_ms, claim.scope_until_ms, claim.event_until_ms, claim.kept_until_ms, claim.sender_id,
            "" if claim.scope is None else claim.scope.hex(), claim.fan_out_type,
        ]  # fmt: skip

    def _event_key(self, event_id: str) -> str:
        return f"{self._client.prefix}:e:{event_id}"

    async def commit(self, event_ids: Sequence[str]) -> None:
        """See `AdmissionStore`."""
        if event_ids:
            await self._client.answer(self._commit(keys=[self._event_key(event_id) for event_id in event_ids]))

    async def known(self, event_id: str, now_ms: int) -> Known | None:
        """See `AdmissionStore`."""
        call = self._client.redis.hmget(self._event_key(event_id), ["u", "n", "c", "k", "f"])
        until, sender, committed, kept, fan_out = await self._client.answer(cast("Awaitable[Any]", call))
        if until is None or now_ms >= int(until):
            return None
        return Known(event_id, sender.decode(), committed == b"1", int(kept), (fan_out or b"").decode())

    async def forget(self, event_id: str) -> None:
        """See `AdmissionStore`."""
        await self._client.answer(self._forget(keys=[self._event_key(event_id)], args=[self._client.prefix, event_id]))

    async def close(self) -> None:
        """See `AdmissionStore`."""
        await self._client.close()


def _reservation(name: bytes, event_id: bytes, committed: int, *by: bytes) -> Reservation:
    outcome = ReserveOutcome(name.decode())
    if outcome is ReserveOutcome.NEW:
        return Reservation(outcome, event_id.decode(), bool(committed))
    reason, until = by
    return Reservation(outcome, event_id.decode(), bool(committed), cast("RepeatReason", reason.decode()), int(until))


class RedisSenderLimit:
    """`SenderLimit` in Redis. Calls of one tick of the loop share a round trip per sender."""

    def __init__(self, options: RedisOptions) -> None:
        """Connect at the first call."""
        self._client = RedisClient(options)
        self._take = self._client.redis.register_script(_TAKE)
        self._waiting: dict[tuple[str, int], list[tuple[int, asyncio.Future[Grant]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, sender_id: str, count: int, *, limit: int, now_ms: int) -> Grant:
        """See `SenderLimit`."""
        place = (sender_id, limit)
        future: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(place, [])
        waiting.append((count, future))
        if len(waiting) == 1:
            task = asyncio.create_task(self._ask(place, now_ms))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _ask(self, place: tuple[str, int], now_ms: int) -> None:
        waiting = self._waiting.pop(place)
        sender_id, limit = place
        try:
            grant = await self._call(sender_id, sum(count for count, _ in waiting), limit, now_ms)
        except StoreUnavailableError as error:
            for _, future in waiting:
                _fail(future, error)
            return
        _share(grant, waiting)

    async def _call(self, sender_id: str, count: int, limit: int, now_ms: int) -> Grant:
        keys = [f"{self._client.prefix}:{kind}:{sender_id}" for kind in ("l", "m")]
        call = self._take(keys=keys, args=[now_ms, count, limit, WINDOW_MS])
        granted, retry_after_ms, in_second = await self._client.answer(call)
        return Grant(int(granted), int(retry_after_ms), int(in_second))

    async def close(self) -> None:
        """See `SenderLimit`."""
        await self._client.close()


def _share(grant: Grant, waiting: Sequence[tuple[int, asyncio.Future[Grant]]]) -> None:
    """Give the granted number to those who asked, in the order in which they did."""
    left = grant.granted
    for count, future in waiting:
        granted = min(count, left)
        left -= granted
        if not future.done():
            future.set_result(
                grant._replace(granted=granted, retry_after_ms=0 if granted == count else grant.retry_after_ms)
            )


def _fail(future: asyncio.Future[Grant], error: StoreUnavailableError) -> None:
    if not future.done():
        future.set_exception(error)
