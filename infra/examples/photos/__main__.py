"""`make example`: starts Carillon with simulated providers, and the photo site beside it; Ctrl-C ends both."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from carillon_client import Client

from flows.up.ports import is_free
from infra.examples.photos.photos import Photos
from infra.examples.photos.simulated import Simulated
from infra.examples.photos.site import Request

PORT = 8710
"""Of the site; another one if it is taken."""
HERE = Path(__file__).parent
WELCOME = """\
Photos    {origins[0]}     and, for a second person in the same browser, {origins[1]}
Console   {console}     (sign in with {keys[support]})
Ctrl-C ends both."""


def main() -> int:
    """Run until Ctrl-C or SIGTERM; gives Carillon's exit code."""
    parser = argparse.ArgumentParser(prog="make example")
    parser.add_argument("--data", type=Path, default="carillon-data-example", help="directory that Carillon keeps")
    data = parser.parse_args().data.absolute()
    server = ThreadingHTTPServer(("127.0.0.1", PORT if is_free("127.0.0.1", PORT) else 0), Request)
    origins = [f"http://{host}:{server.server_port}" for host in ("localhost", "127.0.0.1")]
    settings = {
        "CARILLON_CONFIG": str(HERE / "carillon.toml"), "CARILLON_GATEWAY__ALLOWED_ORIGINS": ",".join(origins),
    }  # fmt: skip
    command = [sys.executable, "-m", "flows.cli", "up", "--json", "--data", str(data)]
    print("Starting, which takes some seconds ...", flush=True)
    carillon = subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: carillon.terminate())  # its end is ours, below
    lines = map(json.loads, carillon.stdout or ())
    if first := next(lines, None):  # otherwise it said why not
        gateway, keys = first["url"], first["keys"]
        Request.gateway, Request.world = gateway, Simulated(data / "sandbox")
        Request.photos = Photos(
            Client(f"{gateway}/v1", keys["producer"]), gateway, keys["support"], first["user_secret"]
        )
        Thread(target=server.serve_forever, daemon=True).start()
        print(WELCOME.format(origins=origins, **first), flush=True)
    teller = Thread(target=_tell, args=(lines,))
    teller.start()
    while teller.is_alive():
        teller.join(0.2)  # not for ever: Linux may give a signal to a thread that starts another
    return carillon.wait()


def _tell(lines: Iterable[Mapping[str, Any]]) -> None:
    """Print what went wrong, until Carillon ends."""
    for line in lines:
        if line["event"] in ("hung", "stalled") or line.get("code"):
            print("Carillon:", line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
