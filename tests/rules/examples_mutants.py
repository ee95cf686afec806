"""What a mutation run found no other example for. Worked by hand."""

from __future__ import annotations

from rules.writing import NOON, PUSH, Example, emitted, mention, mentioned

EXAMPLES = [
    Example(
        "deliver_at_that_is_now_is_not_in_the_future",
        "1",
        [PUSH, mention("e1", NOON, deliver_at=NOON)],
        [emitted("e1", NOON), mentioned("e1", NOON)],
    ),
    Example(
        "deliver_at_in_the_past_is_no_delay",
        "1",
        [PUSH, mention("e1", NOON, deliver_at=NOON - 1)],
        [emitted("e1", NOON), mentioned("e1", NOON)],
    ),
]
