"""How far a station is behind what it reads, told by its own threads and looked at by another."""

from __future__ import annotations

from collections.abc import Callable


class Backlog:
    """One station's in this process. Every method may be called by any thread."""

    def __init__(self, lanes: int | None = None) -> None:
        """Of so many lanes; None: of all that are told of."""
        self._lanes = lanes
        self._oldest: dict[int, int | None] = {}
        self.full: Callable[[], float] = lambda: 0.0
        """The share of its room that the fullest lane uses."""

    def tell(self, lane: int, oldest_ms: int | None) -> None:
        """When the oldest record that waits in a lane was appended, in ms; None: none waits."""
        if self._lanes is None or lane < self._lanes:
            self._oldest[lane] = oldest_ms

    def lags_ms(self, now_ms: int) -> list[int]:
        """For how long the oldest record of each lane has been waiting."""
        return [0 if oldest is None else max(0, now_ms - oldest) for oldest in self._oldest.copy().values()]
