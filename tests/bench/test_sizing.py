from dataclasses import replace

import pytest

from bench.sizing import Assumptions, figures, sizes


def test_twice_the_traffic_needs_twice_of_what_grows_with_it() -> None:
    once = Assumptions()
    twice = replace(once, events_per_s=2 * once.events_per_s, deliveries_per_s=2 * once.deliveries_per_s)
    found = figures()
    small, large = ({what: value for what, value, _ in sizes(found, given)} for given in (once, twice))
    assert large["written to ledger, inbox and deliver"] == pytest.approx(
        2 * small["written to ledger, inbox and deliver"]
    )
    assert large["sends"] == pytest.approx(2 * small["sends"])
    assert large["users in memory"] == small["users in memory"]
