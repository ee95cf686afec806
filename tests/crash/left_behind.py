"""What a run left behind, read from the outside: topics, P0's decision log, the archive, inboxes, providers' journals.

Nothing here judges. Topics are read by TOPICS.md, record by record; P0's decision log by
`state/transactional/store.py`.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from helpers.rows import rows_of

from connectors.archive.ledger import LedgerQuery, LedgerReader
from connectors.log.interface import Log, Record
from flows.config.settings import Settings, load_settings
from flows.process.directories import LEDGER as ARCHIVE_DIRECTORY
from flows.process.inboxes import inbox_reader
from flows.process.opening import open_configured_log

Line = dict[str, Any]
TAKEN = (200, 201, 250)
"""What a provider answers when it took a message (`connectors/sandbox/journal.py`)."""
PROVIDERS = ("apns", "twilio", "smtp")


class P0Decision(NamedTuple):
    """One row of P0's decision log."""

    lane: int
    offset: int
    now: int
    event: Line
    used: dict[str, int]
    """Next offsets of what the decision read, by `topic/partition`."""


@contextmanager
def log_of(directory: Path, environment: Mapping[str, str]) -> Iterator[tuple[Settings, Log]]:
    """The settings of a system and its log, opened for reading."""
    settings = load_settings(data_dir=directory, environment=environment)
    log = open_configured_log(settings)
    try:
        yield settings, log
    finally:
        log.close()


class Follower:
    """Reads a topic as it grows."""

    def __init__(self, log: Log, topic: str) -> None:
        self._log, self._topic = log, topic
        self._reader = log.reader({place: log.begin_offset(*place) for place in self._places()})

    def _places(self) -> list[tuple[str, int]]:
        return [(self._topic, partition) for partition in range(self._log.partitions(self._topic))]

    def more(self) -> list[Record]:
        """Everything up to the present ends that was not given before."""
        ends = {place: self._log.end_offset(*place) for place in self._places()}
        records: list[Record] = []
        while any(self._reader.position()[place] < end for place, end in ends.items()):
            records += self._reader.poll(10_000, timedelta(milliseconds=200))
        return records

    def close(self) -> None:
        self._reader.close()


def read_topic(log: Log, topic: str) -> list[Record]:
    """All that the topic holds, in order per partition."""
    follower = Follower(log, topic)
    try:
        return sorted(follower.more(), key=lambda record: (record.partition, record.offset))
    finally:
        follower.close()


def headers_of(record: Record) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def sequence_of(record: Record) -> tuple[str, int, int]:
    """(source, offset, ordinal) of header `seq`."""
    source, _, offset, ordinal = headers_of(record)["seq"].split(":")
    return source, int(offset), int(ordinal)


def last_states(records: list[Record]) -> dict[tuple[str, ...], Line]:
    """By TOPICS.md: of each decision, emission and delivery the state with the highest `seq`, with its source."""
    found: dict[tuple[str, ...], tuple[tuple[int, int], Line]] = {}
    for record in records:
        kind = headers_of(record)["schema"].partition("/")[0]
        if kind not in ("decision", "emission", "delivery", "slice"):
            continue
        source, *place = sequence_of(record)
        version = (place[0], place[1])
        for row in rows_of(record):
            line = row | {"source": source}
            key = key_of(line)
            if key not in found or found[key][0] < version:
                found[key] = (version, line)
    return {key: line for key, (_, line) in found.items()}


def key_of(line: Line) -> tuple[str, ...]:
    """What a record of the ledger is the state of."""
    if line["kind"] == "decision":
        return "decision", line["event_id"], line["user"]
    if line["kind"] == "emission":
        return "emission", line["emission_id"]
    return "delivery", line["emission_id"], line["channel"], line["device"]


def archived(directory: Path, log: Log) -> dict[tuple[str, ...], Line]:
    """The same from the product's own query: parts of the archive and the topic's tail."""
    query = LedgerQuery(kinds=("decision", "emission", "delivery"))
    records = LedgerReader(directory / ARCHIVE_DIRECTORY, log).records(query)
    return {key_of(record): record for record in records}


def p0_decisions(directory: Path) -> list[P0Decision]:
    """P0's decision log, in order per lane."""
    decisions = []
    for path in sorted((directory / "state" / "transactional").glob("p*/lane.sqlite")):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            rows = connection.execute('SELECT "offset", now, event, used FROM decision ORDER BY "offset"').fetchall()
        finally:
            connection.close()
        lane = int(path.parent.name.removeprefix("p"))
        decisions += [P0Decision(lane, row[0], row[1], json.loads(row[2]), json.loads(row[3])) for row in rows]
    return decisions


def journal(directory: Path, provider: str) -> list[Line]:
    """What a sandbox provider saw; a line that a kill cut off is none."""
    path = directory / "sandbox" / f"{provider}.ndjson"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def inbox_rows(directory: Path, log: Log, users: list[str]) -> list[Line]:
    """Every row of these users, read ones too, as a simulation prints them."""
    reader = inbox_reader(directory, log, None)
    lines = []
    try:
        for user in users:
            before = None
            while True:
                page = reader.page(user, 100, before)
                lines += [
                    {
                        "kind": "inbox", "user": user, "type": row.type, "object": row.object,
                        "first_event_id": row.first_event_id, "count": row.count, "actors": list(row.actors),
                        "at": row.at,
                    }
                    for row in page.rows
                ]  # fmt: skip
                before = page.next
                if before is None:
                    break
    finally:
        reader.close()
    return lines
