"""Stop without losing the epoch: SIGTERM and SIGINT ask every source to end, so that the last epoch is committed.

Bytewax ends cleanly only when all its sources raise StopIteration (DECISIONS, Draining the engine): then sinks flush,
the final snapshot is written, the process exits 0 and the next start goes on at the exact offset. Sources get the
returned function and ask it in `next_batch`. With several processes of one cluster, all of them must get the signal.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

_asked = threading.Event()


def install_drain() -> Callable[[], bool]:
    """Give the question "are we stopping?"; in the main thread also answer SIGTERM and Ctrl-C by it.

    Flows that share a process share the answer. Called in another thread it installs no handler: Python takes signals
    in the main thread only. A program that runs flows in threads calls it in the main thread first.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _ask)
        signal.signal(signal.SIGINT, _ask)
    return _asked.is_set


def _ask(_signal: int, _frame: FrameType | None) -> None:
    _asked.set()
