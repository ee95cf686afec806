"""Servers that nobody here wrote, in the place of the simulated providers: nginx over HTTP/2, and Postfix's smtp-sink.

They take everything and cost little, so what sends is not held up by who takes. `apt-get install nginx-light postfix`
brings both; where one is missing, the simulated provider stays.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.sandbox.certificates import SandboxFiles
from connectors.sandbox.options import sandbox_options
from infra.services import free_port, wait_port

_NGINX = """
daemon off; master_process off; pid %(directory)s/nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http {
  log_format taken '$msec $uri'; access_log %(log)s;
  keepalive_requests 1000000000; client_body_temp_path %(directory)s/bodies;
  server {
    listen 127.0.0.1:%(port)d ssl http2; http2_max_concurrent_streams 1000;
    ssl_certificate %(certificate)s; ssl_certificate_key %(certificate)s;
    location / { add_header apns-id $http_apns_id; return 200; }
  }
}
"""


@contextmanager
def native_server(
    channel: str, sandbox: Path, core: int | None = None, taken: Path | None = None
) -> Iterator[dict[str, str] | None]:
    """A server for `push` or `email` on that core, and the settings by which all is sent to it; None: not installed.

    `sandbox` has the keys and certificates of a sandbox that ran; into `taken` a server for `push` writes what it took.
    """
    program = {"push": "nginx", "email": "smtp-sink"}[channel]
    if shutil.which(program) is None:
        yield None
        return
    port = free_port()
    command = _nginx(sandbox, port, taken) if channel == "push" else _smtp_sink(port)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if core is not None and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(process.pid, {core})
    try:
        wait_port(port, process)
        yield _push_settings(sandbox, port) if channel == "push" else _mail_settings(sandbox, port)
    finally:
        process.terminate()
        process.wait(timeout=10)


def native_address(settings: dict[str, str]) -> tuple[str, int]:
    """Host and port of a server by the settings that lead to it."""
    [place] = [value.rpartition("/")[2] for name, value in settings.items() if name.endswith(("__ORIGIN", "__HOST"))]
    port = next((value for name, value in settings.items() if name.endswith("__PORT")), place.rpartition(":")[2])
    return place.partition(":")[0], int(port)


def taken_pushes(taken: Path) -> dict[str, float]:
    """When each address was pushed to, in milliseconds since 1970; a line that is being written is none yet."""
    lines = (line.split() for line in taken.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return {place.rpartition("/")[2]: float(at_s) * 1000 for at_s, place in lines}


def _nginx(sandbox: Path, port: int, taken: Path | None) -> list[str]:
    file = sandbox / "nginx.conf"
    given = {
        "directory": sandbox,
        "port": port,
        "certificate": SandboxFiles(sandbox).server,
        "log": f"{taken} taken" if taken else "off",
    }
    file.write_text(_NGINX % given)
    return ["nginx", "-p", str(sandbox), "-c", str(file)]


def _smtp_sink(port: int) -> list[str]:
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    return ["smtp-sink", *user, "-h", "bench.example", f"127.0.0.1:{port}", "100"]


def _push_settings(sandbox: Path, port: int) -> dict[str, str]:
    apns = sandbox_options(sandbox).apns
    given = {name: str(getattr(apns, name)) for name in ("team_id", "key_id", "topic", "signing_key", "ca_file")}
    return _named("APNS", {**given, "origin": f"https://127.0.0.1:{port}"})


def _mail_settings(sandbox: Path, port: int) -> dict[str, str]:
    relay = sandbox_options(sandbox).smtp
    given = {"host": "127.0.0.1", "port": str(port), "security": "none", "sender": relay.sender}
    return _named("SMTP", given)


def _named(provider: str, given: dict[str, str]) -> dict[str, str]:
    return {f"CARILLON_PROVIDERS__{provider}__{name.upper()}": value for name, value in given.items()}
