"""The laws of admission stores and sender limits, over the embedded ones and over a real Redis."""

import asyncio
import random
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from connectors.admission.interface import AdmissionStore, Reservation, ReserveOutcome
from connectors.admission.limits import LocalSenderLimit, SenderLimit
from connectors.admission.options import RedisOptions
from connectors.admission.redis import RedisAdmissionStore, RedisSenderLimit
from connectors.admission.rocksdb import RocksAdmissionStore
from operators.identity import repeat_check
from state.model.admission import RepeatCheck
from state.model.errors import StateVersionError, StoreUnavailableError
from state.model.event import Event

HOUR = 3_600_000
NOW = 1_700_000_000_000
T = TypeVar("T")


@dataclass
class RedisServer:
    directory: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    options: list[str] = field(default_factory=list)

    def start(self) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = self.port or probe.getsockname()[1]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.directory), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return f"redis://127.0.0.1:{self.port}/0"
            time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)


Open = Callable[[], AdmissionStore]


@pytest.fixture(params=["embedded", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "embedded":
        return lambda: RocksAdmissionStore(tmp_path / "admission")
    options = RedisOptions(request.getfixturevalue("redis_url"), prefix=str(tmp_path), deadline=timedelta(seconds=20))
    return lambda: RedisAdmissionStore(options)


@pytest.fixture(params=["local", "redis"])
def open_limit(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], SenderLimit]:
    if request.param == "local":
        return LocalSenderLimit
    options = RedisOptions(request.getfixturevalue("redis_url"), prefix=str(tmp_path), deadline=timedelta(seconds=20))
    return lambda: RedisSenderLimit(options)


def run(work: Awaitable[T]) -> T:
    async def main() -> T:
        return await work

    return asyncio.run(main())


@asynccontextmanager
async def opened(open_store: Open) -> AsyncIterator[AdmissionStore]:
    store = open_store()
    try:
        yield store
    finally:
        await store.close()


def claim(event_id: str, *, now: int = NOW, given: bool = False, window: int = HOUR, **fields: Any) -> RepeatCheck:
    event = Event(**{
        "event_id": event_id, "type": "like", "priority": "P1", "sender_id": "s", "actor": "a", "target": "t",
        "ingested_at": now, "ttl_ms": 1, **fields,
    })  # fmt: skip
    return repeat_check(event, given=given, repeat_window_ms=window)


async def one(store: AdmissionStore, asked: RepeatCheck, now: int = NOW) -> Reservation:
    return (await store.reserve([asked], now))[0]


async def once_it_answers(store: AdmissionStore, asked: RepeatCheck) -> Reservation:
    """With a deadline that a slow machine may miss."""
    give_up = time.monotonic() + 90
    while True:
        try:
            return await one(store, asked)
        except StoreUnavailableError:
            assert time.monotonic() < give_up, "it does not come back"


NEW = ReserveOutcome.NEW
REPEAT = ReserveOutcome.REPEAT


def test_pending_then_committed(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            assert await one(store, claim("e1", idempotency_key="k")) == (NEW, "e1", False, None, 0)
            assert await one(store, claim("e2", idempotency_key="k")) == (REPEAT, "e1", False, "key", NOW + HOUR)
            await store.commit(["e1", "unknown"])
            assert await one(store, claim("e3", idempotency_key="k")) == (REPEAT, "e1", True, "key", NOW + HOUR)
            assert await store.known("e3", NOW) is None
            assert await store.known("unknown", NOW) is None

    run(main())


def test_to_look_says_the_same_and_sets_nothing(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            first = claim("e1", idempotency_key="k")
            assert await store.look([first, first], NOW) == [(NEW, "e1", False, None, 0)] * 2
            assert await store.known("e1", NOW) is None
            await one(store, first)
            await store.commit(["e1"])
            same, other = claim("e2", idempotency_key="k"), claim("e2", idempotency_key="k", target="u")
            looked = await store.look([same, other, claim("e3", target="v")], NOW)
            assert looked == [await one(store, same), await one(store, other), (NEW, "e3", False, None, 0)]
            assert await store.look([], NOW) == []

    run(main())


def test_another_body_under_a_key_conflicts(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            await one(store, claim("e1", idempotency_key="k"))
            await store.commit(["e1"])
            assert await one(store, claim("e2", idempotency_key="k", target="u")) == (
                ReserveOutcome.CONFLICT,
                "e1",
                True,
                "key",
                NOW + HOUR,
            )
            assert await one(store, claim("e2", idempotency_key="k", given=True)) == (
                ReserveOutcome.CONFLICT,
                "e1",
                True,
                "key",
                NOW + HOUR,
            )
            again = await one(store, claim("e1", idempotency_key="k", given=True))
            assert again == (REPEAT, "e1", True, "key", NOW + HOUR)

    run(main())


def test_keys_are_the_senders_own(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            answers = await store.reserve(
                [
                    claim("e1", idempotency_key="k"), claim("e2", idempotency_key="k", sender_id="s2"),
                    claim("e3", idempotency_key="b", sender_id="a"), claim("e4", sender_id="a:b"),
                ], NOW,
            )  # fmt: skip
            assert {answer.outcome for answer in answers} == {NEW}

    run(main())


@pytest.mark.parametrize("kept", [0, 5 * HOUR])
def test_window_of_a_key_ends_after_an_hour_and_is_not_prolonged(open_store: Open, kept: int) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            deliver_at = NOW + kept if kept else None
            asked: dict[str, Any] = {"idempotency_key": "k", "deliver_at": deliver_at}
            await one(store, claim("e1", **asked))
            end = NOW + kept + HOUR
            for now in (NOW + 1, end - 1):
                assert (await one(store, claim("e2", now=now, **asked), now))[:2] == (REPEAT, "e1")
            assert (await one(store, claim("e3", now=end, **asked), end))[:2] == (NEW, "e3")

    run(main())


def test_window_is_that_of_the_type(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            await one(store, claim("e1", window=10))
            assert (await one(store, claim("e2"), NOW + 9)).outcome is REPEAT
            assert (await one(store, claim("e3"), NOW + 10)).outcome is NEW

    run(main())


def test_keyless_content_is_compared_with_the_latest_of_its_kind(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            answers = [
                await one(store, claim("like1")),
                await one(store, claim("unlike", retracts=True)),
                await one(store, claim("unlike_again", retracts=True)),
                await one(store, claim("like2")),
                await one(store, claim("like3")),
                await one(store, claim("other_kind", object="o")),
                await one(store, claim("keyed", idempotency_key="k")),
                await one(store, claim("like4")),
            ]
            assert [answer[:2] for answer in answers] == [
                (NEW, "like1"), (NEW, "unlike"), (REPEAT, "unlike"), (NEW, "like2"), (REPEAT, "like2"),
                (NEW, "other_kind"), (NEW, "keyed"), (REPEAT, "like2"),
            ]  # fmt: skip
            assert {answer[3:] for answer in answers if answer.outcome is REPEAT} == {("content", NOW + HOUR)}

    run(main())


def test_keyless_p0_is_never_a_repeat(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            for event_id in ("e1", "e2"):
                assert (await one(store, claim(event_id, priority="P0"))).outcome is NEW

    run(main())


def test_event_id_repeats_for_a_day_whoever_sends_it(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            await one(store, claim("e1", given=True))
            await store.commit(["e1"])
            last = NOW + 24 * HOUR - 1
            again = claim("e1", given=True, sender_id="other", target="u", idempotency_key="k2", now=last)
            assert await one(store, again, last) == (REPEAT, "e1", True, "event_id", last + 1)
            assert (await one(store, claim("e9", idempotency_key="k2", sender_id="other"), last)).outcome is NEW
            late = claim("e1", given=True, sender_id="other", now=last + 1)
            assert await one(store, late, last + 1) == (NEW, "e1", False, None, 0)

    run(main())


def test_repeated_event_id_does_not_displace_the_latest_of_its_kind(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            await one(store, claim("e1", given=True))
            await one(store, claim("e2", given=True, retracts=True))
            assert (await one(store, claim("e1", given=True))).outcome is REPEAT
            assert (await one(store, claim("e3", retracts=True)))[:2] == (REPEAT, "e2")

    run(main())


def test_claims_of_one_group_see_each_other(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            group = [
                claim("e1", idempotency_key="k"), claim("e2", idempotency_key="k"),
                claim("e3", idempotency_key="k", target="x"), claim("g", given=True, target="y"),
                claim("g", given=True, target="z"),
            ]  # fmt: skip
            answers = await store.reserve(group, NOW)
            assert [answer[:2] for answer in answers] == [
                (NEW, "e1"), (REPEAT, "e1"), (ReserveOutcome.CONFLICT, "e1"), (NEW, "g"), (REPEAT, "g"),
            ]  # fmt: skip

    run(main())


def test_check_and_set_is_atomic(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            asked = [one(store, claim(f"e{number}", idempotency_key="k")) for number in range(100)]
            answers = await asyncio.gather(*asked)
            assert [answer.outcome for answer in answers].count(NEW) == 1
            assert len({answer.event_id for answer in answers}) == 1

    run(main())


def test_known_tells_whose_it_is_and_until_when_it_is_kept(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            await one(store, claim("é1", deliver_at=NOW + 5, sender_id="sënder"))
            assert await store.known("é1", NOW) == ("é1", "sënder", False, NOW + 5, "DIRECT")
            await store.commit(["é1"])
            assert await store.known("é1", NOW + 24 * HOUR) == ("é1", "sënder", True, NOW + 5, "DIRECT")
            assert await store.known("é1", NOW + 24 * HOUR + 5) is None

    run(main())


def test_cancelling_frees_the_event_id_and_the_key(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            await one(store, claim("e1", given=True, idempotency_key="k", deliver_at=NOW + HOUR))
            await store.forget("e1")
            await store.forget("e1")
            assert await store.known("e1", NOW) is None
            assert (await one(store, claim("e1", given=True, idempotency_key="k", target="x")))[:2] == (NEW, "e1")

    run(main())


def test_cancelling_forgets_the_latest_of_a_kind_but_not_a_later_one(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            await one(store, claim("first"))
            await one(store, claim("kept", deliver_at=NOW + HOUR))
            await store.forget("kept")
            assert (await one(store, claim("after")))[:2] == (NEW, "after")  # the one before does not come back
            await one(store, claim("kept2", deliver_at=NOW + HOUR))
            await one(store, claim("last"))
            await store.forget("kept2")
            assert (await one(store, claim("again")))[:2] == (REPEAT, "last")

    run(main())


def test_what_was_reserved_survives_reopening(open_store: Open) -> None:
    async def main() -> None:
        async with opened(open_store) as store:
            await one(store, claim("e1", idempotency_key="k"))
        async with opened(open_store) as store:
            assert await one(store, claim("e2", idempotency_key="k")) == (REPEAT, "e1", False, "key", NOW + HOUR)

    run(main())


# --- limits ---


def test_any_second_holds_at_most_the_limit(open_limit: Callable[[], SenderLimit]) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    source = random.Random(seed)

    async def main() -> None:
        limit, now, granted = open_limit(), NOW, []
        for _ in range(400):
            now += source.choice((0, 0, 1, 3, 40, 300))
            grant = await limit.take("s", source.randint(1, 4), limit=20, now_ms=now)
            granted += [now] * grant.granted
        await limit.close()
        worst = max(sum(start <= at < start + 1000 for at in granted) for start in granted)
        assert worst == 20, "the limit is reached and never passed"

    run(main())


def test_retry_after_is_when_the_oldest_leaves(open_limit: Callable[[], SenderLimit]) -> None:
    async def main() -> None:
        limit = open_limit()
        assert await limit.take("s", 3, limit=3, now_ms=NOW) == (3, 0, 3)
        assert await limit.take("s", 2, limit=3, now_ms=NOW + 400) == (0, 600, 3)
        assert await limit.take("s", 1, limit=3, now_ms=NOW + 999) == (0, 1, 3)
        assert await limit.take("s", 5, limit=3, now_ms=NOW + 1000) == (3, 1000, 3)
        assert await limit.take("other", 1, limit=3, now_ms=NOW + 1000) == (1, 0, 1)
        assert await limit.take("s", 1, limit=3, now_ms=NOW) == (0, 1000, 3)  # a clock that goes back stands still
        await limit.close()

    run(main())


def test_limit_of_zero_grants_nothing(open_limit: Callable[[], SenderLimit]) -> None:
    async def main() -> None:
        limit = open_limit()
        assert await limit.take("s", 1, limit=0, now_ms=NOW) == (0, 1000, 0)
        await limit.close()

    run(main())


def test_concurrent_takes_share_the_limit(open_limit: Callable[[], SenderLimit]) -> None:
    async def main() -> None:
        limit = open_limit()
        grants = await asyncio.gather(*(limit.take("s", 1, limit=30, now_ms=NOW) for _ in range(100)))
        assert sum(grant.granted for grant in grants) == 30
        await limit.close()

    run(main())


# --- what only one of them can do wrong ---


def test_embedded_store_sweeps_what_no_longer_counts(tmp_path: Path) -> None:
    async def main() -> None:
        store = RocksAdmissionStore(tmp_path / "admission")
        for number in range(50):
            await one(store, claim(f"e{number}", idempotency_key=f"k{number}"))
        assert store.sweep(NOW + HOUR - 1, most=1000) == 0
        assert store.sweep(NOW + HOUR, most=20) == 20
        assert store.sweep(NOW + HOUR, most=1000) == 30
        assert await store.known("e7", NOW + HOUR) is not None
        assert store.sweep(NOW + 24 * HOUR, most=1000) == 50
        assert store.sweep(NOW + 24 * HOUR, most=1000) == 0
        await one(store, claim("late"))
        assert store.sweep(NOW + 24 * HOUR, most=1000) == 2
        await store.close()

    run(main())


def _stored(store: RocksAdmissionStore) -> dict[bytes, bytes]:
    return {key: value for key, value in store._db.items() if isinstance(key, bytes) and isinstance(value, bytes)}


def test_embedded_store_sweeps_a_group_piece_by_piece(tmp_path: Path) -> None:
    async def main() -> None:
        store = RocksAdmissionStore(tmp_path / "admission")
        group = [claim(f"e{number}", idempotency_key=f"k{number}") for number in range(100)]
        await store.reserve(group, NOW)
        assert (await one(store, claim("later", now=NOW + 1, idempotency_key="k7"), NOW + 1)).event_id == "e7"
        assert store.sweep(NOW + HOUR, most=1) == 64
        assert store.sweep(NOW + HOUR, most=1000) == 36
        await store.reserve([claim("new", now=NOW + HOUR, idempotency_key="k7")], NOW + HOUR)
        assert store.sweep(NOW + 24 * HOUR, most=1000) == 101
        assert await store.known("e99", NOW) is None
        assert [key[:1] for key in _stored(store)] == [b"e", b"t", b"v"]
        await store.close()

    run(main())


def test_embedded_store_sweeps_those_who_came_with_a_kept_event_that_was_cancelled_and_came_again(
    tmp_path: Path,
) -> None:
    """Its entry in the time index replaced that of them all."""

    async def main() -> None:
        store = RocksAdmissionStore(tmp_path / "admission")
        group = [claim(f"e{number}", idempotency_key=f"k{number}") for number in range(9)]
        await store.reserve(group, NOW)
        await store.forget("e0")
        await store.reserve(group[:1], NOW + 1)
        store.sweep(NOW + 24 * HOUR, most=1000)
        assert [*_stored(store)] == [b"v"]
        await store.close()

    run(main())


def test_embedded_store_sweeps_what_an_earlier_version_wrote(tmp_path: Path) -> None:
    """An entry of the time index for each key, with nothing in it."""

    async def main() -> None:
        store = RocksAdmissionStore(tmp_path / "admission")
        await store.reserve([claim("e1", idempotency_key="k"), claim("e2")], NOW)
        for key in reversed(stored := _stored(store)):
            if key[:1] == b"t":
                store._db.delete(key)
            elif key != b"v":
                until = stored[key][:8] if key[:1] == b"s" else stored[key][1:9]
                store._db.put(b"t" + until + key, b"")
        assert store.sweep(NOW + HOUR, most=1000) == 2
        assert store.sweep(NOW + 24 * HOUR, most=1000) == 2
        assert [*_stored(store)] == [b"v"]
        await store.close()

    run(main())


def test_embedded_store_commits_what_it_reserved_before_others(tmp_path: Path) -> None:
    """Also what it no longer has at hand."""

    async def main() -> None:
        store = RocksAdmissionStore(tmp_path / "admission")
        for group in (["first", "cancelled"], [f"e{number}" for number in range(12_000)]):
            await store.reserve([claim(name, idempotency_key=name) for name in group], NOW)
        await store.forget("cancelled")
        await store.commit(["first", "e11999", "cancelled", "unknown"])
        known = [await store.known(name, NOW) for name in ("first", "e11999", "e0", "cancelled", "unknown")]
        assert [one and one.committed for one in known] == [True, True, False, None, None]
        await store.close()

    run(main())


def test_what_an_earlier_version_remembered_is_known(tmp_path: Path) -> None:
    """Without a fan_out_type behind the sender."""

    async def main() -> None:
        store = RocksAdmissionStore(tmp_path / "admission")
        await one(store, claim("e1"))
        stored = bytes(store._db.get(b"ee1") or b"")
        store._db.put(b"ee1", stored.removesuffix(b"\0DIRECT"))
        assert await store.known("e1", NOW) == ("e1", "s", False, 0, "")
        await store.close()

    run(main())


def test_embedded_store_of_another_version_refuses(tmp_path: Path) -> None:
    async def main() -> None:
        store = RocksAdmissionStore(tmp_path / "admission")
        store._db.put(b"v", b"\x63")
        await store.close()

    run(main())
    with pytest.raises(StateVersionError, match="admission"):
        RocksAdmissionStore(tmp_path / "admission")


def test_embedded_store_has_one_owner(tmp_path: Path) -> None:
    store = RocksAdmissionStore(tmp_path / "admission")
    with pytest.raises(StoreUnavailableError):
        RocksAdmissionStore(tmp_path / "admission")
    run(store.close())


@pytest.mark.parametrize("fault", ["killed", "stopped"])
def test_redis_that_does_not_answer_is_unavailable_within_the_deadline(tmp_path: Path, fault: str) -> None:
    server = RedisServer(tmp_path)
    options = RedisOptions(server.start(), deadline=timedelta(milliseconds=100))

    async def main() -> None:
        store, limit = RedisAdmissionStore(options), RedisSenderLimit(options)
        await once_it_answers(store, claim("e1"))
        assert server.process is not None
        server.process.send_signal({"killed": 9, "stopped": 19}[fault])
        begin = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await one(store, claim("e2"))
        with pytest.raises(StoreUnavailableError):
            await limit.take("s", 1, limit=5, now_ms=NOW)
        assert time.monotonic() - begin < 15
        if fault == "killed":
            server.process.wait(60)
            server.start()  # empty, and without the scripts
        else:
            server.process.send_signal(18)
        assert (await once_it_answers(store, claim("e3", target="new"))).outcome is NEW
        await store.close()
        await limit.close()

    try:
        run(main())
    finally:
        server.stop()


def test_an_outage_of_redis_takes_no_connection_for_good(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    options = RedisOptions(server.start(), deadline=timedelta(seconds=1), connections_max=1)

    async def main() -> None:
        store = RedisAdmissionStore(options)
        await once_it_answers(store, claim("e1"))
        assert server.process is not None
        server.process.send_signal(19)
        with pytest.raises(StoreUnavailableError):
            await one(store, claim("e2"))
        server.process.send_signal(18)
        assert (await once_it_answers(store, claim("e3", target="new"))).outcome is NEW
        await store.close()

    try:
        run(main())
    finally:
        server.stop()


def test_the_embedded_store_keeps_its_filters_in_a_bounded_cache(tmp_path: Path) -> None:
    """They grow with the keys of a day: four bytes an event."""
    store = RocksAdmissionStore(tmp_path / "admission")
    for number in range(20_000):
        store._db.put(b"e%030d" % number, b"")
    store._db.flush()
    assert (store._db.property_int_value("rocksdb.estimate-table-readers-mem") or 0) < 20_000
    run(store.close())
