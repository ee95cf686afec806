"""The reference model against the examples that were worked by hand."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from reference.model import simulate
from rules.examples import EXAMPLES
from rules.writing import Example, differences, expected_lines


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_model_gives_the_lines_of_the_example(example: Example) -> None:
    records = json.loads(json.dumps(example.records))
    assert differences(expected_lines(example), simulate(records, inbox=example.inbox)) == "", f"RULES {example.rule}"


def test_names_are_unique() -> None:
    assert [name for name, times in Counter(example.name for example in EXAMPLES).items() if times > 1] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_records_are_in_the_order_of_the_log(example: Example) -> None:
    times = [record["ts"] for record in example.records]
    assert times == sorted(times)
