"""The gateway's table of what is true now: files of earlier versions."""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path

import pytest

from connectors.gateway.directory import Directory, StoredPreference
from connectors.gateway.records import endpoint_record, gone_record, preference_record
from connectors.log.interface import NewRecord, Record

_OF_VERSION_2 = """
CREATE TABLE position (topic TEXT, part INTEGER, next INTEGER, PRIMARY KEY (topic, part)) WITHOUT ROWID;
CREATE TABLE preference (user TEXT PRIMARY KEY, place INTEGER, document BLOB) WITHOUT ROWID;
CREATE TABLE endpoint (
    user TEXT, channel TEXT, id TEXT, place INTEGER, address_hash BLOB, platform TEXT, active INTEGER,
    registered_at INTEGER, PRIMARY KEY (user, channel, id)
) WITHOUT ROWID;
CREATE TABLE segment (name TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO preference VALUES ('ann', 7, '{"master":false}');
INSERT INTO position VALUES ('preferences', 0, 8);
INSERT INTO position VALUES ('endpoints', 0, 5);
"""


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_before_links_goes_on(tmp_path: Path, version: int) -> None:
    path = tmp_path / "directory.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(_OF_VERSION_2 + f"PRAGMA user_version = {version};")
    connection.close()
    directory = Directory(path, lambda _channel, _platform, address: address)
    assert directory.preference("ann") == StoredPreference(7, {"master": False}, {})
    assert directory.position("preferences", 0) == 8
    assert directory.position("endpoints", 0) == (5 if version == 2 else None)
    new = preference_record("ann", {"unsubscribed": {"email": ["x"]}}, {"email": ["x"]}, lambda _topic: 1)
    directory.apply([Record(new.topic, 0, 9, 0, new.key, new.value, new.headers)])
    directory.close()
    gone = gone_record("ann", "push", "d", 5, lambda _topic: 1)
    again = Directory(path, lambda _channel, _platform, address: address)
    assert again.preference("ann") == StoredPreference(9, {"unsubscribed": {"email": ["x"]}}, {"email": ["x"]})
    assert again.retired("ann") == []
    new = endpoint_record("ann", "push", "d", {"address": "a"}, 5, lambda _topic: 1)
    again.apply([Record(each.topic, 0, 10, 0, each.key, each.value, each.headers) for each in (new, gone)])
    assert [cause for _, cause in again.retired("ann")] == ["gone"]
    again.close()


def test_a_file_of_before_causes_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(_OF_VERSION_2 + "ALTER TABLE preference ADD COLUMN by_link BLOB;")
        connection.execute("INSERT INTO endpoint VALUES ('ann', 'push', 'd', 3, x'00', 'ios', 0, 5)")
        connection.execute("INSERT INTO endpoint VALUES ('ann', 'push', 'e', 4, x'01', 'ios', 1, 5)")
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    directory = Directory(path, lambda _channel, _platform, address: address)
    assert directory.retired("ann") == [], "nobody can tell why"
    assert [each.id for each in directory.devices("ann")] == ["e"]
    assert directory.position("endpoints", 0) == 5
    directory.close()


DAY_MS = 86_400_000


def of_ann(token: str, at: int, first: int | None = None) -> NewRecord:
    return endpoint_record("ann", "push", "d", {"address": token}, at, lambda _topic: 1, first)


def test_an_address_keeps_its_first_registration(tmp_path: Path) -> None:
    """Of what is gone within a day, only that counts which was registered for the first time that day."""
    directory, offsets = Directory(tmp_path / "directory.sqlite", lambda _channel, _platform, address: address), count()

    def take(new: NewRecord, at: int) -> None:
        directory.apply([Record(new.topic, 0, next(offsets), at, new.key, new.value, new.headers)])

    def gone(at: int) -> dict[str, int]:
        take(gone_record("ann", "push", "d", at, lambda _topic: 1), at)
        return dict(directory.take_young_gone())

    assert directory.first_registered("ann", "push", "d", "one") is None
    take(of_ann("one", DAY_MS), DAY_MS)
    assert directory.first_registered("ann", "push", "d", "one") == DAY_MS
    assert directory.first_registered("bob", "push", "phone", "one") == DAY_MS, "one that moves is not new"
    assert directory.first_registered("ann", "push", "d", "two") is None
    take(of_ann("one", 3 * DAY_MS, DAY_MS), 3 * DAY_MS)
    assert directory.first_registered("ann", "push", "d", "one") == DAY_MS
    assert gone(3 * DAY_MS + 1) == {}
    assert directory.first_registered("ann", "push", "d", "one") == DAY_MS, "also where it is gone"
    take(of_ann("two", 4 * DAY_MS), 4 * DAY_MS)
    assert gone(5 * DAY_MS - 1) == {"push": 1}
    assert gone(5 * DAY_MS - 1) == {}, "it is gone already"
    directory.close()
