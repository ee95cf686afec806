"""Delivery reports and complaints that keep to the RFCs by half."""

from __future__ import annotations

import pytest

from connectors.providers.email.returned.classify import classify
from connectors.providers.email.returned.reports import delivery_report

ANN, BOB = "ann@there.example", "bob@there.example"


def report(kind: str, status: str, notice: str = "See below.", sent: str = f"To: {ANN}") -> bytes:
    head = f"From: MAILER-DAEMON@mx.example\nSubject: x\nContent-Type: multipart/report; report-type={kind}; boundary=b"
    parts = (notice, f"Content-Type: message/{kind}\n\n{status}", f"Content-Type: message/rfc822\n\n{sent}\n\nHello")
    return "\n".join([head, *(f"\n--b\n\n{part}" if part is notice else f"--b\n{part}" for part in parts)]).encode()


@pytest.mark.parametrize("first", ["Action: failed\nFinal-Recipient: ", "Final-Recipient: "])
def test_recipients_without_an_empty_line_between_them_are_told_apart(first: str) -> None:
    blocks = (f"{first}rfc822; {who}\nStatus: 5.1.1\n" for who in (ANN, BOB))
    assert [each.address for each in delivery_report("Reporting-MTA: dns; mx\n" + "".join(blocks))] == [ANN, BOB]
    pairs = (f"Original-Recipient: rfc822;{who}\nFinal-Recipient: rfc822;x@y.example\n" for who in (ANN, BOB))
    assert [each.address for each in delivery_report("".join(pairs))] == [ANN, BOB]


def test_what_will_be_tried_again_has_not_failed() -> None:
    """RFC 3464: Will-Retry-Until is of delayed mails alone."""
    lines = f"Final-Recipient: rfc822; {ANN}\nStatus: 5.1.1\n"
    assert delivery_report(f"{lines}Will-Retry-Until: Sat, 28 Nov 2026 10:00:00 +0000")[0].action == "delayed"
    assert delivery_report(lines)[0].action == "failed"


@pytest.mark.parametrize("final", ["", "X400; /S=ann/P=there/", "x500; CN=Ann/O=There"])
def test_a_report_without_an_address_of_mail_still_says_why(final: str) -> None:
    status = f"Final-Recipient: {final}\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such user"
    found = classify(report("delivery-status", status))
    assert [(each.address, each.kind) for each in found.recipients] == [(ANN, "hard")]


def test_a_signature_that_failed_is_no_complaint() -> None:
    """RFC 6591: a server reports it, and no reader knows of it."""
    found = classify(report("feedback-report", f"Feedback-Type: auth-failure\nVersion: 1\nOriginal-Rcpt-To: {ANN}"))
    assert (found.kind, found.feedback) == ("none", "auth-failure")


def test_a_complaint_is_of_whom_the_mail_was_delivered_to_where_its_to_names_nobody() -> None:
    sent = f"Delivered-To: {ANN}\nTo: undisclosed-recipients:;"
    found = classify(report("feedback-report", "Feedback-Type: abuse\nVersion: 1", sent=sent))
    assert (found.kind, [each.address for each in found.recipients]) == ("complaint", [ANN])


def test_a_receipt_whose_part_has_no_type_is_no_bounce() -> None:
    fields = f"Final-Recipient: rfc822; {ANN}\nDisposition: manual-action/MDN-sent-manually; displayed"
    receipt = report("disposition-notification", fields)
    assert classify(receipt.replace(b"message/disposition-notification", b"text/plain")).kind == "none"


def test_what_a_report_leaves_out_is_taken_from_the_words_on_each_recipient() -> None:
    """RFC 3464: Diagnostic-Code is optional, and the notice for people may be all that says why."""
    status = "\n\n".join(f"Final-Recipient: rfc822; {who}\nAction: failed\nStatus: 5.0.0" for who in (ANN, BOB))
    notice = f"<{ANN}>: 550 no such user\n<{BOB}>: 552 mailbox full"
    found = classify(report("delivery-status", status, notice))
    assert [(each.address, each.cause) for each in found.recipients] == [(ANN, "user_unknown"), (BOB, "full")]
