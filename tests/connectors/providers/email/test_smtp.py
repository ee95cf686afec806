"""What a mail server's answers mean: pure."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.deliveries import PUSH, REGISTERED

from connectors.providers.channel import Failed, Rejected, Result, Sent
from connectors.providers.email import smtp


@pytest.mark.parametrize(
    ("command", "code", "text", "expected"),
    [
        ("data", 250, "ok", Sent("pid")),
        ("rcpt", 550, "5.1.1 no such user", Rejected("rcpt 550 5.1.1", token_gone=REGISTERED)),
        ("rcpt", 550, "user unknown", Rejected("rcpt 550", token_gone=REGISTERED)),
        ("rcpt", 552, "5.2.2 mailbox full", Rejected("rcpt 552 5.2.2")),
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
