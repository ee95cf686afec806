"""Python's garbage collector in a process that serves: it looks seldom, and never at what the start left behind.

Decisions and rows make many small objects that live for an epoch and hold no cycles. With the usual thresholds 15 to
30 % of the time in decide and inbox went to looking through them.
"""

import gc

_THRESHOLDS = (200_000, 50, 100)


def settle_collector() -> None:
    """To be called once, when the process has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
