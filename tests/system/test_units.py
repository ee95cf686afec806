"""What infra/ gives to process managers: the units verify, and their very command lines are a system that works."""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from helpers.places import ROOT
from helpers.sandbox_process import running_sandbox
from helpers.up import carillon
from helpers.waiting import wait_for

from flows.config.credentials import development_credentials
from flows.process.liveness import FENCED_EXIT
from flows.up.ports import any_port
from flows.up.supervisor import FLOW_PROCESSES
from infra.services import require

UNITS = ROOT / "infra" / "systemd"
COMMON = "carillon-.service.d/common.conf"
INSTALLED = "/opt/carillon/.venv/bin/"
FLOWS = {flow for process in FLOW_PROCESSES for flow in process.flows}


def units() -> dict[str, dict[str, str]]:
    """Name of the process to the settings of its unit."""
    common = settings_in(UNITS / COMMON)
    return {
        path.stem.removeprefix("carillon-"): common | settings_in(path) for path in UNITS.glob("carillon-*.service")
    }


def settings_in(path: Path) -> dict[str, str]:
    lines = [line.partition("=") for line in path.read_text().splitlines() if re.match(r"\w+=", line)]
    return {key: value for key, _, value in lines}


def command(unit: dict[str, str]) -> list[str]:
    program, *arguments = shlex.split(unit["ExecStart"])
    assert program.startswith(INSTALLED)
    return [str(Path(sys.executable).parent / program.removeprefix(INSTALLED)), *arguments]


def starting_order() -> list[str]:
    """Each unit behind those it names in After=."""
    waits = {
        name: {word.removeprefix("carillon-").removesuffix(".service") for word in unit["After"].split()} & set(units())
        for name, unit in units().items()
    }
    order: list[str] = []
    while waits:
        ready = sorted(name for name, before in waits.items() if before <= set(order))
        assert ready, f"the order of {sorted(waits)} is a circle"
        order += ready
        waits = {name: before for name, before in waits.items() if name not in ready}
    return order


def test_every_process_has_a_unit_that_drains_and_restarts() -> None:
    found, common = units(), settings_in(UNITS / COMMON)
    assert found.keys() == FLOWS | {"gateway", "p0-gateway", "topics", "maintenance"}
    for name, unit in found.items():
        assert not common.keys() & settings_in(UNITS / f"carillon-{name}.service").keys(), "what is common would win"
        assert unit["Restart"] in ("always", "on-failure")
        assert unit["StartLimitIntervalSec"] == "0", "tried until a broker that is late is there"
        assert "Requires" not in unit, "one that failed to start once would keep it down for ever"
        if name == "topics":
            continue
        assert "carillon-topics.service" in unit["Wants"].split()
        assert unit["KillMode"] == "mixed"
        assert int(unit["TimeoutStopSec"]) > 25, "less than the drain may take"
        assert int(unit["RestartPreventExitStatus"]) == FENCED_EXIT
        assert (int(unit["Nice"]) == 0) is (name in ("transactional", "p0-gateway")), "P0 gives way to nobody"
    target = (UNITS / "carillon.target").read_text()
    assert all(f"carillon-{name}.service" in target for name in found)


