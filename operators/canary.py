"""Whether a version of Carillon that runs beside another one, or after it, confirms as much of what it was handed.

A version that loses things in silence says nothing wrong: its own counts agree with each other. So it is judged by what
others wrote: who decided counts what was handed out, and a provider's answer is what confirms it.
"""

from math import sqrt
from typing import Literal, NamedTuple

DEVIATION = 0.05
"""By so much of the other's share a version may confirm less."""
FEW = 100
"""Of fewer nothing is said."""
_SURE = 3.0
"""Standard errors: chance alone is beyond these once in a thousand looks."""
Comparison = Literal["alike", "worse", "unsure", "few"]


class Handled(NamedTuple):
    """What one side was handed, and how much of it a provider took."""

    handed_out: int
    confirmed: int

    @property
    def share(self) -> float:
        """Confirmed of what was handed out."""
        return self.confirmed / self.handed_out if self.handed_out else 0.0


def compared(new: Handled, old: Handled) -> Comparison:
    """`worse`: less by more than `DEVIATION`, and not by chance. `alike`: no less. `unsure`: after so little, such a
    difference could be chance.
    """
    if min(new.handed_out, old.handed_out) < FEW:
        return "few"
    both = (new.confirmed + old.confirmed) / (new.handed_out + old.handed_out)
    doubt = _SURE * sqrt(both * (1 - both) * (1 / new.handed_out + 1 / old.handed_out))
    allowed = DEVIATION * old.share
    less = old.share - new.share
    if less > max(allowed, doubt):
        return "worse"
    return "alike" if both and (doubt <= allowed or less < -doubt) else "unsure"
