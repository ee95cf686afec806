"""Times of a search: in the viewer's zone, and bounded where nobody says from when."""

import pytest

from connectors.console.searching import asked, search_of
from connectors.gateway.backstage import LedgerSearch
from connectors.gateway.problems import ProblemError
from state.model.durations import DAY_MS

MAY = 1_777_593_600_000  # 2026-05-01 00:00 UTC
HOUR_MS = 3_600_000


def test_times_are_of_the_zone_that_is_named() -> None:
    given = {"type": "like", "from": "2026-05-01T08:00", "to": "2026-05-01T09:30", "zone": "Europe/Lisbon"}
    assert search_of(given, 0) == LedgerSearch(
        type="like", from_ms=MAY + 7 * HOUR_MS, to_ms=MAY + 8 * HOUR_MS + 1_800_000
    )
    del given["zone"]
    assert search_of(given, 0).from_ms == MAY + 8 * HOUR_MS


def test_without_a_beginning_it_is_the_day_before_the_end_or_before_now() -> None:
    assert search_of({"type": "like"}, MAY) == LedgerSearch(type="like", from_ms=MAY - DAY_MS)
    assert search_of({"to": "2026-05-01T00:00"}, 9 * MAY) == LedgerSearch(from_ms=MAY - DAY_MS, to_ms=MAY)
    assert search_of({"event": "e1"}, MAY) == LedgerSearch(event="e1"), "one event at any time"
    assert search_of({"event": "e1", "to": "2026-05-01T00:00"}, MAY) == LedgerSearch(event="e1", to_ms=MAY)


def test_a_zone_alone_looks_for_nothing_and_other_fields_are_none_of_it() -> None:
    assert asked({"zone": "Asia/Tokyo"}) == {}
    assert asked({"user": "mia", "cursor": "1-0"}) == {}
    assert asked({"to": "2026-05-01T00:00", "zone": "Asia/Tokyo", "cursor": "1-0"}).keys() == {"to", "zone"}


def test_an_outcome_is_known_however_it_is_typed() -> None:
    assert search_of({"event": "e1", "outcome": " dead letter"}, MAY) == LedgerSearch(event="e1", outcome="DEAD_LETTER")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"from": "yesterday"}, "from"), ({"to": "2026-02-30T00:00"}, "to"), ({"from": "2026-05-01T00:00Z"}, "from"),
        ({"type": "like", "zone": "Atlantis"}, "zone"), ({"type": "like", "zone": "../../etc/passwd"}, "zone"),
        ({"from": "2026-05-01T00:00", "to": "2026-05-01T00:00"}, "to"), ({"outcome": "EMITED"}, "outcome"),
    ],
)  # fmt: skip
def test_what_is_no_time_or_outcome_is_refused_with_what_to_write(given: dict[str, str], named: str) -> None:
    with pytest.raises(ProblemError) as refused:
        search_of(given, MAY)
    document = refused.value.document()
    assert document.status == 400
    assert isinstance(document.errors, list)
    assert document.errors[0].path == named
    assert document.errors[0].remedy
