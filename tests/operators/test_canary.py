"""When a version confirms less than another one."""

import pytest

from operators.canary import Handled, compared


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (Handled(1_000, 500), Handled(1_000, 1_000), "worse"),
        (Handled(1_000, 900), Handled(1_000, 960), "worse"),
        (Handled(1_000, 930), Handled(1_000, 960), "alike"),  # less by less than one in twenty
        (Handled(1_000, 1_000), Handled(1_000, 500), "alike"),
        (Handled(100, 100), Handled(100, 100), "alike"),
        (Handled(150, 130), Handled(150, 142), "unsure"),
        (Handled(99, 0), Handled(10_000, 10_000), "few"),
        (Handled(500, 0), Handled(500, 0), "unsure"),  # nobody confirms anything: there is nothing to be like
    ],
)
def test_less_is_said_where_it_is_more_than_the_deviation_and_no_chance(
    new: Handled, old: Handled, expected: str
) -> None:
    assert compared(new, old) == expected
