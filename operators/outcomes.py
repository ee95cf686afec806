"""How a rule answers: a notification ends, or it waits. Apart from the state of decide, which is heavy."""

from typing import NamedTuple


class FinalOutcome(NamedTuple):
    """How something ends: an outcome of RULES 5 and, where SUPPRESSED, its reason."""

    outcome: str
    reason: str | None


SHED = FinalOutcome("SHED", None)


class Hold(NamedTuple):
    """Parked until `until`; `own_wait` when it is for the user's own quiet hours (RULES 3.A.2)."""

    until: int
    own_wait: bool
