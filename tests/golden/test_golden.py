"""Bytes of earlier releases: the code of today writes the same, and reads them to the same meaning."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from golden import exports, scenario
from golden.files import HERE, NAMES, content, output, stored
from rocksdict import Rdict

from connectors.log.interface import NewRecord, Record
from operators.sequence import sequence_event
from state.decide.audience import Audience
from state.decide.audience_rows import AudienceRows
from state.decide.checkpoint import GroupStore
from state.disk.exports import load_export, read_export, verify_export
from state.disk.rocksdb import database_options
from state.ledger import ledger_table, records_of
from state.model.dead_letter import decode_action, decode_letter
from state.model.delivery import decode_to_deliver, pack_endpoints
from state.model.event import EVENT
from state.model.inbox import decode_operations
from state.model.records import Outputs
from state.model.work import EventWork, TickWork, decode_work, encode_work
from state.schedule.store import ScheduleStore
from state.sequence.store import SequenceStore

VERSION_BYTES = {"01", "02", "03", "04", "05"}
EARLIER = sorted((HERE.parent / "earlier").glob("decide_*.json"))


def _decide_rows() -> list[scenario.Rows]:
    """The checkpoint of today, and those of earlier layouts: one file for each change of `state.decide.codec`."""
    assert EARLIER
    return [stored("decide"), *(json.loads(path.read_text()) for path in EARLIER)]


def _sequence_rows() -> list[scenario.Rows]:
    """The checkpoint of today, and that of before marks lay by their hour of expiry."""
    return [stored("sequence"), json.loads((HERE.parent / "earlier" / "sequence_1.json").read_text())]


def _marks(rows: scenario.Rows) -> scenario.Rows:
    """Of `sequence`, the rows of marks and those of their hours."""
    return {key: row for key, row in rows.items() if key.startswith(("52", "58")) and key != "58"}


def _database(directory: Path, rows: scenario.Rows) -> Path:
    """A database with exactly these rows."""
    database = Rdict(str(directory), options=database_options())
    for key, value in rows.items():
        database[bytes.fromhex(key)] = bytes.fromhex(value)
    database.close()
    return directory


def test_every_file_is_there_and_nothing_else() -> None:
    assert sorted(path.stem for path in HERE.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("outputs", "export")])
def test_the_same_is_written_today(name: str, tmp_path: Path) -> None:
    expected, found = stored(name), content(name, tmp_path)
    if isinstance(expected, dict):
        assert sorted(found) == sorted(expected)
        assert {key: value for key, value in found.items() if expected[key] != value} == {}
    assert found == expected


def _without_bytes(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "bytes"}


def test_outputs_are_the_same_records_and_batches_of_the_same_rows() -> None:
    """The bytes of a batch are Arrow's, whose releases may differ in padding: schema and rows are ours."""
    expected = stored("outputs")
    found = msgspec.to_builtins([output(record) for record in scenario.decided()[1]])
    assert [_without_bytes(record) for record in found] == [_without_bytes(record) for record in expected]
    schemas = {record["headers"]["schema"] for record in expected}
    assert schemas == {
        *(f"{name}/1+json" for name in ("decision", "emission", "inbox", "counts")),
        *("slice/1+arrow", "inbox/2+arrow", "emission/4+arrow"),
    }


def test_batches_of_earlier_releases_are_read() -> None:
    batches = [record for record in stored("outputs") if "bytes" in record]
    assert len(batches) >= 4
    for record in batches:
        schema, rows = scenario.arrow_rows(b64decode(record["bytes"]))
        assert (schema, rows) == (record["schema"], record["rows"])


def _outputs(name: str) -> list[Record]:
    found = json.loads((HERE.parent / "earlier" / name).read_text())
    return [
        Record(
            each["topic"], each["partition"], number, 0, each["key"].encode(),
            b64decode(each["bytes"]) if "bytes" in each else each["value"].encode(),
            tuple((name, value.encode()) for name, value in each["headers"].items()),
        )
        for number, each in enumerate(found)
    ]  # fmt: skip


