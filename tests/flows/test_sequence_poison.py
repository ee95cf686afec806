"""Poison in the topics that `sequence` and `schedule` read: set aside, named, and nobody else waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from golden import scenario
from helpers.flow_bench import PARTITIONS, REGISTRY, START, Bench, calls, seconds, until, user_in_group

from connectors.log import NewRecord, Record
from flows.steps.dead_letters import dead_letter
from flows.steps.sequence.reading import SequenceBatch
from flows.steps.sequence.source import Sequencer
from state.disk.poison import PoisonJournal
from state.model.dead_letter import DeadLetter, decode_letter
from state.model.keys import key_group, partition_of_group
from state.model.work import EventWork, PreferenceWork, SliceWork, TickWork
from state.sequence.store import SequenceState, SequenceStore

DEEP = b'{"event_id":"deep","type":"like","payload":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001
MALFORMED: dict[str, bytes] = {
    "no JSON": b"not json",
    "empty": b"",
    "a list": b"[]",
    "bad UTF-8": b'{"event_id":"\xff","type":"like","target":"u1"}',
    "breaks off": b'{"event_id":"cut","type":"like","sender_id":"s","target":"u',
    "NaN": b'{"event_id":"nan","type":"like","target":"u1","ttl_ms":NaN}',
    "huge int": b'{"event_id":"big","type":"like","target":"u1","ttl_ms":1' + b"0" * 400 + b"}",
    "type confusion": b'{"event_id":["e"],"type":"like","target":"u1"}',
    "no type": b'{"event_id":"e","target":"u1"}',
    "half a pair": b'{"event_id":"half","type":"like","target":"\\ud800"}',
    "nested": DEEP,
}
NAMED = {"breaks off": "cut", "NaN": "nan", "huge int": "big", "no type": "e", "half a pair": "half"}


def letters(bench: Bench) -> dict[str, DeadLetter]:
    """By id: what is written twice around a crash is one."""
    return {each.id: each for each in (decode_letter(record.value) for record in bench.read("dead_letters"))}


def events(bench: Bench) -> list[str]:
    return [work.event.event_id for _, _, work in bench.work() if isinstance(work, EventWork)]


@pytest.mark.parametrize("topic", ["events.p1", "events.p2"])
def test_every_malformed_event_is_a_letter_and_the_next_one_passes_at_once(bench: Bench, topic: str) -> None:
    partition = partition_of_group(key_group("u1"), PARTITIONS)
    end = time.monotonic() + 30

    def feed(question: int) -> None:
        if question == 3:  # the flow runs
            bench.append(*(NewRecord(topic, partition, b"u1", value) for value in MALFORMED.values()))
            bench.append(bench.event("good", target="u1", topic=topic))

    asked = calls(10_000, feed)
    bench.sequence(lambda: asked() or time.monotonic() > end or bool(events(bench)))
    assert events(bench) == ["good"]
    (accepted,) = [record for record in bench.read(topic) if b'"good"' in record.value]
    (sequenced,) = [record for record in bench.read("work") if b'"good"' in record.value]
    assert sequenced.timestamp_ms - accepted.timestamp_ms < 1000
    found = letters(bench)
    assert sorted(found) == sorted(f"sequence/{topic}/{partition}/{offset}" for offset in range(len(MALFORMED)))
    assert {each.kind for each in found.values()} == {"malformed"}
    for offset, what in enumerate(MALFORMED):
        letter = found[f"sequence/{topic}/{partition}/{offset}"]
        assert letter.event_id == NAMED.get(what, letter.event_id), what
    assert found[f"sequence/{topic}/{partition}/4"].sender_id == "s"


SETTINGS = ("preferences", "endpoints", "profiles", "follows", "segments", "reads", "control", "retries")


@pytest.mark.parametrize("topic", SETTINGS)
def test_every_malformed_setting_is_a_letter(bench: Bench, topic: str) -> None:
    partition = 0 if topic == "control" else 1
    values = [value for value in MALFORMED.values() if value or topic == "retries"]
    bench.append(*(NewRecord(topic, partition, b"70", value) for value in values))
    bench.append(bench.preference("u1", master=True), bench.event("good", target="u1"))
    bench.sequence()
    assert events(bench) == ["good"]
    assert len([work for _, _, work in bench.work() if isinstance(work, PreferenceWork)]) == 1
    assert sorted(letters(bench)) == sorted(f"sequence/{topic}/{partition}/{offset}" for offset in range(len(values)))


def test_a_form_of_the_future_is_not_read_as_one_of_today(bench: Bench) -> None:
    """A producer was upgraded first."""
    for schema in (b"event/2+json", b"event/1+arrow", b"\xff"):
        bench.append(bench.event(f"future-{len(schema)}", target="u1")._replace(headers=(("schema", schema),)))
    bench.append(bench.preference("u1", master=True)._replace(headers=(("schema", b"preference/3+json"),)))
    bench.append(bench.event("unknown", "a_type_that_nobody_registered", target="u1"), bench.event("good", target="u2"))
    bench.append(bench.event("kept", topic="schedule")._replace(headers=(("schema", b"event/2+json"),)))
    bench.sequence()
    bench.schedule(until(lambda: len(letters(bench)) == 5))
    assert sorted(events(bench)) == ["good", "unknown"]
    assert len(letters(bench)) == 5
    assert all("version 1" in each.error for each in letters(bench).values())


def test_a_record_of_retries_must_name_a_group(bench: Bench) -> None:
    good = b'{"k":"tick","stamp":1}'
    bench.append(*(NewRecord("retries", 0, key, good) for key in (b"", b"x", b"240", b"-1", "²".encode())))
    bench.sequence()
    assert len(letters(bench)) == 5


def test_what_is_too_large_for_the_decision_log_stops_nobody(bench: Bench) -> None:
    """Its record fits the topic of events, but not with what `sequence` adds: no retry could ever write it."""
    user = "u" * (5 << 20)
    value = orjson.dumps({"event_id": "large", "type": "like", "target": user, "sender_id": "s"})
    bench.append(NewRecord("events.p1", 0, b"k", value), bench.event("good", target="u1"))
    bench.sequence()
    assert events(bench) == ["good"]
    (letter,) = letters(bench).values()
    assert (letter.event_id, letter.sender_id, letter.kind) == ("large", "s", "malformed")
    bench.sequence()
    assert len(letters(bench)) == 1


class Breaking(Sequencer):
    """Raises when the last thing is done that can fail for a record."""

    breaks: Callable[[Record], bool]

    def _written(self, state: SequenceState, sequenced: Any, record: Record) -> list[NewRecord]:
        written = super()._written(state, sequenced, record)
        if self.breaks(record):
            raise ValueError("of somebody's secret")
        return written


def _inputs(bench: Bench) -> list[tuple[Record, bool]]:
    """Records of every kind that changes the state, each with whether it is to fail."""
    star = user_in_group(70)
    appended = [
        bench.follow(star, "star"), bench.follow(user_in_group(3), "star"), bench.follow(star, "other"),
        bench.setting("segments", "s", segment="s", version=1, chunk=0, users=[star]),
        bench.setting("segments", "s", segment="s", version=1, chunk=1, users=["u1"]),
        bench.setting("segments", "s", segment="s", version=1, chunks=2),
        bench.setting("segments", "s", segment="s", version=2, chunks=1),
        bench.preference("u1", master=False),
        bench.event("e1", target="u1"), bench.event("e2", target="u2", idempotency_key="k"),
        bench.event("e3", target="u1", object="o3"), bench.event("e4", target="u2", idempotency_key="k"),
        bench.event("post", "new_post", actor="star", target=None, fan_out_type="FOLLOWERS"),
    ]  # fmt: skip
    records = [
        Record(each.topic, each.partition, offset, START, each.key, each.value, each.headers)
        for offset, each in enumerate(appended)
    ]
    return [(record, number % 2 == 1) for number, record in enumerate(records)]


def _stored(directory: Path, state: SequenceState) -> scenario.Rows:
    """The rows of its checkpoint: everything that a restart goes by."""
    store = SequenceStore(directory)
    store.collect(state)
    store.commit()
    rows = scenario.rows_of(store)
    store.close()
    return rows


@pytest.mark.parametrize("odd", [False, True])
def test_what_raises_leaves_the_state_as_if_it_had_never_been(bench: Bench, tmp_path: Path, odd: bool) -> None:
    inputs = _inputs(bench)
    failing = {record for record, fails in inputs if fails is odd}
    outputs, rows = [], []
    for name, records in (("all", [r for r, _ in inputs]), ("sound", [r for r, _ in inputs if r not in failing])):
        journal = PoisonJournal.open(tmp_path / f"{name}.poison")
        sequencer = Breaking(bench.log, journal, REGISTRY)
        sequencer.breaks = failing.__contains__
        state = SequenceState()
        written = sequencer.sequence(state, SequenceBatch(records, [], START, ticks=True))
        outputs.append([record for record in written if record.topic != "dead_letters"])
        state.positions = {}
        rows.append(_stored(tmp_path / name, state))
        if name == "all":
            told = [decode_letter(record.value) for record in written if record.topic == "dead_letters"]
            assert [each.source[2] for each in told] == sorted(record.offset for record in failing)
            assert {each.kind for each in told} == {"raised"}
            assert not any("secret" in each.error for each in told)
            assert all(each.error.startswith("ValueError in ") for each in told)
        journal.close()
    assert outputs[0] == outputs[1]
    assert rows[0] == rows[1]


def test_a_damaged_record_of_the_decision_log_does_not_stop_a_start(bench: Bench) -> None:
    """What it came from is written anew if the checkpoint does not include it; decide skips the damaged one."""
    bench.append(bench.event("e1", target="u1"))
    partition = partition_of_group(key_group("u1"), PARTITIONS)
    bench.append(NewRecord("work", partition, b"3", b'{"k":"event","g":3,"stamp"'))
    bench.sequence()
    bench.lose("sequence")
    bench.append(bench.event("e2", target="u1", object="p"))
    bench.sequence()
    written = [r for r in bench.read("work") if r.value.startswith(b'{"k":"event"') and r.value.endswith(b"}")]
    assert len(written) == 2
    assert list(letters(bench)) == [f"sequence/work/{partition}/0"]


def test_a_record_given_back_is_written_once_with_a_place_of_its_own(bench: Bench) -> None:
    """Whatever is asked for twice, read twice after a crash, or begun anew without any state."""
    user, group = user_in_group(70), 70
    event = msgspec.json.decode(bench.event("e1", target=user).value)
    body = {"k": "event", "g": group, "stamp": 5, "src": ["events.p1", 1, 0, group], "event": event, "users": [user]}
    headers = (("schema", b"work/1+json"), ("again", b"decide/work/1/4/70"))
    given = NewRecord("retries", 1, b"70", orjson.dumps(body), headers)
    bench.append(bench.event("e1", target=user))
    bench.sequence()
    bench.append(given, given)
    bench.sequence()
    bench.append(given)
    bench.sequence()
    bench.lose("sequence")
    bench.append(given)
    bench.sequence()
    works = [(offset, work) for _, offset, work in bench.work() if isinstance(work, EventWork)]
    assert [work.src for _, work in works] == [("events.p1", 1, 0, 70), ("retries", 1, 0, 70)]
    assert works[1][1].stamp == bench.clock.now
    (record,) = [r for r in bench.read("work") if (r.partition, r.offset) == (1, works[1][0])]
    assert dict(record.headers)["again"] == b"decide/work/1/4/70"
    bench.append(given._replace(headers=(*headers, ("attempt", b"2"))))
    bench.sequence()
    assert len(events(bench)) == 3, "a second attempt is one more, where an operator says so"


def test_a_record_for_all_groups_is_given_back_to_the_one_that_skipped_it(bench: Bench) -> None:
    kill = orjson.dumps({"k": "kill", "stamp": 5, "src": ["control", 0, 0, -1], "scope": "all", "value": ""})
    bench.append(NewRecord("retries", 1, b"70", kill, (("again", b"decide/work/1/4/70"),)))
    bench.sequence()
    ((partition, _, work),) = bench.work()
    assert (partition, work.g, work.src) == (1, 70, ("retries", 1, 0, 70))
    assert not isinstance(work, TickWork | SliceWork)


def test_a_letter_names_what_can_be_read_and_no_content(bench: Bench) -> None:
    def letter_of(value: bytes, error: Exception) -> DeadLetter:
        record = Record("events.p1", 0, 1, START, b"k" * 3000, value, ())
        written = dead_letter(record, error, stage="sequence", at=1, partitions=4)
        assert len(written.key) <= 1024
        return decode_letter(written.value)

    payload = b'{"payload":{"sender_id":"framed","event_id":"x"},"sender_id":"s","event_id":"e","type":"like",'
    for value in (payload, payload[:-1] + b"}"):
        letter = letter_of(value, KeyError("u1@example.org"))
        assert (letter.event_id, letter.sender_id, letter.type) == ("e", "s", "like")
        assert letter.error.startswith("KeyError in ")
    arrow = letter_of(b"\xff\xff\xff\xff" + bytes(200), ValueError())
    assert (arrow.event_id, arrow.sender_id, arrow.type) == (None, None, None)
    long = letter_of(b'{"event_id":"%s","type":"a\\nb","sender_id":"s"}' % (b"e" * 5000), ValueError())
    assert (long.event_id, long.type, long.sender_id) == (None, None, "s")


SCHEDULE_BAD: Sequence[tuple[bytes, bytes]] = [
    *((b"event/1+json", value) for value in MALFORMED.values()),
    (b"cancel/1+json", b"{}"), (b"released/1+json", b'{"event_id":"e"}'), (b"", b"x"), (b"other/9", b"{}"),
    (b"event/1+json", b'{"event_id":"odd","type":"like","deliver_at":9000000000000000,"priority":"P7"}'),
]  # fmt: skip


def test_poison_in_schedule_is_set_aside_and_releases_go_on(bench: Bench) -> None:
    due = bench.clock.now + 60_000
    bench.append(*(NewRecord("schedule", 0, b"x", value, (("schema", schema),)) for schema, value in SCHEDULE_BAD))
    bench.append(bench.event("e1", "reminder", topic="schedule", deliver_at=due))
    bench.append(
        NewRecord("schedule", 0, b"odd", b'{"event_id":"odd","how":"released"}', (("schema", b"released/1+json"),))
    )
    bench.clock.now = due
    bench.schedule(seconds(1.5))
    assert "e1" in [orjson.loads(record.value)["event_id"] for record in bench.read("events.p1")]
    found = {each.source[2]: each for each in letters(bench).values()}
    assert sorted(found) == [*range(len(SCHEDULE_BAD) - 1), len(SCHEDULE_BAD) + 1]
    raised = found[len(SCHEDULE_BAD) + 1]
    assert (raised.kind, raised.event_id) == ("raised", "odd")
    again = NewRecord("schedule", 0, b"odd", b'{"event_id":"odd"}', (("schema", b"cancel/1+json"),))
    bench.append(again)
    bench.schedule(seconds(1.0))
    answers = [orjson.loads(r.value) for r in bench.read("schedule") if b"cancelled" in r.value]
    assert answers == [{"event_id": "odd", "how": "cancelled"}], "it is still kept"
