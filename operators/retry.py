"""The retry budget (RULES 4): how often and how long one delivery is tried again. Time and chance are arguments."""

from collections import deque
from dataclasses import dataclass

DELAYS_MS = (1_000, 5_000, 30_000)
"""Before the first, second and third retry, each times a uniform number of JITTER."""
JITTER = (0.6, 1.4)
SHARE = 0.5
"""Retries for each first try."""
FEW, FEW_PER_S = 10.0, 1.0
"""Retries that may be made beside these: at once, and a second."""
_SECONDS = 30


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many retries, and within how long after the first attempt."""

    retries: int
    within_ms: int


BUDGETS = {"P0": RetryBudget(3, 60_000), "P1": RetryBudget(2, 120_000), "P2": RetryBudget(1, 300_000)}


def retry_at(
    priority: str,
    attempts: int,
    *,
    first_at: int,
    now: int,
    jitter: float,
    retry_after_ms: int | None = None,
    valid_until: int,
) -> int | None:
    """When a delivery that failed is tried again; None when its budget is exhausted.

    `attempts` have been made, the first at `first_at`; `jitter` is drawn from JITTER. The provider's `retry_after_ms`
    is obeyed: it may lengthen the wait, never shorten it. A retry that would come after the budget's time or after
    `valid_until` does not happen.
    """
    budget = BUDGETS[priority]
    if attempts < 1 or attempts > budget.retries:
        return None
    wait = max(int(DELAYS_MS[attempts - 1] * jitter), retry_after_ms or 0)
    at = now + wait
    return at if at - first_at <= budget.within_ms and at <= valid_until else None


def expires_first(priority: str, attempts: int, *, first_at: int, valid_until: int) -> bool:
    """Whether a delivery without a next try still had one, and only its own time was too short: it ends as EXPIRED.

    Never of P0: what its provider did not take always ends as DEAD_LETTER, with an alert.
    """
    budget = BUDGETS[priority]
    return priority != "P0" and attempts <= budget.retries and valid_until < first_at + budget.within_ms


class _Bucket:
    """What may be taken before it is there: who does gets the time at which it will be.

    Where the clock steps back, it goes on filling from there.
    """

    def __init__(self, per_s: float, size: float) -> None:
        self._per_ms = per_s / 1000
        self._at = 0
        self.size = self.level = size

    def due(self, now: int) -> int:
        """When one more may be had."""
        self.level = min(self.size, self.level + max(0, now - self._at) * self._per_ms)
        self._at = now
        missing = 1 - self.level
        return now if missing <= 0 else now + int(missing / self._per_ms)


class RetryShare:
    """Retries to one provider never exceed half of its normal rate (RULES 4), whatever its breaker says.

    Normal is `rate_per_s` at most. For P1 and P2 it is also what is tried for the first time: two such tries earn a
    retry, void when it is not used within 30 s (whole seconds, now's and the 29 before it), and a few more are free, so
    that who is rarely called is tried again too. A retry that would be too many gets a later time, and with it a place
    in the queue. One whose time would be too late takes no place.
    """

    def __init__(self, rate_per_s: float) -> None:
        half = rate_per_s * SHARE
        self._of_rate = _Bucket(half, max(1.0, half))
        self._earned = _Bucket(min(FEW_PER_S, half), FEW)
        self._seconds: deque[tuple[int, int]] = deque([(0, 0)])
        self._first = 0

    def first(self, now: int, messages: int = 1) -> None:
        """So many messages were tried for the first time."""
        self._look(now)
        number, count = self._seconds.pop()
        self._seconds.append((number, count + messages))
        self._first += messages
        self._earned.size += SHARE * messages
        self._earned.level += SHARE * messages

    def reserve(self, now: int, last: int, *, urgent: bool = False) -> int | None:
        """Count one retry, and give the time from which it may be made: `now` or later; `urgent`: it is of P0.

        None, and nothing is counted, if that is after `last`.
        """
        self._look(now)
        buckets = (self._of_rate,) if urgent else (self._of_rate, self._earned)
        at = max(bucket.due(now) for bucket in buckets)
        if at > last:
            return None
        for bucket in buckets:
            bucket.level -= 1
        return at

    def _look(self, now: int) -> None:
        number = max(now // 1000, self._seconds[-1][0])
        if number != self._seconds[-1][0]:
            self._seconds.append((number, 0))
        while self._seconds[0][0] <= number - _SECONDS:
            self._first -= self._seconds.popleft()[1]
        self._earned.size = FEW + SHARE * self._first
        self._earned.level = min(self._earned.size, self._earned.level)
