"""`carillon up`: the whole system on one machine, as processes that restart when they die and stop when it stops.

    supervisor ─┬─ sandbox         providers without a credential (not part of the system: it judges what was sent)
                ├─ gateway         p0-gateway
                ├─ sequence        sequence, schedule
                ├─ decide          one Bytewax cluster of `processes.decide` processes: a unit
                ├─ deliver
                ├─ inbox           inbox, track
                └─ transactional   P0, with nothing in common with the others

At most eight processes of ours (DECISIONS, Few processes), unless more are to decide. All but P0's run at nice 19: P0's
p99 beside four busy processes was measured as 204 ms at equal priority and 7 ms so (DECISIONS, P0 shares nothing). The
directory is locked for the supervisor's life. A process that dies or hangs is started again with its unit, with
back-off (`flows.up.processes`). If another system takes the place of a process, that process is not started again and
the supervisor ends.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from connectors.sandbox.ports import read_ports
from flows.config.credentials import development_credentials
from flows.config.served import needs_sandbox
from flows.config.settings import Settings, child_environment
from flows.process.liveness import FENCED_EXIT
from flows.process.open import clock_ms
from flows.process.opening import open_configured_log, system_topics
from flows.process.refusal import Refusal, refused_in
from flows.process.room import full_disk
from flows.process.run_files import Rebuild, Running, forget_processes, ready_file, take_rebuilds, write_running
from flows.process.wild_clock import refuse_wild_clock
from flows.up.maintenance import maintain
from flows.up.patience import StartPatience
from flows.up.ports import ReservedPorts
from flows.up.processes import STANDS_FOR, ProcessError, ProcessEvent, ProcessGroup, ProcessSpec
from state.disk.lock import StateLock

SANDBOX = "sandbox"
_CLUSTERED = "decide"
_CLUSTER_HOST = "127.0.0.1"
_NICE = 19
_LOOK = timedelta(milliseconds=50)
_START_DEADLINE = timedelta(seconds=90)
"""How long a start may go on without one more process being ready."""
_STAGE_DEADLINE = timedelta(seconds=25)
_FAILURES_AT_START, _REFUSALS_AT_START = 4, 2
_LINES_MAX = 200
"""So many of the last lines of a log are looked through for a refusal."""
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FlowProcess:
    """Flows that share a process."""

    name: str
    flows: tuple[str, ...]
    turn: int
    """Order of draining: a process ends before those that read from it."""
    nice: bool = True
    """Whether it gives way to P0."""


FLOW_PROCESSES = (
    FlowProcess("transactional", ("transactional",), turn=4, nice=False),
    FlowProcess("sequence", ("sequence", "schedule"), turn=2),
    FlowProcess("decide", ("decide",), turn=3),
    FlowProcess("deliver", ("deliver",), turn=4),
    FlowProcess("inbox", ("inbox", "track"), turn=5),
)


class Supervisor:
    """One run of the system; `start`, then `step` until it is time to `stop`. For the main thread."""

    def __init__(
        self,
        settings: Settings,
        on_event: Callable[[ProcessEvent | Rebuild], None],
        *,
        starts_within: timedelta = _START_DEADLINE,
    ) -> None:
        """Take the data directory. `starts_within`: how long a start may get no further.

        :raises StateLockedError: another supervisor owns it.
        """
        self._report = on_event
        self._lock = StateLock.acquire(settings.data_dir / "run", "carillon up")
        self.settings = settings
        self.url = self.p0_url = self.steering_url = ""
        self.rebuilds = not (settings.data_dir / "state").exists() and (settings.data_dir / "log").exists()
        """Whether the state is missing and the log is not: then the flows read it from its begin."""
        # On Kafka a flow waits so long for brokers before it ends and is started again.
        self._starts_within = starts_within + _patience(settings)
        stands_for = STANDS_FOR + _patience(settings)
        self._group = ProcessGroup(settings.data_dir / "run" / "logs", self._happened, stands_for=stands_for)
        self._ports: ReservedPorts | None = None
        self._ending = threading.Event()
        self._maintenance = threading.Thread(
            target=lambda: maintain(self.settings, self._ending.wait), name="log-maintenance", daemon=True
        )

    def start(self, stopping: Callable[[], bool]) -> bool:
        """Start everything and wait until it serves; false when it was asked to stop meanwhile.

        :raises PortError: a configured port is in use.
        :raises ConfigurationError: the development credentials do not decode.
        :raises ProcessError: a process does not start; the text holds the end of its log.
        """
        self._ports = ReservedPorts(self.settings.gateway)
        gateway = replace(self.settings.gateway, port=self._ports.ordinary, p0_port=self._ports.p0)
        self.settings = replace(self.settings, gateway=gateway)
        self.url, self.p0_url = (f"http://{gateway.host}:{port}" for port in (gateway.port, gateway.p0_port))
        self._ensure_topics()
        if not self.settings.senders or self.settings.gateway.user_secret is None:
            development_credentials(self.settings.data_dir)  # what the gateways would refuse is said before all starts
        if needs_sandbox(self.settings) and not self._start_sandbox(stopping):
            return False
        names = []
        for spec in process_table(self.settings, self._cluster_ports(self._ports)):
            ready_file(self.settings.data_dir, spec.name).unlink(missing_ok=True)
            self._group.start(spec)
            names.append(spec.name)
        if not self._wait(lambda: sum(not self._is_ready(name) for name in names), stopping):
            return False
        self._group.settle()
        self._maintenance.start()
        return True

    def log_file(self) -> Path:
        """Where the supervisor itself logs, beside its processes."""
        directory = self.settings.data_dir / "run" / "logs"
        directory.mkdir(parents=True, exist_ok=True)
        return directory / "supervisor.log"

    def step(self) -> None:
        """Notice what died or hangs and start it again; call it often.

        :raises ProcessError: another system took over a place of this one, which therefore ends.
        """
        self._group.watch()
        for rebuild in take_rebuilds(self.settings.data_dir):
            self._report(rebuild)
        if self._group.ended_for_good is not None:
            raise ProcessError(self._was_fenced(self._group.ended_for_good))

    def _was_fenced(self, name: str) -> str:
        lines = [line for line in self._group.last_lines(name, 20) if '"event": "fenced"' in line]
        why = msgspec.json.decode(lines[-1])["detail"] if lines else f"{name} was taken over by another process"
        return f"{why} Two systems must not share a log."

    def _cluster_ports(self, ports: ReservedPorts) -> list[int]:
        """Where the processes of decide meet; none for a single one."""
        number = self.settings.processes.decide
        return [ports.another(_CLUSTER_HOST) for _ in range(number)] if number > 1 else []

    def processes(self) -> dict[str, int]:
        """Name and pid of what runs, the sandbox included."""
        return self._group.pids()

    def stop(self) -> list[str]:
        """Drain and end everything; names what did not drain."""
        self._ending.set()
        try:
            return self._group.drain(_STAGE_DEADLINE)
        finally:
            self._group.kill()
            forget_processes(self.settings.data_dir)
            if self._ports is not None:
                self._ports.close()
            self._lock.release()

    def _ensure_topics(self) -> None:
        log = open_configured_log(self.settings)
        try:
            log.ensure_topics(system_topics(self.settings))
            refuse_wild_clock(log, clock_ms(), self.settings.log.rest_max)
        finally:
            log.close()

    def _start_sandbox(self, stopping: Callable[[], bool]) -> bool:
        ports = self.settings.data_dir / "sandbox" / "ports.json"
        before = ports.stat().st_mtime_ns if ports.exists() else 0
        directory = str(self.settings.data_dir.absolute())
        self._group.start(_spec(self.settings, SANDBOX, "module", "connectors.sandbox", "--dir", directory, turn=6))
        if not self._wait(lambda: not (ports.exists() and ports.stat().st_mtime_ns > before), stopping):
            return False
        self.steering_url = f"http://127.0.0.1:{read_ports(ports.parent).steering}"
        return True

    def _wait(self, lacking: Callable[[], int], stopping: Callable[[], bool]) -> bool:
        """Wait until every process is ready; false when asked to stop."""
        patience = StartPatience(self._starts_within)
        while lack := lacking():
            if stopping():
                return False
            self.step()
            broken = [name for name in self._group.names() if self._is_broken(name)]
            if broken or patience.is_over(lack, time.monotonic()):
                raise ProcessError(self._does_not_start(broken))
            time.sleep(_LOOK.total_seconds())
        return True

    def _does_not_start(self, broken: Sequence[str]) -> str:
        late = broken or [name for name in self._group.names() if not self._is_ready(name)] or [SANDBOX]
        refusals = dict.fromkeys(refusal.detail for name in late if (refusal := self._refusal(name)) is not None)
        if refusals:  # what else did not start waits for those, or fails by them
            return f"{', '.join(late)} did not start: {'; '.join(refusals)}"
        tails = [f"{self._group.log_file(name)}:\n  " + "\n  ".join(self._group.last_lines(name, 8)) for name in late]
        room = full_disk(self.settings.data_dir)
        why = "" if broken else f", though they run: not within {self._starts_within.total_seconds():.0f} s"
        why += "" if room is None else f": {self.settings.data_dir}: {room}"
        return f"{', '.join(late)} did not start{why}\n" + "\n".join(tails)

    def _is_broken(self, name: str) -> bool:
        """Whether it died so often that it does not start, which takes less if it says why that does not pass."""
        failures = self._group.failures(name)
        if failures < _REFUSALS_AT_START or failures >= _FAILURES_AT_START:
            return failures >= _FAILURES_AT_START
        refusal = self._refusal(name)
        return refusal is not None and not refusal.passes

    def _refusal(self, name: str) -> Refusal | None:
        return refused_in(self._group.last_lines(name, _LINES_MAX))

    def _is_ready(self, name: str) -> bool:
        if name == SANDBOX:
            return True
        if not ready_file(self.settings.data_dir, name).exists():
            return False
        url = {"gateway": self.url, "p0-gateway": self.p0_url}.get(name)
        return url is None or answers(url)

    def _happened(self, event: ProcessEvent) -> None:
        if event.event != "exit":
            pids = self._group.pids()
            running = Running(self.url, self.p0_url, self.settings.profile, pids, self.steering_url)
            try:
                write_running(self.settings.data_dir, running)
            except OSError as error:  # a full disk: the system goes on, commands beside it see the older file
                _logger.warning("processes_not_written", error=error.strerror)
        self._report(event)


def process_table(settings: Settings, cluster_ports: Sequence[int] = ()) -> list[ProcessSpec]:
    """What is started, in this order. The gateways make the system reachable: they are last, and behind the flows, that
    of P0 behind its own alone.

    `cluster_ports`: one for each process of decide, if there are several.
    """
    flows = [spec for process in FLOW_PROCESSES for spec in _flow_specs(settings, process, cluster_ports)]
    names = [spec.name for spec in flows]
    return [
        *flows,
        _spec(settings, "p0-gateway", "module", "flows.gateway", "p0", "--behind", "transactional", turn=1),
        _spec(settings, "gateway", "module", "flows.gateway", "ordinary", "--behind", *names, turn=1, nice=_NICE),
    ]


def _flow_specs(settings: Settings, process: FlowProcess, cluster_ports: Sequence[int]) -> Iterator[ProcessSpec]:
    nice = _NICE if process.nice else 0
    single = _spec(settings, process.name, "flows", *process.flows, turn=process.turn, nice=nice)
    if process.name != _CLUSTERED or not cluster_ports:
        yield replace(single, final=FENCED_EXIT)
        return
    addresses = ";".join(f"{_CLUSTER_HOST}:{port}" for port in cluster_ports)
    for number in range(len(cluster_ports)):
        name = f"{process.name}-{number}" if number else process.name
        spec = _spec(settings, name, "flows", *process.flows, turn=process.turn, nice=nice)
        place = {"BYTEWAX_PROCESS_ID": str(number), "BYTEWAX_ADDRESSES": addresses}
        yield replace(spec, environment={**spec.environment, **place}, unit=process.name, final=FENCED_EXIT)


def _spec(settings: Settings, name: str, *arguments: str, turn: int, nice: int = 0) -> ProcessSpec:
    command = (sys.executable, "-m", "flows.up.launch", name, *arguments)
    return ProcessSpec(name, command, child_environment(settings), turn, nice)


def _patience(settings: Settings) -> timedelta:
    """How long flows wait for their log before they end."""
    return settings.kafka.patience if settings.profile == "kafka" else timedelta()


def answers(url: str) -> bool:
    """Whether the gateway there says that it is ready."""
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def directory_of(settings: Settings) -> Path:
    """DIR as an absolute path, for what is printed."""
    return settings.data_dir.absolute()