def verified(directory: Path) -> tuple[int, str]:
    """What systemd itself says about the units in a directory."""
    units = sorted(str(path) for path in directory.iterdir() if path.is_file())
    command = [require("systemd-analyze"), "verify", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stderr


def test_systemd_finds_nothing_wrong_and_would_find_it(tmp_path: Path) -> None:
    (tmp_path / COMMON).parent.mkdir()
    for path in (*UNITS.glob("carillon*.*"), UNITS / COMMON):
        if path.is_file():
            here = path.read_text().replace(INSTALLED, f"{Path(sys.executable).parent}/")
            here = here.replace("/opt/carillon", str(ROOT)).replace("User=carillon", "DynamicUser=yes")
            (tmp_path / path.relative_to(UNITS)).write_text(here)
    assert verified(tmp_path) == (0, "")
    decide = "carillon-decide.service"
    for name, right, wrong in (
        (decide, "Restart=always", "Restart=sometimes"),
        (COMMON, "KillMode=", "KilMode="),
        (decide, "-m bytewax", "'-m bytewax"),
    ):
        sound = (tmp_path / name).read_text()
        assert right in sound
        (tmp_path / name).write_text(sound.replace(right, wrong))
        assert name in verified(tmp_path)[1], wrong
        (tmp_path / name).write_text(sound)


@contextmanager
def started(arguments: list[str], environment: dict[str, str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as stream:
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def ask(port: int, method: str, path: str, body: object = None, key: str = "") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_the_command_lines_of_the_units_are_a_system(tmp_path: Path) -> None:
    port, p0_port, found = any_port("127.0.0.1"), any_port("127.0.0.1"), units()
    environment = {
        **os.environ, "CARILLON_DATA_DIR": str(tmp_path / "data"), "CARILLON_CONFIG": os.devnull,
        "CARILLON_GATEWAY__PORT": str(port), "CARILLON_GATEWAY__P0_PORT": str(p0_port),
    }  # fmt: skip
    running: dict[str, subprocess.Popen[bytes]] = {}
    with running_sandbox(tmp_path / "data"), ExitStack() as stack:
        for name in starting_order():
            output = tmp_path / f"{name}.out"
            running[name] = stack.enter_context(started(command(found[name]), environment, output))
            if name == "topics":
                assert running[name].wait(60) == 0, output.read_text()
        wait_for(lambda: ask(port, "GET", "/readyz") == ask(p0_port, "GET", "/readyz") == 200, what="both gateways")
        keys = development_credentials(tmp_path / "data").keys
        mention = {"type": "mention", "actor": "ada", "target": "grace", "object": "thread1"}
        otp = {"type": "otp", "target": "grace", "payload": {"code": "123456"}}
        assert ask(port, "POST", "/v1/notifications", mention, keys["producer"]) == 202
        assert ask(p0_port, "POST", "/v1/notifications", otp, keys["p0_producer"]) == 202

        def decided() -> set[str]:
            done = carillon("ledger", "--json", "--data", str(tmp_path / "data"))
            return {json.loads(line).get("type", "") for line in done.stdout.splitlines()}

        wait_for(lambda: {"mention", "otp"} <= decided(), what="both decisions")
        for name in reversed(starting_order()):
            if name == "topics":
                continue
            began = time.monotonic()
            running[name].send_signal(signal.SIGTERM)
            assert running[name].wait(int(found[name]["TimeoutStopSec"])) == 0, (tmp_path / f"{name}.out").read_text()
            print(f"{name} drained in {time.monotonic() - began:.1f} s")
    assert carillon("ledger", "--check", "--data", str(tmp_path / "data")).returncode == 0


def test_compose_runs_the_same_commands() -> None:
    text = (ROOT / "infra" / "compose.yaml").read_text()
    commands = {
        name: json.loads(words)
        for name, words in re.findall(
            r"^  ([a-z0-9-]+):\n    <<: \*process\n    command: (\[.*\])$", text, re.MULTILINE
        )
    }
    expected = {name: [Path(command(unit)[0]).name, *command(unit)[1:]] for name, unit in units().items()}
    del expected["maintenance"]  # Kafka does that itself
    assert commands == expected
    assert "latest" not in text
    process = text[text.index("x-process:") : text.index("services:")]
    assert "restart: on-failure" in process, "a fenced one, which the entrypoint ends with 0, must stay away"
    assert "entrypoint" not in re.sub("#.*", "", text)
    assert 'ENTRYPOINT ["sh", "/opt/carillon/entrypoint.sh"]' in (ROOT / "infra" / "Dockerfile").read_text()
    images = re.findall(r"image: (\S+)", text)
    assert images
    assert all(re.search(r":\d+\.\d+", image) for image in images)


def entrypoint(program: str) -> subprocess.Popen[str]:
    script = ["sh", str(ROOT / "infra" / "entrypoint.sh"), sys.executable, "-c", program]
    return subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize(("ends_with", "told"), [(0, 0), (1, 1), (2, 2), (FENCED_EXIT, 0), (137, 137)])
def test_only_a_fenced_container_says_that_all_is_well(ends_with: int, told: int) -> None:
    with entrypoint(f"raise SystemExit({ends_with})") as process:
        assert process.wait(60) == told


@pytest.mark.parametrize("ends_with", [0, 3])
def test_a_container_that_is_stopped_drains(ends_with: int) -> None:
    program = (
        "import signal, sys, time\n"
        f"def drain(*_): time.sleep(0.3); print('drained', flush=True); sys.exit({ends_with})\n"
        "signal.signal(signal.SIGTERM, drain); print('up', flush=True); time.sleep(30)"
    )
    with entrypoint(program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.stdout.readline() == "drained\n"
        assert process.wait(60) == ends_with
