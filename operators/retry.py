"""The retry budget (RULES 4): how often and how long one delivery is tried again. Time and chance are arguments."""

from dataclasses import dataclass

DELAYS_MS = (1_000, 5_000, 30_000)
"""Before the first, second and third retry, each times a uniform number of JITTER."""
JITTER = (0.6, 1.4)


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


class RetryShare:
    """Retries to one provider never exceed half of its normal rate (RULES 4): a bucket that fills at that speed.

    A retry that finds the bucket empty gets a later time, and with it a place in the queue. One whose time would be too
    late takes no place. Where the clock steps back, the bucket goes on filling from there.
    """

    def __init__(self, rate_per_s: float) -> None:
        self._per_ms = rate_per_s / 2 / 1000
        self._size = max(1.0, self._per_ms * 1000)
        self._level = self._size
        self._at = 0

    def reserve(self, now: int, last: int) -> int | None:
        """Take one retry out of the bucket and give the time from which it may be made: `now` or later.

        None, and nothing is taken, if that is after `last`.
        """
        self._level = min(self._size, self._level + max(0, now - self._at) * self._per_ms)
        self._at = now
        missing = 1 - self._level
        at = now if missing <= 0 else now + int(missing / self._per_ms)
        if at > last:
            return None
        self._level -= 1
        return at
