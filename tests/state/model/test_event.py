"""What places an event in its topic (TOPICS.md)."""

from typing import Any

import pytest

from state.model.event import Event, event_key


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"target": "t", "actor": "a", "segment": "s"}, "t"),
        ({"actor": "a"}, "e1"),
        ({"fan_out_type": "FOLLOWERS", "actor": "a", "segment": "s", "target": "t"}, "a"),
        ({"fan_out_type": "SEGMENT", "actor": "a", "segment": "s", "target": "t"}, "s"),
        ({"fan_out_type": "BROADCAST", "actor": "a", "segment": "s", "target": "t"}, "a"),
        ({"fan_out_type": "BROADCAST"}, "e1"),
    ],
)
def test_the_target_else_the_segment_or_the_actor_else_the_event_itself(fields: dict[str, Any], key: str) -> None:
    assert event_key(Event(event_id="e1", type="like", **fields)) == key
