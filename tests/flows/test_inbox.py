"""The inbox flow in processes of its own, killed at any instant: rows stay exact, counts reach the ledger."""

import random
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from shutil import copytree, rmtree

import orjson
import pytest
from helpers.inbox_flow import RUN, last_counts, read_all
from helpers.programs import drain, running
from helpers.records import PARTITIONS, inbox_add, now_ms, open_embedded, record
from helpers.waiting import wait_for
from redis import Redis

from connectors.inbox.options import InboxRedisOptions
from connectors.inbox.redis import RedisInboxReader, RedisInboxStore
from connectors.inbox.rocksdb import RocksInboxReader
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import TopicSpec
from flows.process.directories import INBOX as DIRECTORY
from flows.process.inboxes import inbox_reader
from infra.services import start_redis
from state.disk.exports import write_export
from state.model.errors import StoreUnavailableError
from state.model.keys import KEY_GROUPS, key_group, partition_of_group

WEEK_MS = 7 * 86_400_000


@pytest.mark.parametrize(("workers", "store"), [(1, "rocksdb"), (2, "rocksdb"), (2, "redis")])
def test_rows_are_exact_after_kill_9(tmp_path: Path, workers: int, store: str, request: pytest.FixtureRequest) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    log = open_embedded(tmp_path)
    redis = [request.getfixturevalue("redis_url"), str(tmp_path)] if store == "redis" else []
    reader = inbox_reader(tmp_path, log, _options(redis) if redis else None)

    def applied() -> int:
        return sum(reader.audit(group).items_counted for group in range(KEY_GROUPS))

    fed = 0
    for _ in range(3):
        batch = [inbox_add(f"u{number % 90}", number) for number in range(fed, fed + 2000)]
        fed += len(batch)
        repeated = dice.sample(batch, 200)
        with running(RUN, str(tmp_path), str(workers), *redis):
            for first in range(0, len(batch), 300):
                log.append(batch[first : first + 300])
            log.append(sorted(repeated, key=lambda each: int(orjson.loads(each.value)["event_id"][1:])))
            enough = fed - len(batch) + dice.randrange(len(batch))
            wait_for(lambda enough=enough: _answers(applied) >= enough)
    with running(RUN, str(tmp_path), str(workers), *redis) as process:
        wait_for(lambda: sum(each["items"] for each in last_counts(log).values()) == fed)
        drain(process)
    for user in (f"u{n}" for n in range(90)):
        page = reader.page(user, 10_000)
        names = [row.first_event_id for row in page.rows]
        assert names == [f"e{number}" for number in range(fed - 1, -1, -1) if f"u{number % 90}" == user]
        assert page.rows[0].payload == b'{"n":%d}' % int(names[0][1:])
    for group, each in last_counts(log).items():
        mine = [number for number in range(fed) if key_group(f"u{number % 90}") == group]
        assert (each["owner"], each["items"], each["offset"]) == ("inbox", len(mine), mine[-1])
    reader.close()
    log.close()


def _answers(ask: Callable[[], int]) -> int:
    """What it says; 0 while there is nothing to be read."""
    try:
        return ask()
    except StoreUnavailableError:
        return 0


def _options(redis: list[str]) -> InboxRedisOptions:
    url, prefix = redis
    return InboxRedisOptions(url, prefix)


def _applied_in_redis(redis: list[str], user: str, log: EmbeddedLog) -> int:
    with closing(RedisInboxReader(_options(redis), log.partitions("inbox"))) as reader:
        return _answers(lambda: len(reader.page(user, 10_000).rows))


def _emptied(redis: list[str]) -> None:
    with closing(Redis.from_url(redis[0])) as client:
        assert client.unlink(*client.keys(f"{redis[1]}:*")) == 2 * PARTITIONS


