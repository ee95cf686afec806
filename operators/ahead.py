"""Where the time of decisions is ahead of the machine's clock: one that was ahead was set right (DECISIONS, One ordered
log).
"""

CATCHES_UP_MAX_MS = 86_400_000
"""A lead up to here is caught up at half the speed; a larger one would halve the time for too long, and stays."""


def decision_time(shown: int, now: int, ahead: int) -> int:
    """The time of decisions when the machine's clock shows `shown`, which is later than what it shows at `now`."""
    if ahead > CATCHES_UP_MAX_MS:
        return shown + ahead
    return max(shown, now + (shown - now + ahead + 1) // 2)
