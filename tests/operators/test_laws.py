"""The laws on ledgers written by hand: a whole one passes; one record less of any kind and the check fails."""

import orjson
import pytest
from helpers.healthy_ledger import LEO, MIA, G, H, healthy
from helpers.records import counts, decision, delivery, emission

from connectors.log.interface import NewRecord, Record
from operators.laws import CountedRows, LawReport, check_laws
from state.ledger import latest, ledger_table

LATER = 10**15
ROWS = {G: CountedRows(3, 0, 0, {"d": 2, "t": 1}), H: CountedRows(1, 0, 0, {"d": 5})}
PUBLISHED = [
    counts("inbox", G, 2, items=3, added=3, taken_back=0, retired=0, offset_transactional=1),
    counts("inbox", H, 5, items=1, added=1, taken_back=0, retired=0, offset_transactional=-1),
]


def ledger(records: list[NewRecord]) -> list[NewRecord]:
    return [each for each in records if each.topic == "ledger"]


def check(records: list[NewRecord], rows: dict[int, CountedRows] | None = None, settled_ms: int = LATER) -> LawReport:
    logged = [
        Record(new.topic, new.partition, offset, 1000 + offset, new.key, new.value, new.headers)
        for offset, new in enumerate(ledger(records))
    ]
    return check_laws(latest(ledger_table(logged)[0]), rows, settled_ms=settled_ms)


WHOLE = [*ledger(healthy()), *PUBLISHED]


def described(new: NewRecord) -> str:
    value = orjson.loads(new.value)
    return f"{value['kind']}-{value.get('owner') or value.get('outcome') or value['emission_id']}"


def test_nothing_at_all_is_lawful() -> None:
    assert check([]).holds


@pytest.mark.parametrize("rows", [None, ROWS])
def test_a_whole_ledger_is_lawful(rows: dict[int, CountedRows] | None) -> None:
    report = check(WHOLE, rows)
    assert report.holds
    totals = {law.name: (dict(law.left), dict(law.right)) for law in report.laws}
    assert totals["1"] == ({"resolved": 6}, {"terminal": 4, "held": 1, "aggregating": 1})
    assert totals["2"][1] == {"terminal": 3, "in_flight": 1}
    assert totals["3"][0] == {"items": 4}


@pytest.mark.parametrize("gone", range(len(WHOLE)), ids=[described(each) for each in WHOLE])
def test_one_record_less_is_found(gone: int) -> None:
    assert not check(WHOLE[:gone] + WHOLE[gone + 1 :], ROWS).holds


@pytest.mark.parametrize("term", ["items", "taken_back", "retired"])
def test_one_row_less_or_one_item_taken_in_secret_is_found(term: str) -> None:
    changed = {"items": ROWS[G].items, "taken_back": 0, "retired": 0}
    changed[term] += 1 if term != "items" else -1
    rows = {**ROWS, G: CountedRows(**changed, offsets=ROWS[G].offsets)}
    report = check(WHOLE, rows)
    [law] = [law for law in report.laws if law.mismatches]
    assert law.name == "3"
    assert [(each.group, abs(each.difference)) for each in law.mismatches] == [(G, 1)]


def test_groups_do_not_cancel_each_other_out() -> None:
    wrong = [
        counts("decide", G, 10, seq=("d", 10, 1 << 30), resolved=4, held=0, aggregating=1, emitted=2, inbox_items=2),
        counts("decide", H, 10, seq=("d", 10, 1 << 30), resolved=1, held=1, aggregating=0, emitted=0, inbox_items=1),
    ]
    report = check([*WHOLE, *wrong], ROWS)
    law = report.laws[0]
    assert law.difference == 0
    assert {each.group for each in law.mismatches} == {G, H}
    assert not report.holds


def test_owners_that_are_at_different_places_are_compared_through_the_records_between() -> None:
    """Decide went on: its counts include what deliver and inbox have not taken in yet."""
    ahead = [
        decision(MIA, "e1", "EMITTED", ("d", 12, 0), emission_id="em3", inbox=True, decided_at=12_000),
        emission(MIA, "em3", "e1", 3, ("d", 12, 1)),
        decision(MIA, "e9", "INBOX", ("d", 13, 0), inbox=True),
        counts("decide", G, 14, seq=("d", 14, 1 << 30), resolved=4, held=0, aggregating=0, emitted=5, inbox_items=3),
    ]
    assert check([*WHOLE, *ahead], ROWS, settled_ms=0).holds
    gaps = check([*WHOLE, *ahead], ROWS).gaps
    assert {(gap.owner, gap.group) for gap in gaps} == {("deliver", G), ("inbox", G)}
    rows = {**ROWS, G: CountedRows(4, 0, 0, {"d": 13, "t": 1})}
    assert check([*WHOLE, *ahead], rows, settled_ms=0).holds


def test_owners_that_are_ahead_of_decides_counts_are_compared_too() -> None:
    ahead = [
        decision(LEO, "e9", "EMITTED", ("d", 12, 0), emission_id="em3", inbox=True),
        emission(LEO, "em3", "e9", 2, ("d", 12, 1)),
        delivery(LEO, "em3", "phone", "DELIVERED", 12_500),
        counts("deliver", H, 12, fallbacks=0, in_flight=1),
        delivery(LEO, "em3", "tablet", "DELIVERED", 12_600),
    ]
    rows = {**ROWS, H: CountedRows(2, 0, 0, {"d": 12})}
    assert check([*WHOLE, *ahead], rows, settled_ms=0).holds
    assert {gap.owner for gap in check([*WHOLE, *ahead], rows).gaps} == {"decide", "deliver"}
