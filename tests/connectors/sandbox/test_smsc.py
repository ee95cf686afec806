"""The simulated SMSC as a client of somebody else's making sees it (smpplib), and its words for misbehaviours."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from helpers.sandbox_process import Sandbox
from smpplib import consts, exceptions
from smpplib.client import Client

from connectors.sandbox.options import SMPP_PASSWORD, SMPP_SYSTEM_ID
from connectors.sandbox.ports import read_ports


@contextmanager
def bound(sandbox: Sandbox, password: str = SMPP_PASSWORD) -> Iterator[tuple[Client, list[Any]]]:
    """With what it was answered."""
    ports = read_ports(sandbox.directory / "sandbox")
    context = ssl.create_default_context(cafile=ports.ca)
    context.check_hostname = False  # the library names no host
    client, answers = Client("127.0.0.1", ports.smpp, ssl_context=context, allow_unknown_opt_params=True), list[Any]()
    client.set_message_sent_handler(lambda pdu: answers.append(pdu))  # noqa: PLW0108 - it is called by this name
    client.set_error_pdu_handler(lambda _pdu: None)  # the one above sees it too
    client.connect()
    try:
        client.bind_transceiver(system_id=SMPP_SYSTEM_ID, password=password)
        yield client, answers
        with suppress(exceptions.ConnectionError):  # the simulator may have broken off
            client.unbind()
    finally:
        client.disconnect()


def submit(client: Client, number: str, text: bytes = b"Hello", **fields: Any) -> None:
    client.send_message(
        source_addr_ton=consts.SMPP_TON_INTL, source_addr="15005550006", dest_addr_ton=consts.SMPP_TON_INTL,
        dest_addr_npi=consts.SMPP_NPI_ISDN, destination_addr=number.removeprefix("+"), short_message=text, **fields,
    )  # fmt: skip
    client.read_once(auto_send_enquire_link=False)


def test_it_takes_a_message_names_it_and_says_good_bye(sandbox: Sandbox) -> None:
    with bound(sandbox) as (client, answers):
        submit(client, "+14155550100")
        submit(client, "+14155550100")
        client.send_pdu(_enquire(client))
        client.read_once()
    assert [answer.status for answer in answers] == [0, 0]
    assert answers[0].message_id != answers[1].message_id
    assert [entry["status"] for entry in sandbox.to("smpp", "+14155550100")] == [200, 200]


def _enquire(client: Client) -> Any:
    from smpplib import smpp

    return smpp.make_pdu("enquire_link", client=client)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        ("+19994290001", consts.SMPP_ESME_RTHROTTLED), ("+19995030001", consts.SMPP_ESME_RMSGQFUL),
        ("+19995000001", consts.SMPP_ESME_RSYSERR), ("+19995020001", consts.SMPP_ESME_RSUBMITFAIL),
        ("+15005550001", consts.SMPP_ESME_RINVDSTADR), ("12", consts.SMPP_ESME_RINVDSTADR),
    ],
)  # fmt: skip
def test_numbers_choose_how_it_refuses(sandbox: Sandbox, number: str, status: int) -> None:
    with bound(sandbox) as (client, answers):
        submit(client, number)
    assert [answer.status for answer in answers] == [status]


def test_it_refuses_the_first_time_only_where_the_number_says_so(sandbox: Sandbox) -> None:
    with bound(sandbox) as (client, answers):
        submit(client, "+19994291002")
        submit(client, "+19994291002")
    assert [answer.status for answer in answers] == [consts.SMPP_ESME_RTHROTTLED, 0]


def test_it_breaks_off_before_its_answer_and_has_taken_the_message(sandbox: Sandbox) -> None:
    with bound(sandbox) as (client, answers), pytest.raises(exceptions.ConnectionError):
        submit(client, "+19990010002")
    assert (answers, len(sandbox.to("smpp", "+19990010002"))) == ([], 1)


def test_nobody_sends_without_the_password(sandbox: Sandbox) -> None:
    with pytest.raises(exceptions.PDUError, match="Password"), bound(sandbox, "wrong"):
        pass


def test_an_answer_comes_late_where_that_is_asked_for(sandbox: Sandbox) -> None:
    sandbox.steering().put("smpp", "slow300")
    try:
        with bound(sandbox) as (client, answers):
            submit(client, "+14155550177")
    finally:
        sandbox.steering().lift()
    assert [answer.status for answer in answers] == [0]
