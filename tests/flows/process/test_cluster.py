"""Which process of a cluster this one is, as the stock runner reads it."""

import pytest

from flows.process.cluster import ClusterPlace, place_of
from state.model.errors import ConfigurationError

TWO = "127.0.0.1:2101;127.0.0.1:2102"


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["flows.sequence:build()"], ClusterPlace(0, 1, 1)),
        (["flows.sequence:build()", "-w", "3", "-s", "1"], ClusterPlace(0, 1, 3)),
        (["flows.sequence:build()", "-i", "1", "-a", TWO], ClusterPlace(1, 2, 1)),
        (["-r", "recovery", "--process-id", "0", "--addresses", TWO, "-w2", "flows.x:build()"], ClusterPlace(0, 2, 2)),
    ],
)
def test_the_runners_arguments(arguments: list[str], place: ClusterPlace) -> None:
    assert place_of(arguments, {}) == place


def test_the_variables_where_the_arguments_are_silent() -> None:
    variables = {"BYTEWAX_PROCESS_ID": "1", "BYTEWAX_ADDRESSES": TWO, "BYTEWAX_WORKERS_PER_PROCESS": "2"}
    assert place_of([], variables) == ClusterPlace(1, 2, 2)
    assert place_of(["-i", "0", "-w", "1"], variables) == ClusterPlace(0, 2, 1)


@pytest.mark.parametrize("arguments", [["-i", "2", "-a", TWO], ["-i", "x", "-a", TWO], ["-w", "0"], ["-i", "1"]])
def test_a_place_that_there_is_not_is_refused(arguments: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        place_of(arguments, {})
