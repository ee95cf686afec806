"""How loaded a station says it is (TOPICS.md, `control`), and what each level asks of the others (RULES 1, "Load")."""

from typing import Annotated, Final

import msgspec

from state.model.schema import Schema

P2_WAITS: Final = 1
"""From this level on P2 is refused at the door, and waits before the decision log."""
P1_HALVED: Final = 2
"""From this level on every second P1 event is refused, and P1 enters the decision log at half its rate."""
P1_WAITS: Final = 3
"""At this level P1 is refused too, and of what was accepted the least missed is SHED. P0 never is."""
UNDER_LOAD: Final = "load"
"""The scope of the switch that `sequence` writes to the decision log while a place is at that level."""
AWAY: Final = "away"
"""The scope of such a switch for what cannot be sent now: `push/android`, or `email/*` (RULES 3.E)."""
SHED_BELOW_TTL_MS: Final = 600_000
"""Under load, what is worth nothing after so short a time would come too late for most."""
DORMANT_AFTER_MS: Final = 30 * 86_400_000
"""Since the last registration of any of the user's phones: an app registers whenever it starts."""


class LoadReport(msgspec.Struct, frozen=True):
    """The level of a place (`decide/0`) from here on, and the score that led to it. Of one that sends also `away`: the
    channels and platforms whose providers are all away, or so slow that what comes now would wait for long.
    """

    place: str
    level: Annotated[int, msgspec.Meta(ge=0, le=P1_WAITS)]
    score: float
    away: tuple[str, ...] = ()


LOAD = Schema("load", LoadReport)
