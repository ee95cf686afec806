"""What is heard after a send: each question is answered once, whatever comes late, twice or out of order."""

import random
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import pytest
from helpers.records import PARTITIONS, decision, emission, open_embedded

from connectors.archive.ledger import LedgerReader
from connectors.archive.parquet import ArchiveWriter
from connectors.log.interface import NewRecord
from connectors.outcomes import outcome_record
from flows.process.directories import ARCHIVE
from flows.process.directories import LEDGER as DIRECTORY
from state.ledger import packed_ledger
from state.model.durations import HOUR_MS
from state.model.keys import emission_id


def heard(outcome: str, user: str = "mia", at: int = 1, **fields: str) -> NewRecord:
    given = {"emission_id": "em1", "channel": "sms", "device": "phone", "provider": "twilio"} | fields
    return outcome_record(outcome, user=user, at=at, partitions=lambda _topic: PARTITIONS, **given)


DECIDED = [
    decision("mia", "e1", "EMITTED", ("d", 1, 0), emission_id="em1"),
    emission("mia", "em1", "e1", 1, ("d", 1, 0)),
]
OF_ANOTHER = heard("delivered", emission_id="em9")


@pytest.mark.parametrize("order", list(permutations(("delivered", "undelivered", "delivered", "bounced"))))
def test_the_first_receipt_holds_and_a_bounce_stands_beside_it(order: tuple[str, ...], tmp_path: Path) -> None:
    log = open_embedded(tmp_path)
    log.append([*(heard(outcome, at=number) for number, outcome in enumerate(order)), OF_ANOTHER, *DECIDED])
    first = next(outcome for outcome in order if outcome != "bounced")
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    assert reader.progress("e1").heard == {first: 1, "bounced": 1}
    told = [each.record for each in reader.history("e1", "mia") if each.record["kind"] == "outcome"]
    assert {each["outcome"]: each["at"] for each in told} == {
        first: order.index(first),
        "bounced": order.index("bounced"),
    }
    log.close()


def test_of_a_large_audience_the_emissions_that_the_event_began_count(tmp_path: Path) -> None:
    log, users = open_embedded(tmp_path), [f"u{number}" for number in range(1_200)]
    ids = {user: emission_id(user, "like", "photo", "e1") for user in users}
    log.append([decision(user, "e1", "EMITTED", ("d", 1, n), emission_id=ids[user]) for n, user in enumerate(users)])
    log.append([heard("delivered", user, emission_id=ids[user]) for user in users[:700]])
    log.append([heard("delivered", "u1", emission_id=emission_id("u1", "like", "photo", "e2"))])
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    assert reader.progress("e1").heard == {"delivered": 700}
    assert reader.progress("e3").heard == {}
    log.close()


def test_counts_are_exact_over_log_parts_and_merged_hours(tmp_path: Path) -> None:
    log, chance = open_embedded(tmp_path), random.Random(60)
    users = [f"u{number}" for number in range(40)]
    said = [heard(outcome, user) for user in users for outcome in ("delivered", "opened")] * 3
    chance.shuffle(said)
    third = len(said) // 3
    log.append([decision(user, "e1", "EMITTED", ("d", 1, n), emission_id="em1") for n, user in enumerate(users)])
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    for number in range(3):
        log.append(said[number * third : (number + 1) * third])
        if number < 2:
            archive(tmp_path, reader)
    assert reader.progress("e1").heard == {"delivered": 40, "opened": 40}
    for partition in range(PARTITIONS):
        ArchiveWriter(tmp_path / ARCHIVE / "outcomes" / str(partition)).merge_hours(1_000 * HOUR_MS)
    assert reader.progress("e1").heard == {"delivered": 40, "opened": 40}
    log.close()


def archive(tmp_path: Path, reader: LedgerReader) -> None:
    """What track does with what is new."""
    log = open_embedded(tmp_path)
    for partition in range(PARTITIONS):
        writer = ArchiveWriter(tmp_path / ARCHIVE / "outcomes" / str(partition))
        tail = log.reader({("outcomes", partition): writer.offset})
        records = [each._replace(timestamp_ms=HOUR_MS) for each in tail.poll(1_000, timedelta())]
        tail.close()
        if records:
            writer.write(packed_ledger(records)[0], records[-1].offset + 1)
    log.close()
