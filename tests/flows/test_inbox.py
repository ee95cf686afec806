"""The inbox flow in processes of its own, killed at any instant: rows stay exact, counts reach the ledger."""

import random
from pathlib import Path

import orjson
import pytest
from helpers.inbox_flow import RUN, last_counts, read_all
from helpers.programs import drain, running
from helpers.records import PARTITIONS, inbox_add, open_embedded, record
from helpers.waiting import wait_for

from connectors.inbox.rocksdb import RocksInboxReader
from flows.process.directories import INBOX as DIRECTORY
from state.model.keys import KEY_GROUPS, key_group


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_are_exact_after_kill_9(tmp_path: Path, workers: int) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    log = open_embedded(tmp_path)
    reader = RocksInboxReader(tmp_path / DIRECTORY, PARTITIONS, tmp_path / "secondary")

    def applied() -> int:
        return sum(reader.audit(group).items_counted for group in range(KEY_GROUPS))

    fed = 0
    for _ in range(3):
        batch = [inbox_add(f"u{number % 90}", number) for number in range(fed, fed + 2000)]
        fed += len(batch)
        repeated = dice.sample(batch, 200)
        with running(RUN, str(tmp_path), str(workers)):
            for first in range(0, len(batch), 300):
                log.append(batch[first : first + 300])
            log.append(sorted(repeated, key=lambda each: int(orjson.loads(each.value)["event_id"][1:])))
            enough = fed - len(batch) + dice.randrange(len(batch))
            wait_for(lambda enough=enough: applied() >= enough)
    with running(RUN, str(tmp_path), str(workers)) as process:
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
