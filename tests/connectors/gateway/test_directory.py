"""The gateway's table of what is true now: files of earlier versions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from connectors.gateway.directory import Directory, StoredPreference
from connectors.gateway.records import endpoint_record, gone_record, preference_record
from connectors.log.interface import Record

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