def test_rows_that_redis_lost_are_made_again_from_export_and_log_or_missed(tmp_path: Path, redis_url: str) -> None:
    with closing(EmbeddedLog(tmp_path, clock=now_ms)) as made:
        made.ensure_topics([TopicSpec("inbox", PARTITIONS, retention_ms=WEEK_MS)])
    log, redis = open_embedded(tmp_path), [redis_url, str(tmp_path)]
    partition, arguments = partition_of_group(key_group("mia"), PARTITIONS), [str(tmp_path), "1", *redis]
    log.append([inbox_add("mia", number) for number in range(300)])
    with running(RUN, *arguments) as process:
        wait_for(lambda: _applied_in_redis(redis, "mia", log) == 300)
        _emptied(redis)
        log.append([inbox_add("mia", 300)])
        assert process.wait(60) != 0, "it goes on over rows that are not there"
    with running(RUN, *arguments) as process:  # from the log
        wait_for(lambda: _applied_in_redis(redis, "mia", log) == 301)
        drain(process)
    with closing(RedisInboxStore(_options(redis), partition)) as store:
        export = write_export(tmp_path / "exports", store.export_source(partition), at=1)
    assert export is not None
    wait_for(lambda: now_ms() > _newest(log, partition))
    cut = now_ms()
    log.append([inbox_add("mia", number) for number in range(301, 400)])
    log.maintain(cut + WEEK_MS)
    assert log.begin_offset("inbox", partition) == 301
    _emptied(redis)
    with running(RUN, *arguments) as process:  # from the export, and the rest from the log
        wait_for(lambda: _applied_in_redis(redis, "mia", log) == 400)
        drain(process)
    rmtree(tmp_path / "exports")
    _emptied(redis)
    with running(RUN, *arguments) as process:
        assert process.wait(60) != 0, "it goes on without what nobody has any more"


def _newest(log: EmbeddedLog, partition: int) -> int:
    reader = log.reader({("inbox", partition): log.end_offset("inbox", partition) - 1})
    (record,) = reader.poll(1, timedelta(seconds=5))
    reader.close()
    return record.timestamp_ms


def test_the_flow_waits_for_a_redis_that_is_away(tmp_path: Path) -> None:
    server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    log, redis = open_embedded(tmp_path), [server.url, "inbox"]
    try:
        log.append([inbox_add("mia", number) for number in range(100)])
        with running(RUN, str(tmp_path), "1", *redis) as process:
            wait_for(lambda: _applied_in_redis(redis, "mia", log) == 100)
            server.process.kill()
            log.append([inbox_add("mia", number) for number in range(100, 200)])
            reader = RedisInboxReader(_options(redis), PARTITIONS)
            with pytest.raises(StoreUnavailableError):
                reader.page("mia", 1)
            reader.close()
            server.process.start()
            wait_for(lambda: _applied_in_redis(redis, "mia", log) == 200)
            server.process.freeze()
            log.append([inbox_add("mia", number) for number in range(200, 300)])
            server.process.thaw()
            wait_for(lambda: _applied_in_redis(redis, "mia", log) == 300)
            assert process.poll() is None, "it ended, though Redis came back in time"
            drain(process)
    finally:
        server.stop()


def test_a_redis_that_comes_back_as_it_was_before_gets_the_rest_from_the_log(tmp_path: Path) -> None:
    """As after a crash whose last second was not on the disk, or when a replica takes over that lacks the end."""
    server = start_redis("--appendonly", "yes")
    kept, earlier = server.process.directory / "appendonlydir", tmp_path / "earlier"
    log, redis = open_embedded(tmp_path), [server.url, "inbox"]
    try:
        log.append([inbox_add("mia", number) for number in range(100)])
        with running(RUN, str(tmp_path), "1", *redis) as process:
            wait_for(lambda: _applied_in_redis(redis, "mia", log) == 100)
            server.process.stop()
            copytree(kept, earlier)
            server.process.start()
            log.append([inbox_add("mia", number) for number in range(100, 200)])
            wait_for(lambda: _applied_in_redis(redis, "mia", log) == 200)
            server.process.kill()
            rmtree(kept)
            copytree(earlier, kept)
            server.process.start()
            log.append([inbox_add("mia", 200)])
            assert process.wait(60) != 0, "it goes on over rows of another commit"
        with running(RUN, str(tmp_path), "1", *redis) as process:
            wait_for(lambda: _applied_in_redis(redis, "mia", log) == 201)
            drain(process)
    finally:
        server.stop()


def test_a_record_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    log = open_embedded(tmp_path)
    group = key_group("mia")
    poison = record("inbox", "inbox/1+json", {"op": "dance", "user": "mia"}, group=group, seq=("d", 1, 0))
    nameless = inbox_add("mia", 2)._replace(headers=(("schema", b"inbox/1+json"),))
    log.append([inbox_add("mia", 0), poison, nameless, inbox_add("mia", 3)])
    reader = RocksInboxReader(tmp_path / DIRECTORY, PARTITIONS, tmp_path / "secondary")
    with running(RUN, str(tmp_path), "1") as process:
        wait_for(lambda: reader.unread("mia") == 2)
        drain(process)
    letters = [orjson.loads(each.value) for each in read_all(log, "dead_letters")]
    assert [letter["source"][2] for letter in letters] == [1, 2]
    assert letters[0]["error"].startswith("inbox: Invalid enum value")
    reader.close()
    log.close()
