"""Says what this program reaches in a network of its own before and after the rules of OPERATING are in force there.

Run by `tests/system/test_network_rules.py` under `unshare --net`, as root of that namespace: `PROGRAM RULES`. A second
namespace behind a pair of interfaces has all the addresses. Prints two JSON objects, address to whether it was reached.
"""

import json
import socket
import subprocess
import sys

INSIDE, OUTSIDE = "10.9.9.1", "10.9.9.2"
SERVERS = (
    ("10.0.0.5", 9092), ("10.0.0.6", 6379), ("10.0.0.5", 22), ("10.0.0.9", 6379), ("169.254.169.254", 80),
    ("172.16.1.1", 443), ("192.168.1.1", 80), ("100.64.0.1", 443), ("198.51.100.7", 443),
)  # fmt: skip
"""A broker, Redis, what else is inside, and somebody's public address."""


def done(*command: str) -> None:
    subprocess.run(command, check=True)


def listen() -> None:
    """In the other namespace, until it is ended."""
    done("ip", "link", "set", "v1", "up")
    for host in {OUTSIDE, *(host for host, _ in SERVERS)}:
        done("ip", "address", "add", f"{host}/{24 if host == OUTSIDE else 32}", "dev", "v1")
    listeners = [socket.create_server(server) for server in SERVERS]
    print("listening", flush=True)
    sys.stdin.read()
    for listener in listeners:
        listener.close()


def reached() -> dict[str, bool]:
    found = {}
    for host, port in SERVERS:
        try:
            socket.create_connection((host, port), timeout=2).close()
            found[f"{host}:{port}"] = True
        except OSError:
            found[f"{host}:{port}"] = False
    return found


def main(rules: str) -> None:
    program = ["unshare", "--net", sys.executable, __file__, "--listen"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        done("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", str(other.pid))
        done("ip", "address", "add", f"{INSIDE}/24", "dev", "v0")
        done("ip", "link", "set", "v0", "up")
        other.stdin.write(b"\n")
        other.stdin.flush()
        other.stdout.readline()
        done("ip", "route", "add", "default", "via", OUTSIDE)
        print(json.dumps(reached()))
        done("nft", "-f", rules)
        print(json.dumps(reached()))
        other.stdin.close()


if __name__ == "__main__":
    if sys.argv[1] == "--listen":
        sys.stdin.readline()
        listen()
    else:
        main(sys.argv[1])
