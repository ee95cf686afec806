"""A slice of any size is records that the log takes: in parts by recipients, in halves by bytes, nobody twice."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from helpers.rows import rows_of

from connectors.log.interface import RECORD_MAX_BYTES, Record
from flows.steps.decide.outputs import OutputWriter
from flows.steps.decide.slice_outputs import PART_ROWS
from operators.decide import apply
from state.decide.group import GroupState
from state.ledger import ledger_table, records_of
from state.model.arrow import batch_table
from state.model.delivery import EMISSION_SLICE, ToDeliver, decode_to_deliver
from state.model.event import Event
from state.model.inbox import INBOX, INBOX_SLICE, AddedSlice, decode_at_once, decode_operations
from state.model.ledger import DECISION, EMISSION
from state.model.registry import load_registry
from state.model.work import EndpointWork, FollowWork, PreferenceWork, ProfileWork, SliceWork
from state.slices import SCHEMA as SLICE

NOW = 1_767_225_600_000


def _followed(users: int, devices: int, address: Callable[[], str] = lambda: "a" * 600) -> GroupState:
    state = GroupState(load_registry())
    for number in range(users):
        user = f"u{number}"
        apply(state, FollowWork(g=0, stamp=NOW, follower=user, followee="star", on=True), number)
        for device in range(devices):
            endpoint = EndpointWork(
                g=0, stamp=NOW, user=user, channel="push", id=f"d{device}", platform="ios",
                address=address(), registered_at=NOW,
            )  # fmt: skip
            apply(state, endpoint, number)
    return state


@pytest.mark.parametrize(("users", "devices", "parts"), [(2 * PART_ROWS + 7, 0, 3), (1_600, 10, 4)])
def test_every_part_is_taken_by_the_log(users: int, devices: int, parts: int) -> None:
    choose = random.Random(7)
    state = _followed(users, devices, lambda: choose.randbytes(600).hex())
    event = Event(
        event_id="e", type="new_post", priority="P1", fan_out_type="FOLLOWERS", sender_id="s", actor="star",
        object="o", payload={"title": "t"}, ttl_ms=21_600_000, ingested_at=NOW,
    )  # fmt: skip
    place = 1_000_000
    written = OutputWriter(0, 4).encode(state, apply(state, SliceWork(g=0, stamp=NOW, event=event), place), place)
    assert max(len(record.value) for record in written) < RECORD_MAX_BYTES
    sequences = [dict(record.headers)["seq"] for record in written]
    assert len(set(sequences)) == len(sequences)
    for topic, schema in (("ledger", b"slice/1+arrow"), ("deliver.push", b"emission/4+arrow")):
        records = [each for each in written if each.topic == topic and dict(each.headers)["schema"] == schema]
        if topic == "deliver.push" and not devices:
            assert not records
            continue
        assert len(records) == parts
        rows = [row for record in records for row in rows_of(record)]
        found = [row["user"] for row in rows if row.get("kind") != "emission"]
        assert sorted(found) == sorted(f"u{number}" for number in range(users))


def test_the_columns_of_a_batch_are_fields_of_the_struct_that_a_single_record_is() -> None:
    """What a column holds must fit too: a reader makes that struct of each row, or columns of the same types."""
    state = _followed(100, 1)
    event = Event(event_id="e", type="new_post", priority="P1", fan_out_type="FOLLOWERS", actor="star", ttl_ms=NOW)
    written = OutputWriter(0, 4).encode(state, apply(state, SliceWork(g=0, stamp=NOW, event=event), 1), 1)
    structs: dict[tuple[str, bytes], list[type[msgspec.Struct]]] = {
        ("ledger", SLICE): [DECISION.struct, EMISSION.struct],
        ("inbox", INBOX_SLICE.encode()): [INBOX.struct],
        ("deliver.push", EMISSION_SLICE.encode()): [ToDeliver],
    }
    found = {(each.topic, dict(each.headers)["schema"]): each for each in written}
    assert found.keys() == structs.keys()
    for key, record in found.items():
        rows = rows_of(record)
        for struct, row in zip(structs[key], (rows[0], rows[-1]), strict=False):
            names = {field.encode_name for field in msgspec.structs.fields(struct)}
            assert row.keys() <= names | {"kind"}
    ledger = [Record(each.topic, 0, 0, 0, *each[2:]) for each in written if each.topic == "ledger"]
    table, refused = ledger_table(ledger)
    assert (len(table), refused) == (200, [])
    assert len(decode_operations(INBOX_SLICE, found["inbox", INBOX_SLICE.encode()].value)) == 100
    at_once = decode_at_once(INBOX_SLICE, found["inbox", INBOX_SLICE.encode()].value)
    assert isinstance(at_once, AddedSlice), "the inbox keeps it once"
    assert len(decode_to_deliver(EMISSION_SLICE, found["deliver.push", EMISSION_SLICE.encode()].value)) == 100


def test_a_slice_says_its_recipients_languages_where_they_differ() -> None:
    state = _followed(100, 0)
    event = Event(event_id="e", type="new_post", priority="P1", fan_out_type="FOLLOWERS", actor="star", ttl_ms=NOW)

    def inbox(place: int) -> bytes:
        decided = apply(state, SliceWork(g=0, stamp=NOW, event=event), place)
        [record] = [each for each in OutputWriter(0, 4).encode(state, decided, place) if each.topic == "inbox"]
        return record.value

    for number in range(100):
        apply(state, ProfileWork(g=0, stamp=NOW, user=f"u{number}", locale="fr-CA", name=None), 500 + number)
    alike = decode_at_once(INBOX_SLICE, inbox(1_000))
    assert isinstance(alike, AddedSlice)
    assert ([part.operation.language for part in alike.parts()], len(alike)) == (["fr-CA"], 100)

    expected: dict[str, str | None] = {}
    for number, locale in enumerate(["de", "en-GB", None, "fr"] * 20):
        apply(state, ProfileWork(g=0, stamp=NOW, user=f"u{number}", locale=locale, name=None), 1_001 + number)
        expected[f"u{number}"] = locale
    expected |= {f"u{number}": "fr-CA" for number in range(80, 100)}
    value = inbox(2_000)
    assert {each.user: each.language for each in decode_operations(INBOX_SLICE, value)} == expected
    mixed = decode_at_once(INBOX_SLICE, value)
    assert isinstance(mixed, AddedSlice)
    assert (len(mixed), sorted(len(part) for part in mixed.parts())) == (100, [20] * 5)
    assert {each.user: each.language for each in mixed} == expected


def test_a_slice_has_room_for_any_number_of_languages() -> None:
    state = _followed(200, 0)
    expected = {f"u{number}": f"en-X{number}" for number in range(200)}
    for number, (user, locale) in enumerate(expected.items()):
        apply(state, ProfileWork(g=0, stamp=NOW, user=user, locale=locale, name=None), 500 + number)
    event = Event(event_id="e", type="new_post", priority="P1", fan_out_type="FOLLOWERS", actor="star", ttl_ms=NOW)
    decided = apply(state, SliceWork(g=0, stamp=NOW, event=event), 1_000)
    [record] = [each for each in OutputWriter(0, 4).encode(state, decided, 1_000) if each.topic == "inbox"]
    assert {each.user: each.language for each in decode_operations(INBOX_SLICE, record.value)} == expected


def test_the_ledger_says_of_a_slice_what_it_holds() -> None:
    """The table that is made of a slice is, row by row, what TOPICS.md says of it."""
    state = _followed(100, 1)
    for number in range(0, 100, 3):
        preference = {"types": {"new_post": {"enabled": number % 2 == 0}}, "frequency_cap": {"max_per_day": 0}}
        apply(state, PreferenceWork(g=0, stamp=NOW, user=f"u{number}", doc=preference), 300 + number)
    event = Event(event_id="e", type="new_post", priority="P2", fan_out_type="FOLLOWERS", actor="star", ttl_ms=NOW)
    written = OutputWriter(0, 4).encode(state, apply(state, SliceWork(g=0, stamp=NOW, event=event), 70_000), 70_000)
    [record] = [each for each in written if each.topic == "ledger"]
    expected = rows_of(record)
    table, _ = ledger_table([Record("ledger", 0, 0, 0, *record[2:])])
    found = {(row["kind"], row["user"]): row for row in records_of(table)}
    assert len(found) == len(expected) > 100
    assert {row["outcome"] for row in expected if row["kind"] == "decision"} == {"EMITTED", "SUPPRESSED"}
    for row in expected:
        assert found[row["kind"], row["user"]] == row


def test_a_large_slice_is_compressed_and_a_small_one_is_not() -> None:
    """What the columns of a small one would save costs more than it brings."""
    event = Event(
        event_id="e", type="new_post", priority="P1", fan_out_type="FOLLOWERS", sender_id="s", actor="star",
        object="o", ttl_ms=21_600_000, ingested_at=NOW,
    )  # fmt: skip
    for users, share in ((100, 1.0), (4_000, 0.6)):
        state = _followed(users, 1)
        written = OutputWriter(0, 4).encode(state, apply(state, SliceWork(g=0, stamp=NOW, event=event), 1), 1)
        [record] = [each for each in written if each.topic == "deliver.push"]
        names = b"".join(b"u%d" % number for number in range(users))
        table = batch_table(record.value, "batch")
        assert len(table) == users
        assert (names[:400] in record.value) == (share == 1.0)
        assert (len(record.value) < share * table.nbytes) == (share < 1.0)
        assert len(rows_of(record)) == users
