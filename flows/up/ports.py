"""Ports for the gateways that no other system on this machine has chosen, or is about to.

A port that was free a moment ago may be taken by another `carillon up` that starts at the same time, whose gateway
would then answer in place of ours. So each chosen port is reserved by a lock on a file in the temporary folder, for the
life of the supervisor; the kernel frees it with the process.
"""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from flows.config.settings import GatewayTable
from state.disk.lock import try_flock
from state.model.errors import CarillonError

PREFERRED = (8700, 8701)
_TRIES = 20


class PortError(CarillonError):
    """No port is to be had; the text names the key to change."""


class ReservedPorts:
    """The ports of the ordinary and the P0 gateway."""

    def __init__(self, table: GatewayTable) -> None:
        """Take the configured ports; where none is, the preferred ones if they are free, otherwise any.

        :raises PortError: a configured port is in use, or the address is another machine's.
        """
        try:
            any_port(table.host)
        except OSError as error:
            raise PortError(f"gateway.host: {table.host} is no address of this machine ({error.strerror})") from error
        self._descriptors: list[int] = []
        self.ordinary = self._take(table.host, table.port, PREFERRED[0], "gateway.port")
        self.p0 = self._take(table.host, table.p0_port, PREFERRED[1], "gateway.p0_port")

    def another(self, host: str) -> int:
        """One more port, for the processes of the system among themselves.

        :raises PortError: there is none.
        """
        return self._take(host, 0, 0, "")

    def close(self) -> None:
        """Give the ports back."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _take(self, host: str, configured: int, preferred: int, key: str) -> int:
        if configured:
            if not (is_free(host, configured) and self._reserve(configured)):
                self.close()
                raise PortError(f"{key}: port {configured} is in use on {host}; choose another or 0 for any")
            return configured
        candidates = [preferred, *(0 for _ in range(_TRIES))]
        for candidate in candidates:
            port = candidate or any_port(host)
            if is_free(host, port) and self._reserve(port):
                return port
        self.close()
        raise PortError(f"{key}: no free port was found on {host}")

    def _reserve(self, port: int) -> bool:
        path = Path(tempfile.gettempdir()) / f"carillon-{os.getuid()}-port-{port}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not try_flock(descriptor):
            os.close(descriptor)
            return False
        self._descriptors.append(descriptor)
        return True


def is_free(host: str, port: int) -> bool:
    """Whether somebody could listen there now; connections that are just closing do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def any_port(host: str) -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
