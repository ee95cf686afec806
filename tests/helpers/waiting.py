"""The one way in which tests wait for something."""

import time
from collections.abc import Callable


def wait_for(
    true: Callable[..., object], seconds: float = 90, what: str | Callable[[], str] = "it", *, every_s: float = 0.05
) -> None:
    """Ask until the answer is yes; `what` names it, or says at the end all there is to say.

    :raises AssertionError: the answer was no for so long.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what if isinstance(what, str) else what()}")
        time.sleep(every_s)
