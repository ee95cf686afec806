"""What a mail server's answers mean: pure."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
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
        ("rcpt", 550, "your domain does not exist", Rejected("rcpt 550")),
        ("rcpt", 550, "no such user, try again later", Rejected("rcpt 550")),
        ("rcpt", 550, "5.1.1 your host is blocked by spamhaus", Rejected("rcpt 550 5.1.1")),
        ("rcpt", 554, "5.7.1 relay access denied: user unknown here", Rejected("rcpt 554 5.7.1")),
        ("rcpt", 550, "5.7.1 blocked", Rejected("rcpt 550 5.7.1")),
        ("rcpt", 451, "4.7.1 greylisted", Failed("rcpt 451 4.7.1")),
        ("rcpt", 452, "4.2.2 mailbox full", Failed("rcpt 452 4.2.2", of_address=True)),
        ("data", 554, "5.7.1 spam", Rejected("data 554 5.7.1")),
        ("data", 452, "4.3.1 full", Failed("data 452 4.3.1")),
        ("mail", 421, "4.3.2 closing", Failed("mail 421 4.3.2")),
        ("connect", 535, "5.7.8 bad credentials", Failed("connect 535 5.7.8", of_credential=True)),
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


def test_domains_have_rates_of_their_own_and_a_new_sender_sends_twice_as_much_each_day() -> None:
    options = SmtpOptions(host="h", sender="n@ours.example", domain_rates={"b.example": 5.0}, warm_up_from="2026-11-29")
    assert [options.domain_of(address) for address in ("a@b.example", "b.example@c.example")] == ["b.example", ""]
    day = [int(datetime(2026, 11, 28 + later, 12, tzinfo=UTC).timestamp()) * 1000 for later in range(3)]
    assert [round(options.warmed_per_s(now) * 86_400) for now in day] == [1_000, 1_000, 2_000]
    assert replace(options, warm_up_from="").warmed_per_s(day[0]) == math.inf
    assert not list(options.faults())
    bad = {"B.example": 1.0, "a b": 1.0, "c.example": 0.0}
    wrong = replace(options, domain_rates=bad, warm_up_from="tomorrow", warm_up_per_day=0)
    named = [f"domain_rates.{domain}" for domain in bad] + ["warm_up_from", "warm_up_per_day"]
    assert [fault.split(":")[0] for fault in wrong.faults()] == [f"providers.smtp.{name}" for name in named]
    many = replace(options, domain_rates={f"d{number}.example": 1.0 for number in range(33)})
    assert [fault.split(":")[0] for fault in many.faults()] == ["providers.smtp.domain_rates"]


@pytest.mark.parametrize(
    ("address", "good"), [("", True), ("b@ours.example", True), ("b" * 25 + "@ours.example", False), ("<b@x>", False)]
)
def test_an_address_for_bounces_leaves_room_for_what_it_names(address: str, good: bool) -> None:
    options = SmtpOptions(host="localhost", sender="news@ours.example", security="none", bounce_address=address)
    assert good == (not [fault for fault in options.faults() if "bounce_address" in fault])
