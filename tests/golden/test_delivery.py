"""Bytes that outlive a release: what is stored or appended today must be read by every later version."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from helpers.histories import fold
from helpers.places import GOLDEN

from connectors.log.interface import NewRecord
from connectors.providers.email.message import message_id
from connectors.providers.push.apns import apns_id
from connectors.providers.sms.twilio import message_key
from flows.steps.transactional.outputs import pack_records, unpack_records
from state.deliver.shown import ShownAt, ShownPush, about_digest, decode_shown, encode_shown
from state.deliver.store import PARTS, LaneCommit, SendingStore, key_digest
from state.model.delivery import ATTEMPT, WITHDRAWAL, decode_to_deliver, delivery_key
from state.transactional.store import TransactionalStore

BYTES = GOLDEN / "delivery"
KEY = delivery_key("em_0123456789abcdef", "u1", "push", "d1")


def forget(store: SendingStore, now: int) -> int:
    return sum(store.forget_sent(now, part) for part in range(PARTS))


NEAR, ABOUT_NEAR, ABOUT = "818a03cc", "3de94d97", "595a1e95cb2a831c074f011a59c20bbf"


@pytest.mark.parametrize(("store", "name"), [(SendingStore, "deliver_lane_1"), (TransactionalStore, "p0_lane_2")])
def test_the_lanes_files_have_the_tables_of_their_version(tmp_path: Path, store: type, name: str) -> None:
    path = tmp_path / "lane.sqlite"
    store(path).close()
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    assert "\n".join(row[0] for row in rows) + "\n" == (BYTES / f"{name}.sql").read_text()


def test_a_lane_from_before_withdrawals_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lane.sqlite"
    SendingStore(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE shown")
    store, at = SendingStore(path), ShownAt(b"a" * 16, "d1")
    assert store.shown(at.about) == {}
    shown = ShownPush("em_1", "e1", "d1", 7, 9_000, (("e1", "ann"), ("", None)))
    store.commit(LaneCommit({}, {}, {}, {}, {}, (), 1_000, shown={at: shown}))
    forget(store, 8_999)
    assert store.shown(at.about) == {at: shown}
    written = "a4656d5f31a26531a2643107cd23289292a26531a3616e6e92a0c0"
    assert encode_shown(shown) == bytes.fromhex(f"98{written}c0c2")
    for earlier in (f"97{written}c0", f"96{written}"):
        assert decode_shown(bytes.fromhex(earlier)) == shown, "as earlier releases wrote it"
    store.commit(LaneCommit({}, {}, {}, {}, {}, (), 1_000, shown={at: None, ShownAt(at.about, "d2"): shown}))
    assert list(store.shown(at.about)) == [ShownAt(at.about, "d2")]
    forget(store, 9_000)
    assert store.shown(at.about) == {}


def test_rows_that_earlier_releases_wrote_are_found_until_they_are_over(tmp_path: Path) -> None:
    path, day = tmp_path / "lane.sqlite", 86_400_000
    SendingStore(path).close()
    key, about = key_digest(KEY), about_digest("u1", "like", "o1")
    shown = ShownPush("em_1", "e1", "d1", 7, 9_000, (("e1", "ann"),))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO sent VALUES (?, ?)", (bytes.fromhex("8dcbc6d75ea5729db193e82c13e24470"), day))
        connection.execute("UPDATE meta SET value = 65536 + ? WHERE name = 'sent_sum'", (day % 65_536,))
        for screen in ("d1", "d2"):
            row = (bytes.fromhex(ABOUT), screen, 9_000, encode_shown(shown))
            connection.execute("INSERT INTO shown VALUES (?, ?, ?, ?)", row)
    store, other = SendingStore(path), key_digest(KEY.replace("d1", "d2"))
    assert store.sent_among([key, other], day - 1) == {key}
    assert store.sent_among([key, other], day) == set()
    first, second = ShownAt(about, "d1"), ShownAt(about, "d2")
    assert store.shown(about) == {first: shown, second: shown}
    newer = ShownPush("em_2", "e2", "d1", 8, 9_000, (("e2", "ann"),))
    store.commit(LaneCommit({}, {}, {}, {}, {}, [], 1_000, shown={first: newer, second: None}))
    assert store.shown(about) == {first: newer}
    store.commit(LaneCommit({}, {}, {}, {}, {}, [], 1_000, shown={first: None}))
    assert store.shown(about) == {}
    store.close()


@pytest.mark.parametrize("user", ["u1", "u2", "u3", "u4"])
def test_a_row_of_an_earlier_release_that_is_over_hides_none_of_now(tmp_path: Path, user: str) -> None:
    path = tmp_path / "lane.sqlite"
    SendingStore(path).close()
    at = ShownAt(about_digest(user, "like", "o1"), "d1")
    over, now = (ShownPush(f"em_{until}", "e1", "d1", 7, until, (("e1", "ann"),)) for until in (9_000, 99_000))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO shown VALUES (?, 'd1', 9000, ?)", (at.about[4:], encode_shown(over)))
    with contextlib.closing(SendingStore(path)) as store:
        store.commit(LaneCommit({}, {}, {}, {}, {}, [], 10_000, shown={at: now}))
        assert store.shown(at.about) == {at: now}


def test_a_file_of_a_newer_version_is_refused_and_a_damaged_one_named(tmp_path: Path) -> None:
    from state.model.errors import StateDamagedError, StateVersionError

    for store in (SendingStore, TransactionalStore):
        path = tmp_path / store.__name__
        store(path).close()
        connection = sqlite3.connect(path)
        connection.execute("UPDATE meta SET value = 3 WHERE name = 'version'")
        connection.commit()
        connection.close()
        with pytest.raises(StateVersionError):
            store(path)
        path.write_bytes(b"no database" * 1000)
        with pytest.raises(StateDamagedError):
            store(path)


def test_attempts_of_version_1_fold_to_what_they_meant() -> None:
    records = [ATTEMPT.decode(line) for line in (BYTES / "attempts_1.ndjson").read_bytes().splitlines()]
    histories = fold(records)
    assert {key: (found.outcome, found.attempts, found.open) for key, found in histories.items()} == {
        "em_1/u1/push/d1": ("DELIVERED", 2, False),
        "em_1/u1/push/d2": ("FELL_BACK", 1, False),
        "em_2/u2/email/m": (None, 1, True),
        "em_3/u3/push/d1": ("EXPIRED", 0, False),
    }
    assert histories["em_1/u1/push/d2"].gone_at == 1_700_000_000_000


def test_emissions_of_version_1_are_understood() -> None:
    (emission,) = decode_to_deliver("emission/1+json", (BYTES / "emission_1.json").read_bytes())
    assert (emission.user, emission.devices[0].address, emission.rest[0].channel) == ("u1", "t" * 8, "email")


def test_withdrawals_of_version_1_are_understood() -> None:
    asked = WITHDRAWAL.decode((BYTES / "withdrawal_1.json").read_bytes())
    assert (asked.event_id, asked.user, asked.type, asked.object, asked.actor) == ("r1", "u1", "like", "photo1", "ann")
    assert [device.address for device in asked.devices] == ["a1"]


def test_names_at_the_providers_never_change() -> None:
    """A resend after an upgrade must carry the id of the send before it."""
    assert KEY == "em_0123456789abcdef/u1/push/d1"
    assert apns_id(KEY) == "b2812a7a-4fd4-8712-a6fb-152482d8e18c"
    assert message_key(KEY) == "8dcbc6d75ea5729db193e82c13e24470"
    assert message_id(KEY, "x.example") == "<8dcbc6d75ea5729db193e82c13e24470427e9305@x.example>"
    assert key_digest(KEY).hex() == NEAR + "8dcbc6d75ea5729db193e82c13e24470"
    assert about_digest("u1", "like", "o1").hex() == ABOUT_NEAR + ABOUT
    assert about_digest("u1", "like", None).hex() == "5bc711f0d151466f70098c8909c469ab4c747fce"


def test_a_lane_loads_what_it_committed(tmp_path: Path) -> None:
    store = SendingStore(tmp_path / "lane.sqlite")
    assert store.load().fresh
    place = ("deliver.push", 1)
    store.commit(
        LaneCommit(
            {place: 9},
            {place: {3, 7}},
            {1: 5},
            {("deliver.push/1", "d", 7): (4, 2)},
            {7: (10, 1)},
            [b"k" * 16],
            1_000,
            attempts_taken={1: 8},
        )
    )
    store.close()
    again = SendingStore(tmp_path / "lane.sqlite")
    state = again.load()
    assert not state.fresh
    assert (state.next_offsets, state.open_offsets) == ({place: 9}, {place: frozenset({3, 7})})
    assert (state.attempts_from, state.marks) == ({1: 5}, {("deliver.push/1", "d", 7): (4, 2)})
    assert (state.totals, state.attempts_taken) == ({7: (10, 1)}, {1: 8})
    day = 86_400_000
    assert again.sent_among([b"k" * 16, b"l" * 16], 1_000 + day - 1) == {b"k" * 16}
    assert again.sent_among([b"k" * 16], 1_000 + day) == set()
    assert forget(again, 1_000 + day) == 1


def test_outputs_stored_with_a_decision_come_back_as_they_were() -> None:
    record = NewRecord(
        "ledger", 3, b"u1", b'{"kind":"decision"}', (("schema", b"decision/1+json"), ("seq", b"t:1:2:0"))
    )
    assert unpack_records(pack_records([record])) == [record]
