"""The one way in which tests wait for something."""

import time
from collections.abc import Callable

WITHIN_S = 5
"""What people set that stops something is obeyed so soon; once of two times at least on a machine that is busy."""


def wait_for(
    true: Callable[..., object], seconds: float = 90, what: str | Callable[[], str] = "it", *, every_s: float = 0.05
) -> float:
    """Ask until the answer is yes, which took so many seconds; `what` names it, or says at the end all there is to say.

    :raises AssertionError: the answer was no for so long.
    """
    begin = time.monotonic()
    while not true():
        if time.monotonic() > begin + seconds:
            raise AssertionError(f"waited {seconds} s in vain: {what if isinstance(what, str) else what()}")
        time.sleep(every_s)
    return time.monotonic() - begin
