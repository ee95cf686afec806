"""Work that alternates with looks at the log.

The engine asks a source again only when the epoch before has passed through all steps, and for that it calls each of
them some six times. A step that has something to do at every call makes each of these take as long as its work, so the
log was looked at two or three times a second. So between two looks a step does its work once; its other calls end at
once.
"""

from __future__ import annotations

from collections.abc import Callable

_NO_LOOK_S = 0.1
"""After so long it goes on without a look: the source may wait for another process. The steps of all lanes together,
on a busy machine, take less."""


class Alternation:
    """Of one step; asked by its own thread, while any thread may say that the log was looked at."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds."""
        self._monotonic = monotonic
        self._looked, self._goes_on_at = True, 0.0

    def looked(self) -> None:
        """The log is looked at now."""
        self._looked = True

    def my_turn(self) -> bool:
        """Whether work may be done."""
        return self._looked or self._monotonic() >= self._goes_on_at

    def done(self) -> None:
        """Work was done."""
        self._looked, self._goes_on_at = False, self._monotonic() + _NO_LOOK_S
