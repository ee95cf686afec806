"""All examples that were worked by hand from the rules."""

from __future__ import annotations

from rules import (
    examples_events,
    examples_filter,
    examples_gate,
    examples_groups,
    examples_inbox,
    examples_mutants,
    examples_route,
    examples_schedule,
)
from rules.writing import Example

EXAMPLES: list[Example] = [
    *examples_events.EXAMPLES,
    *examples_schedule.EXAMPLES,
    *examples_filter.EXAMPLES,
    *examples_groups.EXAMPLES,
    *examples_gate.EXAMPLES,
    *examples_route.EXAMPLES,
    *examples_inbox.EXAMPLES,
    *examples_mutants.EXAMPLES,
]
