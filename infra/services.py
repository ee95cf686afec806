"""Starts and stops the real services that tests need: Apache Kafka (KRaft, one or three brokers) and Redis.

Each service runs on free loopback ports with its data in a temporary folder, and is ended by its own pid. Java, Maven,
Redis, Chromium, Node, npm and nftables come from Debian's packages where they are missing, by root or through sudo
without a password; otherwise the error says what to type. The jars of Kafka are fetched once into `.services/`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".services"
JARS = CACHE / "kafka-3.9.1"
START_DEADLINE = timedelta(seconds=60)

_PACKAGES = {
    "java": "openjdk-17-jre-headless",
    "mvn": "maven",
    "systemd-analyze": "systemd",
    "node": "nodejs",
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
}
"""Of programs that a package of another name brings."""
_PR_SET_PDEATHSIG = 1
_NOT_GIVEN_OUT = range(20_000, 32_000)
"""Below the ports that the kernel gives to whoever connects: one of those could be taken before a process listens."""
_ALONE = ("-Xms256m", "-Xmx512m")
_ONE_OF_MANY = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Several brokers on few cores should start soon rather than run fast."""


class ServiceError(Exception):
    """A service cannot be had; the text says what to do. Tests fail on it, they never skip."""


def free_port() -> int:
    """A loopback port that nobody listens on at this moment, nor is given before somebody does."""
    while True:
        port = secrets.choice(_NOT_GIVEN_OUT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_port(port: int, process: subprocess.Popen[bytes] | None = None, deadline: timedelta = START_DEADLINE) -> None:
    """Wait until something accepts connections on a loopback port; raises when the process ends or time is up."""
    give_up = time.monotonic() + deadline.total_seconds()
    while time.monotonic() < give_up:
        if process and process.poll() is not None:
            raise ServiceError(f"{process.args!r} ended with {process.returncode} before it listened on {port}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise ServiceError(f"nothing listens on port {port} after {deadline.total_seconds()} s")


def require(program: str) -> str:
    """Give the path of a program, after installing its package if it is missing."""
    if not shutil.which(program):
        _install(_PACKAGES.get(program, program))
    path = shutil.which(program)
    if not path:
        raise ServiceError(f"{program} is missing; type: sudo apt-get install -y {_PACKAGES.get(program, program)}")
    return path


def _install(package: str) -> None:
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with _only_one("apt"), contextlib.suppress(OSError):
        for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", package]):
            subprocess.run([*prefix, "apt-get", *command], env=environment, stdout=sys.stderr, check=False)


@contextlib.contextmanager
def _only_one(name: str) -> Iterator[None]:
    """Let one process at a time fetch or install the same thing."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass
class Process:
    """One service process: started, stopped, killed, frozen and started again on the same data and port."""

    command: list[str]
    directory: Path
    port: int
    _child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; only while it runs."""
        if self._child is None:
            raise ServiceError("not started")
        return self._child.pid

    @property
    def lives(self) -> bool:
        """Whether it was started and has not ended, by itself or otherwise."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start and wait until it listens."""
        self.launch()
        self.wait()

    def wait(self) -> None:
        """Wait until it listens."""
        wait_port(self.port, self._child)

    def launch(self) -> None:
        """Start without waiting."""
        with (self.directory / "output.log").open("ab") as output:
            self._child = subprocess.Popen(
                self.command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_dies_with_parent(),  # noqa: PLW1509 - takes no lock in the child
            )

    def stop(self) -> None:
        """End it in order, and by force if that takes more than 20 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it without ending it: connections stay open, nothing is answered once this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        if self._child is not None:  # every thread has stopped, and none gives a last answer
            os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._child is None:
            return
        self._child.send_signal(how)
        self._child.send_signal(signal.SIGCONT)
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None


def _dies_with_parent() -> Callable[[], None] | None:
    """Ask the kernel, on Linux, to kill a child whose parent is gone."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) and None


@dataclass
class Redis:
    """A Redis server without persistence."""

    process: Process
    url: str = ""

    def __post_init__(self) -> None:
        self.url = self.url or f"redis://127.0.0.1:{self.process.port}/0"

    def stop(self) -> None:
        """End it and remove its data."""
        self.process.kill()
        shutil.rmtree(self.process.directory, ignore_errors=True)


@dataclass
class Kafka:
    """Brokers of one cluster; `brokers` may be killed, frozen and started one by one."""

    brokers: list[Process]
    directory: Path
    bootstrap: str = field(init=False)

    def __post_init__(self) -> None:
        self.bootstrap = ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    def stop(self) -> None:
        """End all brokers and remove their data."""
        for broker in self.brokers:
            broker.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def start_redis(*options: str) -> Redis:
    """Start a Redis server; options as on its command line, for example "--maxmemory", "1mb"."""
    directory, port = Path(tempfile.mkdtemp(prefix="carillon-redis-")), free_port()
    data = ["--save", "", "--dir", str(directory), "--set-proc-title", "no"]
    command = [require("redis-server"), "--bind", "127.0.0.1", "--port", str(port), *data]
    process = Process([*command, *options], directory, port)
    process.start()
    return Redis(process)


def start_kafka(
    brokers: int = 1,
    settings: Mapping[str, str] | None = None,
    *,
    make_disk: Callable[[int, Path], None] = lambda _node, path: path.mkdir(),
    client: Mapping[str, str] | None = None,
) -> Kafka:
    """Start a cluster and wait until every broker has joined; `settings` go into each broker's properties.

    `make_disk(node, path)` makes the folder of a broker's data, nodes counted from 1. `client`: what a client of
    librdkafka must set to be let in, by these settings.
    """
    java, jars = require("java"), kafka_jars()
    directory = Path(tempfile.mkdtemp(prefix="carillon-kafka-"))
    ports = [(free_port(), free_port()) for _ in range(brokers)]
    cluster_id = "C" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]  # a leading dash would look like an option
    options = _ONE_OF_MANY if brokers > 1 else _ALONE
    processes = []
    for node, (port, _) in enumerate(ports, 1):
        home = directory / f"broker-{node}"
        home.mkdir()
        make_disk(node, home / "data")
        properties = home / "server.properties"
        properties.write_text(_properties(node, ports, home, settings or {}))
        # What a broker unpacks and leaves when it is killed goes with its folder.
        classpath = [f"-Djava.io.tmpdir={home}", "-cp", f"{jars}/*"]
        short = [java, *_ONE_OF_MANY, *classpath]
        tool = [*short, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"Kafka's storage cannot be formatted: {done.stdout} {done.stderr}")
        command = [java, *options, *classpath, "kafka.Kafka", str(properties)]
        processes.append(Process(command, home, port))
    return _started(Kafka(processes, directory), client or {})


def _started(cluster: Kafka, settings: Mapping[str, str]) -> Kafka:
    """Start the brokers together, since a controller answers only when a majority runs."""
    try:
        for broker in cluster.brokers:
            broker.launch()
        for broker in cluster.brokers:
            broker.wait()
        _wait_members(cluster, settings)
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _wait_members(cluster: Kafka, settings: Mapping[str, str]) -> None:
    """Wait until clients see every broker."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0, **settings})
    give_up = time.monotonic() + START_DEADLINE.total_seconds()
    while time.monotonic() < give_up:
        with contextlib.suppress(KafkaException):
            if len(client.list_topics(timeout=2).brokers) == len(cluster.brokers):
                return
        time.sleep(0.1)
    raise ServiceError(f"not all brokers of {cluster.bootstrap} joined; see {cluster.directory}/*/output.log")


def _properties(node: int, ports: list[tuple[int, int]], home: Path, settings: Mapping[str, str]) -> str:
    """The configuration of a broker that is also a controller, with short intervals so that tests need not wait."""
    port, controller_port = ports[node - 1]
    copies = str(min(3, len(ports)))
    values = {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{quorum}" for n, (_, quorum) in enumerate(ports, 1)),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "log.dirs": str(home / "data"),
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": "2" if len(ports) > 2 else "1",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "log.cleaner.backoff.ms": "200",
        "log.cleaner.dedupe.buffer.size": "33554432",
        "log.initial.task.delay.ms": "500",
        "log.retention.check.interval.ms": "500",
    }
    return "".join(f"{key}={value}\n" for key, value in (values | dict(settings)).items())


def kafka_jars() -> Path:
    """Give the folder of Kafka's jars, fetching them with Maven the first time."""
    with _only_one("kafka"):
        if not JARS.exists():
            draft = JARS.with_name(f"{JARS.name}.{os.getpid()}")
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={draft}"]
            done = subprocess.run(
                [require("mvn"), "-q", "-B", "-f", str(ROOT / "infra" / "pom.xml"), *goal],
                stdout=sys.stderr,
                check=False,
            )
            if done.returncode:
                raise ServiceError(
                    "Maven could not fetch Kafka's jars; check the network or its settings, and try again"
                )
            draft.rename(JARS)
    return JARS
