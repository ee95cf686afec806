"""What the rows of a fan-out cost the inbox, one by one and as slices: `python -m bench.inbox`.

Both ways apply the same records to a store on RocksDB, a commit for each, in one run: batches of 2 500 and 10 000 users
of one key group, which has 41 666 (10 million users in 240). Then a million rows in 250 slices are read in pages. Last,
the same work goes to a store on RocksDB and to one in a Redis of this machine that writes its log each second; and rows
go to users who have many already.
"""

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from rocksdict import Options, Rdict

from bench.figures import record
from connectors.inbox.options import InboxRedisOptions
from connectors.inbox.reader import TableInboxReader
from connectors.inbox.redis import RedisInboxReader, RedisInboxStore
from connectors.inbox.rocksdb import RocksInboxReader, RocksInboxStore, shard_path
from connectors.inbox.store import TableInboxStore
from infra.services import start_redis
from operators.inbox_shard import InboxShard, ShardConfig
from operators.render import render_row
from state.inbox.values import InboxRow
from state.model.arrow import batch_bytes, coded, same
from state.model.envelope import OutputHeader
from state.model.inbox import (
    INBOX_SLICE,
    AddedSlice,
    InboxOperation,
    StoredOperation,
    decode_at_once,
    decode_operations,
)
from state.model.keys import key_group

GROUP = 7
Decode = Callable[[str, bytes], list[StoredOperation] | AddedSlice]


def users_of_group(wanted: int) -> list[str]:
    found: list[str] = []
    number = 0
    while len(found) < wanted:
        if key_group(user := f"user{number:08}") == GROUP:
            found.append(user)
        number += 1
    return found


def fan_out(number: int, users: list[str]) -> bytes:
    """A batch as decide writes it."""
    row: dict[str, Any] = {
        "op": "add", "type": "new_post", "object": f"post{number}", "actor": f"actor{number}",
        "event_id": f"ev_{number:032}", "windowed": False, "at": 1_700_000_000_000 + number, "place": number,
        "priority": "P1", "payload": '{"title":"a post with a title of usual length"}',
    }  # fmt: skip
    columns = {name: same(value, len(users), pa.array([value]).type) for name, value in row.items()}
    return batch_bytes({"user": pa.array(users), **columns})


def in_languages(number: int, users: list[str], languages: list[str | None]) -> bytes:
    """The same in the form of today, to users of these languages in turn."""
    operation = InboxOperation(
        op="add", user="", type="new_post", object=f"post{number}", actor=f"actor{number}", event_id=f"ev_{number:032}",
        at=1_700_000_000_000 + number, place=number, priority="P1",
        payload={"title": "a post with a title of usual length"}, language=languages[0],
    )  # fmt: skip
    columns: dict[str, Any] = {"user": pa.array(users)}
    if len(languages) > 1:
        codes = np.arange(len(users)) % len(languages)
        columns["language"] = coded(codes, languages)
        operation = msgspec.structs.replace(operation, language=None)
    return batch_bytes(columns, operation)


def apply(directory: Path, records: list[bytes], decode: Decode, schema: str = "inbox/1+arrow") -> float:
    """Seconds of processor."""
    store = RocksInboxStore(shard_path(directory, 0))
    shard = InboxShard(store, store.marks(), store.totals(), slices=store)
    began = time.process_time()
    for number, value in enumerate(records):
        shard.apply(OutputHeader("d", GROUP, number, 0), decode(schema, value))
        store.commit(shard.take_commit(number + 1))
        shard.committed()
    used = time.process_time() - began
    store.close()
    return used


def bytes_on_disk(directory: Path) -> int:
    """Of its tables, once everything is in them."""
    path = shard_path(directory, 0)
    database = Rdict(str(path), Options(raw_mode=True))
    database.flush()
    database.compact_range(None, None)
    database.close()
    return sum(table.stat().st_size for table in path.glob("*.sst"))


