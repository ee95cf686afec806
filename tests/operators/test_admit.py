"""What makes an event 400: what its members ask of each other and of the registry, without a gateway around."""

from typing import Any

import pytest

from operators.admit import field_errors
from state.model.registry import load_registry

REGISTRY = load_registry({"alarm": {"klass": "P0", "fan_out": ["DIRECT", "SEGMENT", "FOLLOWERS"]}})


@pytest.mark.parametrize(
    ("event", "paths"),
    [
        ({"type": "alarm", "target": "u"}, set()),
        ({"type": "alarm", "fan_out_type": "SEGMENT", "segment": "s"}, {"fan_out_type"}),
        ({"type": "alarm", "fan_out_type": "SEGMENT", "segment": "s", "priority": "P1"}, set()),
        ({"type": "newsletter", "fan_out_type": "SEGMENT", "segment": "s", "priority": "P0"}, set()),
    ],
)
def test_class_p0_goes_to_one_person(event: dict[str, Any], paths: set[str]) -> None:
    assert {error.path for error in field_errors(event, REGISTRY)} == paths
