"""What SES's events say of a mail, in the form of Amazon's examples: pure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.providers.email.message import build_message
from connectors.providers.email.ses_events import read_event
from connectors.providers.receipts import ProviderReport
from state.model.content import EmailContent

LINK = "https://carillon.example/v1/unsubscribe/" + "t" * 60


def event(kind: str, details: dict[str, Any] | None = None, key: str = "eventType") -> str:
    mail = {
        "messageId": "0102-1", "timestamp": "2026-11-28T21:00:00.000Z", "destination": ["a@example.org"],
        "headers": [
            {"name": "Subject", "value": "Hello"}, {"name": "X-Carillon-Reference", "value": "abc\r\n def"},
            {"name": "List-Unsubscribe", "value": f"<{LINK[:50]}\r\n {LINK[50:]}>"},
        ],
    }  # fmt: skip
    return json.dumps({key: kind, "mail": mail, kind.lower(): details or {}})


@pytest.mark.parametrize(
    ("kind", "details", "outcome", "reason"),
    [
        ("Delivery", {"smtpResponse": "250 ok"}, "delivered", None),
        ("Reject", {"reason": "Bad content"}, "failed", None),
        ("Open", {"ipAddress": "192.0.2.1"}, "opened", None),
        ("Click", {"link": "https://example.org"}, "clicked", None),
        ("Bounce", {"bounceType": "Permanent", "bounceSubType": "General"}, "bounced", "Permanent/General"),
        (
            "Bounce",
            {"bounceType": "Transient", "bounceSubType": "MailboxFull"},
            "soft_bounced",
            "Transient/MailboxFull",
        ),
        ("Bounce", {"bounceType": "Undetermined", "bounceSubType": "x y"}, "soft_bounced", None),
        ("Complaint", {"complaintFeedbackType": "abuse"}, "complained", "abuse"),
        ("Complaint", {}, "complained", None),
    ],
)
@pytest.mark.parametrize("key", ["eventType", "notificationType"])
def test_every_event_that_is_noted(
    kind: str, details: dict[str, Any], outcome: str, reason: str | None, key: str
) -> None:
    link = "t" * 60 if outcome == "complained" else ""
    expected = ProviderReport(outcome, "abcdef", "ses", "0102-1", reason, gone=outcome == "bounced", link=link)
    assert read_event(event(kind, details, key)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "not JSON", event("Send"), event("DeliveryDelay"), event("Bounce").replace('"bounce"', '"b"'),
        event("Complaint", {"complaintFeedbackType": "not-spam"}),
    ],
)  # fmt: skip
def test_whatever_else_is_said_is_not(text: str) -> None:
    assert read_event(text) is None


def test_the_reference_goes_out_in_a_header_of_the_mail() -> None:
    mail = build_message(
        EmailContent("s", "t", "<p>t</p>"), recipient="a@example.org", sender="n@example.org", sender_name="N",
        identity="<1@example.org>", date_s=0, reference="r" * 1_200,
    )  # fmt: skip
    head = mail.partition(b"\r\n\r\n")[0].decode()
    [line] = [each for each in head.replace("\r\n ", "").split("\r\n") if each.startswith("X-Carillon-Reference")]
    assert line == "X-Carillon-Reference: " + "r" * 1_200
    assert max(map(len, head.split("\r\n"))) < 998
