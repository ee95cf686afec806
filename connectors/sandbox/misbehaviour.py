"""Which misbehaviour a recipient asks for, and how often it already got it.

Every name has a dash, which no token has: none is misunderstood.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

_NAMED = re.compile(r"(hang|rst|drop|gone|bad)-")
_SLOW = re.compile(r"slow([0-9]{1,5})-")
_STATUS = re.compile(r"([345][0-9]{2})(?:x([0-9]{1,3}))?-")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do with one message."""

    kind: Literal["take", "hang", "rst", "drop", "gone", "bad", "refuse"]
    status: int = 0
    """Of a refusal."""
    delay_ms: int = 0
    """Before the answer."""


_TAKE = Behaviour("take")


class Misbehaviours:
    """Counts the refusals that end after some times, by recipient."""

    def __init__(self) -> None:
        self._refused: Counter[str] = Counter()

    def of(self, name: str) -> Behaviour:
        """The behaviour that this name asks for, this time."""
        if not name or name[0] not in "hrdgbs345":
            return _TAKE
        if named := _NAMED.match(name):
            return Behaviour(named.group(1))  # type: ignore[arg-type]  # the expression has these words only
        if slow := _SLOW.match(name):
            return Behaviour("take", delay_ms=int(slow.group(1)))
        if refusal := _STATUS.match(name):
            return self.refusal(name, int(refusal.group(1)), int(refusal.group(2) or 0))
        return _TAKE

    def refusal(self, name: str, status: int, times: int) -> Behaviour:
        """Refuse `name`, the first `times` times (0: always)."""
        if times and self._refused[name] >= times:
            return _TAKE
        self._refused[name] += 1
        return Behaviour("refuse", status)
