"""How the supervisor starts a process of the system, so that none can outlive it.

    python -m flows.up.launch NAME flows sequence schedule        Bytewax flows that share the process, one thread each
    python -m flows.up.launch NAME module connectors.sandbox ...  a module with a command line of its own

Standard input is a pipe or a socket whose other end only the supervisor holds. When it closes, the supervisor is gone,
and this process ends at once, as in a crash, which every part of the system survives. On Linux the kernel does the
same, also for a stopped process. Every second a byte goes into the socket that says whether the flows make progress
(`flows.process.liveness`); silence means that the process hangs (`flows.up.processes`).

One flow may run as several such processes: `BYTEWAX_PROCESS_ID` and `BYTEWAX_ADDRESSES` tell each which it is
(`flows.process.cluster`). A flow runs with epochs of `lanes.epoch`, and without a recovery store of Bytewax: each keeps
its own offsets. When one flow fails, the process ends with 1: a restart resumes all of its flows at their last complete
epoch.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import runpy
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from flows.process.drain import install_drain
from flows.process.liveness import LIVENESS

_SET_PARENT_DEATH_SIGNAL = 1
BEAT = timedelta(seconds=1)
"""How often a sign of life is given."""


def end_with_parent() -> None:
    """Kill this process when standard input ends or, on Linux, when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    threading.Thread(target=_wait_for_end, name="parent-watch", daemon=True).start()
    if stat.S_ISSOCK(os.fstat(0).st_mode):
        threading.Thread(target=_beat, name="sign-of-life", daemon=True).start()


def _take_sigterm(kind: str) -> None:
    """From the first moment: a flow drains as soon as it runs, and a module that serves nothing yet has drained."""
    if kind == "flows":
        install_drain()
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _beat() -> None:
    line = socket.socket(fileno=os.dup(0))
    while True:
        with contextlib.suppress(BlockingIOError):  # the supervisor did not look for long: it has enough of them
            line.send(LIVENESS.sign(), socket.MSG_DONTWAIT)
        time.sleep(BEAT.total_seconds())


def _wait_for_end() -> None:
    with contextlib.suppress(ConnectionError):  # it was killed before it looked at the last beat
        while os.read(0, 1024):
            pass  # whatever is written there means only that the supervisor lives
    os.kill(os.getpid(), signal.SIGKILL)


def run_flows(names: Sequence[str], *, epoch: timedelta, ready: Callable[[], None]) -> int:
    """Run the flows until all are drained, calling `ready` once they run; gives the exit code."""
    from flows.process.memory import settle_memory

    stopping = install_drain()
    modules = [importlib.import_module(f"flows.{name}") for name in names]
    results: list[BaseException | None] = []
    threads = []
    for name, module in zip(names, modules, strict=True):
        run = _runner(name, module, epoch)
        threads.append(threading.Thread(target=_guarded, args=(name, run, stopping, results), name=name, daemon=True))
    settle_memory()
    for thread in threads:
        thread.start()
    ready()
    for thread in threads:
        while thread.is_alive():
            thread.join(timeout=0.2)  # signals are handled between the waits
            if any(result is not None for result in results):
                return 1
    return 0


def _runner(name: str, module: Any, epoch: timedelta) -> Callable[[], None]:
    from bytewax._bytewax import cli_main

    from flows.config.settings import cluster_variables
    from flows.process.cluster import cluster_place
    from flows.steps.sources.watched import watch_sources

    flow = module.build()
    watch_sources(flow, partial(LIVENESS.asks, name))
    addresses = cluster_variables().get("BYTEWAX_ADDRESSES")
    place = cluster_place()
    return lambda: cli_main(
        flow,
        workers_per_process=place.workers_per_process,
        process_id=place.process if addresses else None,
        addresses=addresses.split(";") if addresses else None,
        epoch_interval=epoch,
    )


def _guarded(
    name: str, run: Callable[[], None], stopping: Callable[[], bool], results: list[BaseException | None]
) -> None:
    import structlog

    from flows.process.refusal import say_refused

    logger = structlog.get_logger(__name__)
    try:
        run()
        if not stopping():
            raise RuntimeError(f"the flow {name} ended although nobody asked it to")
    except BaseException as error:  # the engine's panics are no Exception; any of them ends the process
        logger.exception("flow_failed", flow=name)
        say_refused(error)
        results.append(error)
    else:
        logger.info("flow_drained", flow=name)
        results.append(None)


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Run a module as `python -m` would."""
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    return 0


def main(arguments: Sequence[str]) -> int:
    """See the module's text."""
    name, kind, *rest = arguments
    _take_sigterm(kind)
    end_with_parent()
    from flows.process.logs import configure_logs

    configure_logs(name)
    try:
        return run_module(rest[0], rest[1:]) if kind == "module" else _run_named(name, rest)
    except Exception as error:  # noqa: BLE001 - whatever it is ends the process, and its log says so
        import structlog

        from flows.process.refusal import say_refused

        structlog.get_logger(__name__).exception("process_failed")
        say_refused(error)
        return 1


def _run_named(name: str, flows: Sequence[str]) -> int:
    from flows.config.settings import load_settings
    from flows.process.run_files import mark_ready

    settings = load_settings()
    return run_flows(flows, epoch=settings.lanes.epoch, ready=lambda: mark_ready(settings.data_dir, name))


if __name__ == "__main__":
    # Nothing prints in colour here, for which structlog would load it: 4 MB in every process.
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python is told that there is none
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: a failed flow leaves threads behind that would not end by themselves.
    os._exit(code)
