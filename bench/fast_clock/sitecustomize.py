"""For processes that are to live a day in minutes: with this folder in PYTHONPATH, the wall clock is another one.

`BENCH_CLOCK` says from when (seconds since 1970) it runs how many times as fast. So does the one that tells a process
whether the wall clock was set (`flows.process.open`); nothing else asks that one in nanoseconds. Clocks that only
measure (`monotonic`) are as ever, and so is the clock of C code: certificates stay valid, and the engine's timers are
real.
"""

import os
import time

_begin_s, _, _speed = os.environ.get("BENCH_CLOCK", "").partition(":")
_real_ns, _real_running_ns = time.time_ns, time.clock_gettime_ns


def _fast_ns() -> int:
    begin_ns = int(float(_begin_s) * 1e9)
    return begin_ns + int((_real_ns() - begin_ns) * float(_speed))


if _speed:
    time.time_ns = _fast_ns
    time.time = lambda: _fast_ns() / 1e9
    time.clock_gettime_ns = lambda clock: int(_real_running_ns(clock) * float(_speed))
