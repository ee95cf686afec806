"""May a provider's verdict that an address is gone retire it, or are they too many at once? Pure.

A wrong topic, or a production provider for a sandbox's tokens, is answered by "gone" for every address. Of the answers
of the last hour (whole minutes, now's and the 60 before it) some verdicts count whatever their share is. Beyond these a
verdict counts only while verdicts, withheld ones too, are no more than a share of all answers: a provider that fails
everybody retires no further address, and one with a thousand dead addresses of ten thousand retires them.

What is remembered begins with the process. An empty memory lets no burst through: as long as no message was taken, no
verdict beyond the first ones counts.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

_MINUTE_MS = 60_000
_MINUTES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class BrakeConfig:
    """How many verdicts of a provider are believed."""

    always: int = 50
    """In an hour, whatever their share."""
    share: float = 0.1
    """Beyond that, as long as they are no more than this part of the hour's answers; 1 believes everything."""


class Judged(NamedTuple):
    """What becomes of a verdict, and what the hour was that said so."""

    believed: bool
    verdicts: int
    answers: int
    """Verdicts and messages taken."""


@dataclass(slots=True)
class _Minute:
    number: int
    taken: int = 0
    gone: int = 0


class Brake:
    """The last hour of one provider with one credential. Times are milliseconds; one that goes back stands still."""

    def __init__(self, config: BrakeConfig) -> None:
        self._config = config
        self._minutes: deque[_Minute] = deque([_Minute(0)])

    def taken(self, now: int, count: int = 1) -> None:
        """The provider took messages."""
        self._minute(now).taken += count

    def judge(self, now: int) -> Judged:
        """The provider said that an address is gone."""
        self._minute(now).gone += 1
        verdicts = sum(minute.gone for minute in self._minutes)
        answers = verdicts + sum(minute.taken for minute in self._minutes)
        believed = verdicts <= self._config.always or verdicts <= self._config.share * answers
        return Judged(believed, verdicts, answers)

    def _minute(self, now: int) -> _Minute:
        number = max(now // _MINUTE_MS, self._minutes[-1].number)
        if number > self._minutes[-1].number:
            self._minutes.append(_Minute(number))
        while self._minutes[0].number < number - _MINUTES:
            self._minutes.popleft()
        return self._minutes[-1]
