"""What drills measure can condemn: a message that nobody took, one that came again too soon, one tried too often."""

from collections.abc import Mapping
from pathlib import Path

from crash.left_behind import Line
from crash.truth import Truth, TruthWriter
from crash.verdict_sends import Attempts
from drills.measures import NEVER_MS, Findings, percentile

AT = 1_000_000


def line(identity: str, ts: int, status: int = 200) -> Line:
    return {"provider": "apns", "to": "t", "id": identity, "status": status, "ts": AT + ts}


def findings(path: Path, *lines: Line) -> Findings:
    """Two P0 events of the time AT, whose emissions are em_1 and em_2 and whose messages a, b and c."""
    writer = TruthWriter(path / "truth.ndjson")
    for number in (1, 2):
        writer.write("event", n=number, body={}, p0=True)
        writer.write("answer", n=number, status=202, event_id=f"e{number}")
    writer.close()
    truth, keys = Truth(path / "truth.ndjson"), {"a": "em_1/u/push/d", "b": "em_1/u/sms/m", "c": "em_2/u/push/d"}
    for sent in truth.sent.values():
        sent.at = AT
    states: Mapping[tuple[str, ...], Line] = {
        ("decision", f"e{n}", "u"): {
            "kind": "decision", "event_id": f"e{n}", "emission_id": f"em_{n}", "outcome": "EMITTED",
        }
        for n in (1, 2)
    }  # fmt: skip
    return Findings(path, truth, dict(states), Attempts(key_of_id=keys), list(lines))


def test_the_first_provider_that_takes_it_ends_the_wait_of_p0(tmp_path: Path) -> None:
    found = findings(tmp_path, line("a", 3, 503), line("b", 20), line("a", 50), line("c", 400))
    assert found.p0_latencies_ms(AT, AT + 1) == [20, 400]
    assert found.p0_latencies_ms(AT + 1, AT + 2) == []


def test_what_nobody_took_has_no_latency(tmp_path: Path) -> None:
    assert findings(tmp_path, line("b", 20), line("c", 30, 503)).p0_latencies_ms(AT, AT + 1) == [20, NEVER_MS]


def test_who_comes_again_too_soon_is_counted(tmp_path: Path) -> None:
    lines = (
        line("a", 0, 503),
        line("b", 10, 503),
        line("a", 1_500),
        line("b", 2_500),
        line("c", 2_600),
        line("c", 2_700),
    )
    assert findings(tmp_path, *lines).early_retries(2_000, "apns", AT, AT + 100) == 1


def test_the_most_tries_of_a_message(tmp_path: Path) -> None:
    assert findings(tmp_path, line("a", 0, 503), line("b", 1), line("a", 2, 503), line("a", 3)).tries_max("apns") == 3


def test_percentiles_are_nearest_ranks() -> None:
    assert [percentile([10, 20, 30, 40], share) for share in (0.25, 0.5, 0.51, 0.99, 1)] == [10, 20, 30, 40, 40]
    assert percentile([], 0.5) == 0
