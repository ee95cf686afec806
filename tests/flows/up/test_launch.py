"""A process loads what it needs: each library below costs 2 to 35 MB in every process that has it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from helpers.places import ROOT
from helpers.waiting import wait_for

from connectors.audit import audit_record
from connectors.log.embedded.log import EmbeddedLog
from flows.config.settings import Settings
from flows.gateway import main
from flows.process.opening import open_configured_log, system_topics
from flows.process.run_files import mark_ready, ready_file
from flows.up.supervisor import FLOW_PROCESSES, SANDBOX, process_table
from infra.services import free_port, wait_port
from state.model.audit import AuditRecord

HEAVY = "aiosmtplib bytewax confluent_kafka cryptography jinja2 numpy phonenumbers pyarrow redis rocksdict wreq".split()
NEEDED = {
    "transactional": "aiosmtplib bytewax cryptography jinja2 numpy wreq",
    "sequence": "bytewax rocksdict",
    "decide": "bytewax numpy pyarrow rocksdict",
    "deliver": "aiosmtplib bytewax cryptography jinja2 numpy pyarrow wreq",
    "inbox": "bytewax numpy pyarrow rocksdict",
    "gateway": "cryptography jinja2 rocksdict",
    "first page of the ledger": "cryptography jinja2 numpy pyarrow rocksdict",
    "up": "",
    SANDBOX: "cryptography",
}
"""As long as no number and no question about the ledger comes."""
MODULES = {
    **{process.name: [f"flows.{flow}" for flow in process.flows] for process in FLOW_PROCESSES},
    "gateway": ["flows.gateway"],
    "first page of the ledger": ["flows.gateway", "flows.commands.backstage"],
    "up": ["flows.cli", "flows.commands.up"],
    SANDBOX: ["connectors.sandbox.__main__"],
}
_TELL = f"print(*(name for name in {HEAVY} if name in sys.modules))"


@pytest.mark.parametrize("process", MODULES)
def test_a_process_loads_what_it_needs(process: str) -> None:
    code = f"import sys, {', '.join(MODULES[process])}; {_TELL}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split() == NEEDED[process].split()


@pytest.mark.parametrize("arguments", [[], ["P0"], ["p0", "ordinary"]])
def test_a_gateway_of_no_kind_does_not_start(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err == "usage: python -m flows.gateway ordinary|p0 [--behind PROCESS ...]\n"


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells what a process has loaded")
@pytest.mark.parametrize(("hours", "is_loaded"), [(7, True), (9, False)])
def test_a_gateway_that_starts_loads_what_reads_the_ledger_if_somebody_may_come_with_a_session(
    tmp_path: Path, hours: int, is_loaded: bool
) -> None:
    at = time.time_ns() // 1_000_000 - hours * 3_600_000
    log = EmbeddedLog(tmp_path, clock=lambda: at)
    log.ensure_topics(system_topics(Settings()))
    log.append([audit_record(AuditRecord(at=at, by="ann", role="ops", act="sign_in"))])
    log.close()
    port = free_port()
    environment = {**os.environ, "CARILLON_DATA_DIR": str(tmp_path), "CARILLON_GATEWAY__PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "flows.gateway", "ordinary"], cwd=ROOT, env=environment)
    maps = Path(f"/proc/{process.pid}/maps")
    try:
        wait_port(port, process)
        wait_for(lambda: is_ready(port), what="it says that it is ready, and nobody asked for a page")
        assert ("pyarrow" in maps.read_text()) == is_loaded
    finally:
        process.terminate()
        process.wait(40)


@pytest.fixture
def gateway_behind(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Port and process of one that is behind two others and has opened its stores."""
    log = EmbeddedLog(tmp_path, clock=lambda: time.time_ns() // 1_000_000)
    log.ensure_topics(system_topics(Settings()))
    log.close()
    port = free_port()
    environment = {**os.environ, "CARILLON_DATA_DIR": str(tmp_path), "CARILLON_GATEWAY__P0_PORT": str(port)}
    command = [sys.executable, "-m", "flows.gateway", "p0", "--behind", "decide", "deliver"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        wait_for((tmp_path / "state" / "gateway-p0" / "admission").exists, what="it has opened its stores")
        yield port, process
    finally:
        process.terminate()
        process.wait(40)


def test_a_gateway_takes_nothing_until_the_processes_that_it_is_behind_are_ready(
    gateway_behind: tuple[int, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """It took events for seconds while flows refused to start."""
    port, process = gateway_behind
    mark_ready(tmp_path, "decide")
    time.sleep(1)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port))
    mark_ready(tmp_path, "deliver")
    wait_port(port, process)
    process.terminate()
    assert process.wait(40) == 0


def test_a_gateway_that_is_told_to_end_while_it_waits_takes_nothing_either(
    gateway_behind: tuple[int, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """It opened its port for a moment, at the end of a start that was refused."""
    _, process = gateway_behind
    time.sleep(1)
    process.terminate()
    process.wait(40)
    assert not ready_file(tmp_path, "p0-gateway").exists()


def test_the_gateway_of_p0_waits_for_the_flow_of_p0_alone() -> None:
    behind = {
        spec.name: spec.command[spec.command.index("--behind") + 1 :]
        for spec in process_table(Settings())
        if "--behind" in spec.command
    }
    flows = tuple(process.name for process in FLOW_PROCESSES)
    assert behind == {"p0-gateway": ("transactional",), "gateway": flows}


def test_a_process_ends_with_its_owner_also_if_that_has_not_read_the_last_beat() -> None:
    """Then its end of the pair does not read as closed, but as reset."""
    ours, its = socket.socketpair()
    code = "import os; from flows.up.launch import _wait_for_end; os.write(0, b'.'); os.close(1); _wait_for_end()"
    with its:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=its.fileno(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    with process:
        assert process.stdout is not None
        process.stdout.read()  # it has written its beat, and waits
        ours.close()
        assert process.wait(30) == -signal.SIGKILL


TERMINATED_EARLY = """
import os, signal, sys
import flows.process.logs as logs, flows.up.launch as launch
logs.configure_logs = lambda name: os.kill(os.getpid(), signal.SIGTERM)
os._exit(launch.main(["it", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("what", [("flows", "schedule"), ("module", "this")], ids=["flows", "module"])
def test_sigterm_that_comes_before_anything_runs_is_heard(tmp_path: Path, what: tuple[str, str]) -> None:
    environment = {**os.environ, "CARILLON_DATA_DIR": str(tmp_path)}
    log = open_configured_log(Settings(data_dir=tmp_path))
    log.ensure_topics(system_topics(Settings()))
    log.close()
    ours, its = socket.socketpair()
    command = [sys.executable, "-c", TERMINATED_EARLY, *what]
    with ours, its, subprocess.Popen(command, stdin=its.fileno(), cwd=ROOT, env=environment) as process:
        assert process.wait(60) == 0
