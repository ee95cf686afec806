"""What a mail server's answers mean: pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.deliveries import PUSH, REGISTERED

from connectors.providers.channel import Failed, Rejected, Result, Sent
from connectors.providers.email import smtp
from connectors.providers.email.options import SmtpOptions
from state.model.bounce_address import BounceAddresses, endpoint_name
from state.model.content import EmailContent


@pytest.mark.parametrize(
    ("command", "code", "text", "expected"),
    [
        ("data", 250, "ok", Sent("pid")),
        ("rcpt", 550, "5.1.1 no such user", Rejected("rcpt 550 5.1.1", token_gone=REGISTERED)),
        ("rcpt", 550, "user unknown", Rejected("rcpt 550", token_gone=REGISTERED)),
        ("rcpt", 550, "5.1.10 null MX", Rejected("rcpt 550 5.1.10", token_gone=REGISTERED)),
        ("rcpt", 550, "mailbox unavailable", Rejected("rcpt 550", token_gone=REGISTERED)),
        ("rcpt", 552, "5.2.2 mailbox full", Rejected("rcpt 552 5.2.2")),
        ("rcpt", 550, "5.2.1 account disabled", Rejected("rcpt 550 5.2.1")),
        ("rcpt", 550, "sender address unknown", Rejected("rcpt 550")),
        ("rcpt", 550, "5.1.1 your host is blocked by spamhaus", Rejected("rcpt 550 5.1.1")),
        ("rcpt", 554, "5.7.1 relay access denied: user unknown here", Rejected("rcpt 554 5.7.1")),
        ("rcpt", 550, "5.7.1 blocked", Rejected("rcpt 550 5.7.1")),
        ("rcpt", 451, "4.7.1 greylisted", Failed("rcpt 451 4.7.1")),
        ("rcpt", 452, "4.2.2 mailbox full", Failed("rcpt 452 4.2.2", of_address=True)),
        ("data", 554, "5.7.1 spam", Rejected("data 554 5.7.1")),
        ("data", 452, "4.3.1 full", Failed("data 452 4.3.1")),
        ("mail", 421, "4.3.2 closing", Failed("mail 421 4.3.2")),
        ("connect", 535, "5.7.8 bad credentials", Failed("connect 535 5.7.8")),
        ("connect", 554, "go away", Failed("connect 554")),
    ],
)
def test_smtp_codes(command: Any, code: int, text: str, expected: Result) -> None:
    assert smtp.parse_response(smtp.SmtpResponse(command, code, text), PUSH) == expected


def test_bounces_come_back_to_an_address_that_names_what_was_sent_to() -> None:
    options = SmtpOptions(host="localhost", sender="news@ours.example", bounce_address="bounce@ours.example")
    mail = replace(PUSH, content=EmailContent("s", "t", "<p>h</p>", None), address="a@b.example")
    mail = replace(mail, user="ann", device="m", provider_id="<1@x.example>")
    addresses = BounceAddresses(options.bounce_address, [b"k" * 32])
    request = smtp.build_request(mail, options, date_s=0, bounces=addresses)
    (found,) = addresses.read(request.sender)
    assert (found.name, found.registered_at) == (endpoint_name(b"k" * 32, "ann", "m"), REGISTERED)
    assert b"<news@ours.example>" in request.message
    assert smtp.build_request(mail, options, date_s=0).sender == "news@ours.example"


@pytest.mark.parametrize(
    ("address", "good"), [("", True), ("b@ours.example", True), ("b" * 25 + "@ours.example", False), ("<b@x>", False)]
)
def test_an_address_for_bounces_leaves_room_for_what_it_names(address: str, good: bool) -> None:
    options = SmtpOptions(host="localhost", sender="news@ours.example", security="none", bounce_address=address)
    assert good == (not [fault for fault in options.faults() if "bounce_address" in fault])
