"""Two systems that start at the same time do not choose the same ports."""

import socket

import pytest

from flows.config.settings import GatewayTable
from flows.up.ports import PortError, ReservedPorts, any_port, is_free


def test_nobody_gets_what_another_has_reserved_but_does_not_use_yet() -> None:
    first, second = ReservedPorts(GatewayTable()), ReservedPorts(GatewayTable())
    assert len({first.ordinary, first.p0, second.ordinary, second.p0}) == 4
    first.close()
    second.close()


def test_a_reserved_port_is_given_back() -> None:
    table = GatewayTable(port=any_port("127.0.0.1"))
    first = ReservedPorts(table)
    with pytest.raises(PortError, match=r"gateway\.port"):
        ReservedPorts(table)
    first.close()
    ReservedPorts(table).close()


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        with pytest.raises(PortError, match=rf"gateway\.p0_port: port {port} is in use"):
            ReservedPorts(GatewayTable(p0_port=port))


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(PortError, match=r"gateway\.host: 198\.51\.100\.7 is no address of this machine"):
        ReservedPorts(GatewayTable(host="198.51.100.7"))
