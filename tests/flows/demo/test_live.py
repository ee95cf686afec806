"""The live view's bookkeeping, and that it shows no secret."""

from io import StringIO
from typing import Any

import orjson
import pyarrow as pa
from rich.console import Console

from connectors.log.interface import Record
from flows.demo.live import LiveLine, LiveState, Sample, percentile, phrase
from flows.demo.people import people
from flows.demo.view import picture, race
from flows.demo.workload import Feeding


def record(topic: str, row: dict[str, Any]) -> Record:
    return Record(topic, 0, 0, 0, b"", orjson.dumps(row), (("schema", b"x/1+json"),))


def decision(event: str, outcome: str, *, at: int = 0, priority: str = "P1", reason: str | None = None) -> Record:
    row = {
        "kind": "decision", "event_id": event, "user": "u", "outcome": outcome, "reason": reason, "type": "like",
        "ingested_at": at, "priority": priority,
    }  # fmt: skip
    return record("ledger", row)


def emission(event: str, *, at: int) -> Record:
    row = {
        "kind": "emission", "emission_id": f"em-{event}", "user": "u", "type": "like", "actors": ["ada", "bob"],
        "count": 5, "object": "photo", "decided_at": at,
    }  # fmt: skip
    return record("ledger", row)


def delivery(event: str, *, at: int, device: str = "d1", outcome: str = "DELIVERED") -> Record:
    row = {
        "kind": "delivery", "emission_id": f"em-{event}", "first_event_id": event, "user": "u", "channel": "push",
        "device": device, "outcome": outcome, "type": "like", "at": at,
    }  # fmt: skip
    return record("ledger", row)


def test_a_decision_counts_once_as_it_stands_now() -> None:
    seen = LiveState()
    seen.take([decision("e1", "HELD"), decision("e2", "HELD"), decision("e1", "EMITTED")])
    assert +seen.outcomes == {"HELD": 1, "EMITTED": 1}


def test_suppressions_show_their_reason() -> None:
    seen = LiveState()
    seen.take([decision("e1", "SUPPRESSED", reason="muted")])
    assert seen.reasons == {"muted": 1}
    assert seen.take_fresh() == [LiveLine("suppressed", "u", "like (muted)")]
    assert seen.take_fresh() == []


def test_a_batch_of_decisions_counts_row_by_row() -> None:
    rows = [orjson.loads(decision(event, "EMITTED").value) for event in ("a", "b", "c")]
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    batch = Record("ledger", 0, 0, 0, b"", sink.getvalue().to_pybytes(), (("schema", b"decision/1+arrow"),))
    seen = LiveState()
    seen.take([batch])
    assert seen.outcomes == {"EMITTED": 3}


def test_one_line_per_emission_however_many_devices() -> None:
    seen = LiveState()
    seen.take([decision("e", "EMITTED"), emission("e", at=5), delivery("e", at=9), delivery("e", at=9, device="d2")])
    assert [line.text for line in seen.latest["push"]] == ["ada and 4 more liked photo"]
    assert seen.deliveries == {("push", "DELIVERED"): 2}


def test_what_a_p0_event_overtook() -> None:
    seen = LiveState()
    seen.take([decision("slow", "EMITTED", at=100), emission("slow", at=110)])
    seen.take([decision("late", "EMITTED", at=100), emission("late", at=60_100)])  # its window delayed it, no queue
    seen.take([decision("otp", "EMITTED", at=150, priority="P0")])
    seen.take([delivery("otp", at=190), delivery("slow", at=900), delivery("late", at=60_200)])
    assert [sample.latency_ms for sample in seen.urgent] == [40]
    assert seen.overtaken(seen.urgent[0]) == 1
    assert "overtook 1 others" in "\n".join(race(seen))


def test_percentiles() -> None:
    samples = [Sample(0, latency) for latency in range(1, 101)]
    assert percentile(samples, 0.5) == 51
    assert percentile(samples, 0.99) == 100
    assert percentile([], 0.5) is None


def test_phrases_name_nobody_when_nobody_acted() -> None:
    assert phrase("otp", [], 1, None) == "otp"
    assert phrase("like", ["ada"], 1, "photo") == "ada liked photo"
    assert phrase("like", ["ada", "bob", "cyd"], 3, "photo") == "ada and 2 more liked photo"


def test_the_whole_view_renders() -> None:
    seen = LiveState()
    seen.take([decision("e", "EMITTED"), emission("e", at=5), delivery("e", at=9)])
    feeding = Feeding()
    feeding.answers["202"] = 1
    console = Console(width=120, height=40, record=True, file=StringIO())
    console.print(picture(seen, feeding, "http://127.0.0.1:1", ["exit decide (7) code -9"]))
    text = console.export_text()
    for expected in ("ada and 4 more liked photo", "EMITTED", "exit decide", "1 events accepted"):
        assert expected in text


def test_demo_people_differ_in_what_they_want() -> None:
    everybody = people()
    tokens = [document["address"] for person in everybody for _, _, document in person.endpoints()]
    assert len(tokens) == len(set(tokens))
    assert all(len(address) >= 8 for address in tokens)
