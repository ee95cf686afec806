"""The product against the examples that were worked by hand."""

from __future__ import annotations

import json

import pytest
from rules.examples import EXAMPLES
from rules.writing import Example, differences, expected_lines

from flows.simulation.run import run_simulation


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_product_gives_the_lines_of_the_example(example: Example) -> None:
    lines = [json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in example.records]
    actual = run_simulation(lines, inbox=example.inbox)
    assert differences(expected_lines(example), actual) == "", f"RULES {example.rule}"