def _meaning(records: Sequence[Record | NewRecord]) -> tuple[list[Any], list[Any], list[Any]]:
    """(of the ledger, of what is to be delivered, of inboxes), whatever its form."""
    logged = [Record(each.topic, each.partition, 0, 0, each.key, each.value, each.headers) for each in records]
    table, refused = ledger_table([each for each in logged if each.topic == "ledger"])
    assert not refused
    lanes = [each for each in logged if each.topic.startswith("deliver.")]
    to_deliver = [decode_to_deliver(dict(each.headers)["schema"].decode(), each.value) for each in lanes]
    ledger = sorted(records_of(table), key=lambda row: json.dumps(row, sort_keys=True))
    inbox = [(dict(each.headers)["schema"].decode(), each.value) for each in logged if each.topic == "inbox"]
    operations = [each for schema, value in inbox for each in decode_operations(schema, value)]
    delivered = sorted((each for of in to_deliver for each in of), key=lambda each: (each.emission_id, each.channel))
    bare = {"payload": msgspec.Raw(), "language": None, "logged": None}  # these two came later
    plain = [(msgspec.structs.replace(each, **bare), each.payload_json()) for each in operations]
    return ledger, delivered, plain


def _numbers(records: Sequence[Record | NewRecord]) -> list[tuple[str, bytes]]:
    """(topic, header `seq`) of batches; those of the ledger became fewer."""
    batches = [each for each in records if dict(each.headers)["schema"].endswith(b"+arrow") and each.topic != "ledger"]
    return sorted((each.topic, dict(each.headers)["seq"]) for each in batches)


@pytest.mark.parametrize("name", ["outputs_1.json", "outputs_2.json"])
def test_a_slice_says_what_the_batches_of_earlier_releases_said(name: str) -> None:
    earlier = _outputs(name)
    ledger, to_deliver, inbox = _meaning(scenario.decided()[1])
    assert len(ledger) > 10
    assert len(to_deliver) > 3
    assert len(inbox) > 3
    assert _meaning(earlier) == (ledger, to_deliver, inbox)
    assert _numbers(scenario.decided()[1]) == _numbers(earlier), "what a new release writes again is known again"


def test_the_earlier_releases_wrote_other_batches() -> None:
    first, second = ({dict(each.headers)["schema"] for each in _outputs(f"outputs_{number}.json")} for number in (1, 2))
    assert {b"decision/1+arrow", b"emission/1+arrow", b"inbox/1+arrow"} <= first, "a column for everything"
    assert {b"slice/1+arrow", b"emission/3+arrow", b"inbox/2+arrow"} <= second, (
        "of the ids the users' part, in a column"
    )


def test_work_is_read_to_the_same_meaning() -> None:
    records = [decode_work(text.encode()) for text in stored("work")]
    assert records == scenario.work_records()
    assert [encode_work(record).decode() for record in records] == stored("work")
    kinds = {type(record).__name__ for record in records}
    assert len(kinds) == 11
    for record in records:
        if isinstance(record, EventWork):
            assert EVENT.decode(EVENT.encode(record.event)) == record.event


def test_dead_letters_are_read_to_the_same_meaning() -> None:
    values = [record["value"].encode() for record in stored("dead_letters")]
    letters = [decode_letter(value) for value in values[:4]]
    assert [each.kind for each in letters] == ["malformed", "raised", "killed", "failed"]
    assert {(each.event_id, each.sender_id, each.type) for each in letters} == {("e1", "social", "reply")}
    assert [decode_action(value).action for value in values[4:]] == ["retried", "discarded"]
    assert "secret" not in letters[0].error
    assert "of u1" not in letters[1].error


def _facts(out: Outputs) -> list[Any]:
    return [msgspec.to_builtins(each) for each in (out.decisions, out.emissions, out.inbox)]


