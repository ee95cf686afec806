"""Admissions per second of one gateway process on one core, single and in batches: `python -m bench.admissions`.

A real gateway process over the embedded log, pinned to one core; the client drives it from another. Posts of 300 bytes
with a client's key each: validated, reserved, appended durably, committed, then answered. Closed loop: every connection
sends its next post when it has the answer, so the p99 is that of a gateway that is always busy.
"""

import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.figures import ROOT, record
from bench.processes import cpu_seconds, peak_rss_mb
from bench.sites import new_log, open_log
from connectors.gateway.app import build_app
from connectors.gateway.options import GatewayOptions, ServiceKey, UserTokens, hash_key
from connectors.gateway.serve import serve
from flows.process.memory import settle_memory
from flows.process.open import clock_ms
from operators.admit import Rules
from state.model.registry import load_registry

KEY = "bench-key"
CONNECTIONS = 64
BATCH_CONNECTIONS = 4
BATCH_EVENTS = 800
_TEXT = "some text that makes this post about three hundred bytes long, as people do"
Request = Callable[[int], bytes]
_NUMBERS = itertools.count()


def event(number: int) -> str:
    names = f'"actor":"user-{number}","target":"user-{number * 7 % 100_000}","object":"photo-{number % 999}"'
    payload = f'"created_at":1700000000000,"payload":{{"title":"liked","text":"{_TEXT}"}}'
    return f'{{"type":"like",{names},"idempotency_key":"{number}",{payload}}}'


def request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def single(number: int) -> bytes:
    return request("/v1/notifications", event(number).encode())


def batch(number: int) -> bytes:
    events = (event((number + 10**9) * BATCH_EVENTS + at) for at in range(BATCH_EVENTS))
    return request("/v1/notifications/batch", f"[{','.join(events)}]".encode())


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete; keeps the latencies."""

    def __init__(self, numbers: Iterator[int], make: Request, deadline_s: float, latencies_ms: list[float]) -> None:
        self._numbers, self._make, self._deadline_s, self._latencies = numbers, make, deadline_s, latencies_ms
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer = b""
        self._begin_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        self._send()

    def _send(self) -> None:
        self._answer = b""
        data = self._make(next(self._numbers))
        self._begin_s = time.perf_counter()
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        status = head[9:12]
        accepted = status == b"202" or (status == b"200" and body.count(b'"status":202') == BATCH_EVENTS)
        if not accepted:
            self.done.set_exception(RuntimeError(f"answered {status.decode()}: {body[:300]!r}"))
            self._transport.close()
            return
        now_s = time.perf_counter()
        self._latencies.append((now_s - self._begin_s) * 1000)
        if now_s < self._deadline_s:
            self._send()
        else:
            self._transport.close()
            self.done.set_result(None)


async def drive(port: int, make: Request, connections: int, seconds: float) -> tuple[list[float], float]:
    latencies: list[float] = []
    begin = time.perf_counter()
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Connection(_NUMBERS, make, begin + seconds, latencies), "127.0.0.1", port)
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(connection.done for _, connection in opened))
    return latencies, time.perf_counter() - begin


def run_gateway(directory: Path) -> None:
    """The measured process, on the first core it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    log = open_log(directory)
    keys = (ServiceKey(hash_key(KEY), "producer", "bench", limit_per_s=10**9),)
    options = GatewayOptions(directory, keys=keys, users=UserTokens("x" * 32))
    app = build_app(options, log=log, rules=Rules(load_registry()), clock=clock_ms)
    settle_memory()  # as `flows.gateway`
    serve(options, app, on_ready=lambda port: print(port, flush=True))
    log.close()


@contextmanager
def gateway() -> Iterator[tuple[int, int]]:
    """Port and process id of a gateway over an empty log."""
    with tempfile.TemporaryDirectory() as directory:
        new_log(Path(directory)).close()
        command = [sys.executable, "-m", "bench.admissions", directory]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()


def main(*, seconds: float = 8.0) -> None:
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with gateway() as (port, pid):
        uvloop.run(drive(port, single, CONNECTIONS, 1.0))
        before = cpu_seconds(pid)
        latencies, elapsed = uvloop.run(drive(port, single, CONNECTIONS, seconds))
        cpu_us = (cpu_seconds(pid) - before) / len(latencies) * 1e6
        p99_ms = sorted(latencies)[int(len(latencies) * 0.99)]
        work = f"300-byte posts with a key each, {CONNECTIONS} connections, embedded log"
        measured: dict[str, Any] = {
            "work": work,
            "n": len(latencies),
            "seconds": elapsed,
            "peak_rss_mb": peak_rss_mb(pid),
        }
        record(
            "admissions", "admissions_single_per_core", len(latencies) / elapsed, "posts/s",
            **measured, cpu_us_per_post=round(cpu_us, 1),
        )  # fmt: skip
        record("admissions", "admissions_single_p99_ms", p99_ms, "ms", **measured)
        before = cpu_seconds(pid)
        latencies, elapsed = uvloop.run(drive(port, batch, BATCH_CONNECTIONS, seconds))
        events = len(latencies) * BATCH_EVENTS
        cpu_us = (cpu_seconds(pid) - before) / events * 1e6
        record(
            "admissions", "admissions_batch_per_core", events / elapsed, "events/s",
            work=f"batches of {BATCH_EVENTS} such events, {BATCH_CONNECTIONS} connections", n=events, seconds=elapsed,
            peak_rss_mb=peak_rss_mb(pid), cpu_us_per_event=round(cpu_us, 1),
        )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_gateway(Path(sys.argv[1]))
    else:
        main()