def compare(users: list[str], size: int, times: int) -> None:
    """The same records both ways; at first in a directory that nobody measures."""
    records = [fan_out(number, random.sample(users, size)) for number in range(times)]
    found: dict[str, tuple[float, float]] = {}
    ways: dict[str, Decode] = {"slices": decode_at_once, "rows": decode_operations}
    for way, decode in ways.items():
        with_rows = records if way == "slices" else records[: max(1, times // 8)]
        for _ in range(2):
            directory = Path(tempfile.mkdtemp())
            used = apply(directory, with_rows, decode)
            each = size * len(with_rows)
            found[way] = used / each * 1e6, bytes_on_disk(directory) / each
            shutil.rmtree(directory)
    work = f"fan-outs to {size} users of a group, a commit each"
    for way, (us, disk) in found.items():
        record("inbox", f"{way}_us_{size}", us, "us/recipient", work=work, n=size * times)
        record("inbox", f"{way}_disk_{size}", disk, "B/recipient", work=work, n=size * times)
    against = "the same rows one by one"
    record("inbox", f"ratio_{size}", found["rows"][0] / found["slices"][0], "x", work=work, against=against)


def compare_languages(users: list[str], size: int, times: int) -> None:
    """What it costs that recipients read different languages; at first in a directory that nobody measures."""
    work = f"fan-outs to {size} users of a group, a commit each"
    ways: dict[str, list[str | None]] = {
        "one_language": [None],
        "three_languages": [None, "de", "fr"],
        "twenty_locales": [None, *(f"en-{letter}A" for letter in "ABCDEFGHIJKLMNOPQRS")],
    }
    for name, languages in ways.items():
        records = [in_languages(number, random.sample(users, size), languages) for number in range(times)]
        each, used, disk = size * times, 0.0, 0.0
        for _ in range(2):
            directory = Path(tempfile.mkdtemp())
            used = apply(directory, records, decode_at_once, INBOX_SLICE)
            disk = bytes_on_disk(directory) / each
            shutil.rmtree(directory)
        record("inbox", f"{name}_us_{size}", used / each * 1e6, "us/recipient", work=work, n=each)
        record("inbox", f"{name}_disk_{size}", disk, "B/recipient", work=work, n=each)


def say(times: int) -> None:
    """What the text of a row costs whoever reads it."""
    payload = b'{"title":"a post with a title of usual length"}'
    row = InboxRow("new_post", "post1", "ev_1", 1, ("actor1",), 1, False, payload, 1, "de")
    render_row(row, "u1")
    began = time.process_time()
    for _ in range(times):
        render_row(row, "u1")
    record("inbox", "text_of_a_row", (time.process_time() - began) / times * 1e6, "us/row", work="rendered", n=times)


def read(users: list[str], slices: int, size: int) -> None:
    """Pages of users in the midst of a group with these slices."""
    directory = Path(tempfile.mkdtemp())
    records = [fan_out(number, random.sample(users, size)) for number in range(slices)]
    seconds = apply(directory, records, decode_at_once)
    work, n = f"{slices} slices of {size} users", slices * size
    record("inbox", "million_us", seconds / n * 1e6, "us/recipient", work=work, n=n)
    reader = RocksInboxReader(directory, 1, directory / "secondary")
    asked = random.choices(users, k=3_000)
    for name, ask in (("page_of_20", lambda user: reader.page(user, 20)), ("unread", reader.unread)):
        took = []
        for user in asked:
            began = time.perf_counter()
            ask(user)
            took.append((time.perf_counter() - began) * 1e3)
        p50, p99 = np.percentile(took[500:], [50, 99])
        record("inbox", f"{name}_p50", p50, "ms", work=work, n=len(took))
        record("inbox", f"{name}_p99", p99, "ms", work=work, n=len(took))
    reader.close()
    record("inbox", "million_disk", bytes_on_disk(directory) / n, "B/recipient", work=work, n=n)
    shutil.rmtree(directory)


def compare_stores(users: list[str], rows: int, slices: int) -> None:
    """Rows one by one as the flow commits them, then fan-outs to 4 000 users of the group, then pages of users."""
    server = start_redis("--appendonly", "yes")
    directory = Path(tempfile.mkdtemp())
    options = InboxRedisOptions(server.url)
    kinds: list[tuple[str, TableInboxStore, TableInboxReader]] = [
        ("rocksdb", RocksInboxStore(shard_path(directory, 0)), RocksInboxReader(directory, 1, directory / "secondary")),
        ("redis", RedisInboxStore(options, 0), RedisInboxReader(options, 1)),
    ]
    for name, store, reader in kinds:
        shard = InboxShard(store, {}, {}, slices=store)
        took = _single_rows(store, shard, users, rows)
        record("inbox", f"{name}_rows_per_s", rows / took, "rows/s", work="rows one by one, commits of 2 000", n=rows)
        began = time.perf_counter()
        for number in range(slices):
            value = fan_out(rows + number, random.sample(users, 4_000))
            shard.apply(OutputHeader("d", GROUP, rows + number, 0), decode_at_once("inbox/1+arrow", value))
            store.commit(shard.take_commit(number))
            shard.committed()
        took, n = time.perf_counter() - began, slices * 4_000
        record("inbox", f"{name}_slices_us", took / n * 1e6, "us/recipient", work=f"{slices} slices of 4 000", n=n)
        took, n = _single_rows(store, shard, users, 4_000, begin=2 * rows), 4_000
        record("inbox", f"{name}_slice_users_per_s", n / took, "rows/s", work="rows of users in 10 slices each", n=n)
        times = [_page_ms(reader, user, 20) for user in random.choices(users, k=3_000)]
        for figure, value in zip(("p50", "p99"), np.percentile(times[500:], [50, 99]), strict=True):
            record("inbox", f"{name}_page_of_20_{figure}", value, "ms", work="pages of 20 rows", n=len(times))
        reader.close()
        store.close()
    server.stop()
    shutil.rmtree(directory)


def _reply(number: int, user: str) -> StoredOperation:
    return StoredOperation(
        op="add", user=user, type="reply", object=f"post{number}", actor=f"actor{number}", place=number,
        event_id=f"ev_{number:032}", at=1_700_000_000_000 + number,
        payload=msgspec.Raw(b'{"text":"a reply with a text of usual length"}'),
    )  # fmt: skip


def _like(number: int, user: str) -> StoredOperation:
    """Of one of three posts."""
    liked = msgspec.structs.replace(_reply(number, user), type="like", object=f"post{number % 3}")
    return msgspec.structs.replace(liked, windowed=True)


def _unlike(number: int, user: str) -> StoredOperation:
    return StoredOperation(op="retract", user=user, type="like", object=f"post{number % 3}", actor="nobody")


def _read(number: int, user: str) -> StoredOperation:
    return StoredOperation(op="read", user=user, up_to=1_700_000_000_000 + number)


def _single_rows(
    store: TableInboxStore, shard: InboxShard, users: list[str], rows: int, begin: int = 0,
    operation: Callable[[int, str], StoredOperation] = _reply,
) -> float:  # fmt: skip
    """Seconds."""
    began = time.perf_counter()
    for first in range(begin, begin + rows, 500):
        to = [random.choice(users) for _ in range(500)]
        operations = [operation(number, user) for number, user in enumerate(to, start=first)]
        store.prepare(shard.missing(to), shard.joined(operations))
        for number, op in enumerate(operations, start=first):
            shard.apply(OutputHeader("d", GROUP, number, 0), [op])
        if first % 2_000 == 1_500:
            store.commit(shard.take_commit(first))
            shard.committed()
    return time.perf_counter() - began


def one_more(users: list[str], rows: int) -> None:
    """A row for users who have so many, whose rows are in memory, or are read from the store each time."""
    directory = Path(tempfile.mkdtemp())
    store = RocksInboxStore(shard_path(directory, 0))
    held, count = len(users) * rows, 3_000
    shard = InboxShard(store, {}, {}, ShardConfig(cached_rows_max=2 * held), slices=store)
    _single_rows(store, shard, users, held)
    for name, bound in (("in_memory", 2 * held), ("stored", 0)):
        fresh = InboxShard(store, store.marks(), store.totals(), ShardConfig(cached_rows_max=bound), slices=store)
        used = 0.0
        for _ in range(3):  # at first rows come into memory
            began = time.process_time()
            _single_rows(store, fresh, users, count, held)
            held += count
            used = (time.process_time() - began) / count * 1e6
        record("inbox", f"{name}_us_{rows}_rows", used, "us/row", work=f"a row for users with {rows} each", n=count)
    fresh = InboxShard(store, store.marks(), store.totals(), ShardConfig(cached_rows_max=0), slices=store)
    for name, operation in (("join", _like), ("withdrawal", _unlike), ("read", _read)):
        used = 0.0
        for _ in range(3):  # at first rows are begun, or many are read
            began = time.process_time()
            _single_rows(store, fresh, users, count, held, operation)
            held += count
            used = (time.process_time() - began) / count * 1e6
        work = f"of users with {rows} rows each, which are not in memory"
        record("inbox", f"stored_{name}_us_{rows}_rows", used, "us", work=work, n=count)
    store.close()
    shutil.rmtree(directory)


def _page_ms(reader: TableInboxReader, user: str, size: int) -> float:
    began = time.perf_counter()
    reader.page(user, size)
    return (time.perf_counter() - began) * 1e3


def main(slices: int = 250) -> None:
    random.seed(1)
    users = users_of_group(41_666)
    compare(users, 2_500, 40)
    compare(users, 10_000, 16)
    compare_languages(users, 10_000, 16)
    say(20_000)
    read(users, slices, 4_000)
    compare_stores(users, 40_000, 100)
    for rows in (10, 50, 200):
        one_more(users[:1_000], rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