@pytest.mark.parametrize("rows", _decide_rows())
def test_a_stored_state_of_decide_goes_on_as_if_never_interrupted(rows: scenario.Rows, tmp_path: Path) -> None:
    store = GroupStore(_database(tmp_path / "old", rows))
    loaded, fresh = store.load(scenario.GROUP, scenario.REGISTRY), scenario.decided()[0]
    assert store.next_offset(scenario.GROUP) == len(scenario.work_records())
    assert loaded.count_terms() == fresh.count_terms() == loaded.counted
    kinds = {bytes.fromhex(key)[:1] for key in rows}
    assert store.skipped(scenario.GROUP) == (scenario.SKIPPED if b"X" in kinds else {})
    assert store.given_up(scenario.GROUP) == (scenario.GIVEN_UP if b"Y" in kinds else {})
    assert loaded.registry_tables == {"promo_may": {"klass": "P2"}}
    assert loaded.registry.profile("promo_may").klass == "P2"
    place, day = loaded.place + 1, 86_400_000
    later = [
        *scenario.work_records()[14:22],
        *(TickWork(stamp=scenario.NOON + hours * day // 24) for hours in (1, 2, 24, 48)),
    ]
    placed = list(enumerate(later, start=place))
    assert scenario.decide_into(loaded, placed) == scenario.decide_into(fresh, placed)
    store.close()


@pytest.mark.parametrize("rows", _decide_rows())
def test_a_stored_state_of_decide_is_stored_again_as_it_was(rows: scenario.Rows, tmp_path: Path) -> None:
    store = GroupStore(_database(tmp_path / "old", rows))
    state = store.load(scenario.GROUP, scenario.REGISTRY)
    state.users.changed.update(range(len(state.users)))
    for row, _ in list(state.users.endpoints.items()):  # earlier releases kept endpoints as they came
        in_order = sorted(state.users.endpoints_of(row))
        state.users.assign_endpoints(row, pack_endpoints(in_order))
    for group in state.pending.groups():
        state.pending.touch(group)
    for audience in (state.followers, state.segments):
        audience.changed.update(range(len(audience)))
    again = GroupStore(tmp_path / "new")
    again.collect(scenario.GROUP, state)
    again.commit()
    for offset, letter in scenario.SKIPPED.items():
        again.skip(scenario.GROUP, offset, letter)
    scenario.give_up(again)
    assert scenario.rows_of(again) == stored("decide")
    again.close()
    store.close()


def test_stored_followers_are_who_they_were() -> None:
    rows = sorted((bytes.fromhex(key), bytes.fromhex(value)) for key, value in stored("audience").items())
    loaded, fresh = Audience(), scenario.audience()
    AudienceRows(b"F", scenario.GROUP).load(loaded, lambda kind: [row for row in rows if row[0][:1] == kind])
    scenario.change_audience(fresh)
    assert {key[:1] for key, _ in rows} == {b"A", b"a", b"F"}
    assert loaded.names() == fresh.names()
    assert all(loaded.stored(number) == fresh.stored(number) for number in range(len(fresh)))


@pytest.mark.parametrize("rows", _sequence_rows())
def test_a_stored_state_of_sequence_is_what_it_was(rows: scenario.Rows, tmp_path: Path) -> None:
    store = SequenceStore(_database(tmp_path / "old", rows))
    loaded, fresh = store.load(), scenario.sequence_state()
    for name in ("stamp", "positions", "work_ends", "versions"):
        assert getattr(loaded, name) == getattr(fresh, name), name
    assert vars(loaded.placement.followees)["_bitmaps"] == vars(fresh.placement.followees)["_bitmaps"]
    assert vars(loaded.placement.segments)["_bitmaps"] == vars(fresh.placement.segments)["_bitmaps"]
    assert loaded.segment_chunks.users("next", "v2") == ["u2"]
    assert loaded.segment_chunks.users("seg", "1") == []
    two = scenario.users()[1]
    for repeat in ("e1", "e2", "e3"):
        event = scenario.event(repeat, "reply", scenario.NOON, target=two, object="something else")
        assert sequence_event(loaded, scenario.REGISTRY, event, ("events.p1", 0, 9)).works == []
    marks = fresh.repeats.take_set()
    assert len(marks) == 5
    assert {key: loaded.repeats.get(key, scenario.NOON) for key in marks} == marks
    assert _marks(scenario.rows_of(store)) == _marks(stored("sequence"))
    store.close()


def test_kept_events_are_what_they_were(tmp_path: Path) -> None:
    store = ScheduleStore(_database(tmp_path / "old", stored("schedule")))
    kept = store.load()
    assert store.next_offset() == 12
    assert [event.event_id for event in kept.events()] == ["k2", "k1"]
    assert [event.event_id for event in kept.due(1 << 50)] == ["k1", "k2"]
    assert kept.due(1 << 50)[0].payload == {"é": [1, None]}
    store.close()


def test_an_export_of_an_earlier_release_is_loaded(tmp_path: Path) -> None:
    kept = stored("export")
    found = read_export(exports.put(kept, tmp_path / "exports" / "decide" / "0"))
    verify_export(found)
    load_export(found, tmp_path / "loaded")
    store = GroupStore(tmp_path / "loaded")
    assert scenario.rows_of(store) == kept["rows"]
    assert store.next_offset(scenario.GROUP) == found.offset("work", scenario.GROUP)
    store.close()
    assert exports.manifest(content("export", tmp_path / "today")) == exports.manifest(kept)


@pytest.mark.parametrize("name", ["decide", "sequence", "schedule"])
def test_every_value_says_its_version(name: str) -> None:
    rows = {bytes.fromhex(key): value for key, value in stored(name).items()}
    assert rows.pop(b"\x00format") == f"carillon {name} 1".encode().hex()
    assert {value[:2] for value in rows.values()} <= VERSION_BYTES
