"""Refusals that sound as if an address were dead, and are about the sender, the moment or somebody else."""

from __future__ import annotations

import pytest

from connectors.providers.email.returned.blame import about_sender
from connectors.providers.email.returned.classify import classify
from connectors.providers.email.returned.values import Returned

ANN, OURS = "ann@there.example", "ours.example"
SENT = f"From: News <news@{OURS}>\nTo: {ANN}\nSubject: News\n\nHello"
REPORT = "Content-Type: multipart/report; report-type=delivery-status; boundary=b"


def returned(*blocks: str, notice: str = "See below.") -> Returned:
    parts = [f"\n{notice}", "Content-Type: message/delivery-status\n\n" + "\n\n".join(blocks)]
    parts.append(f"Content-Type: message/rfc822\n\n{SENT}")
    head = (
        f"From: MAILER-DAEMON@mx.example\nReturn-Path: <>\nTo: bounce+t@{OURS}\nSubject: Undelivered Mail\n{REPORT}\n"
    )
    return classify((head + "".join(f"\n--b\n{part}" for part in parts) + "\n--b--\n").encode())


def block(diagnostic: str, *, final: str = ANN, action: str = "failed", status: str = "5.0.0") -> str:
    said = f"\nDiagnostic-Code: smtp; {diagnostic}" if diagnostic else ""
    return (
        f"Original-Recipient: rfc822;{ANN}\nFinal-Recipient: rfc822; {final}\nAction: {action}\nStatus: {status}{said}"
    )


@pytest.mark.parametrize(
    ("refusal", "sender"),
    [
        (f"550 return address check failed: no such user news@{OURS}", True),
        (f"550 Domain {OURS} does not exist", True),
        (f"550 HELO host does not exist: out1.{OURS}", True),
        (f"host mx.there.example said: 550 no such user news@{OURS}", True),
        (f"550 <{ANN}>: no such user; mail was from news@{OURS}", False),
        (f"550 ann: no such user; mail was from news@{OURS}", False),
        ("550 no such user", False),
        ("550 Your domain has no MX record", True),
        ("550 Ihre Adresse ist nicht bekannt", True),
        ("550 HELO host unknown", True),
        ("550 From address does not exist", True),
        ("550 Die angegebene Adresse existiert nicht", False),
        ("550 The account you send from has been closed", True),
        ("550 Too many unknown recipients", True),
        ("550 user unknown", False),
        ("550 Message contains an invalid To header", True),
        ("550 5.1.1 No such user. Please check your address", False),
        ("550 The address you sent to does not exist", False),
        ("550 address not found; your mail server got this answer at 10:00", False),
        ("550 User unknown; check your address book", False),
        (f"550 Domain not{OURS} does not exist", False),
    ],
)
def test_what_names_the_sender_alone_is_about_him(refusal: str, sender: bool) -> None:
    assert about_sender(refusal, ANN, {OURS}) is sender
    assert returned(block(refusal)).kind == ("soft" if sender else "hard")
    text = f"From: MAILER-DAEMON@mx.example\nSubject: Undelivered Mail\n\nIt failed:\n\n<{ANN}>\n{refusal}\n\n"
    told = classify(f"{text}--- Below this line is a copy of the message.\n\n{SENT}".encode())
    assert [(each.address, each.kind) for each in told.recipients] == [(ANN, "soft" if sender else "hard")]


@pytest.mark.parametrize(
    "refusal",
    """expéditeur inconnu|Unbekannter Absender|el remitente no existe|отправитель неизвестен|发件人不存在|
    发件人帐号注销|utente: account del mittente chiuso|destinataire: expéditeur non trouvé|
    收件人地址错误次数过多""".split("|"),
)
def test_a_sender_is_a_sender_in_other_languages(refusal: str) -> None:
    assert returned(block(f"550 {refusal}")).kind == "soft"


def test_of_two_behind_one_address_who_is_full_is_alive() -> None:
    dead = block("550 5.1.1 user unknown", final="one@in.example", status="5.1.1")
    full = block("552 mailbox full", final="two@in.example", status="5.2.2")
    vague = block("", final="one@in.example")
    assert [returned(*each).kind for each in ((dead, full), (full, dead), (dead, vague))] == ["soft", "soft", "hard"]


def test_words_without_any_sign_of_a_server_blame_nobody() -> None:
    words = "Your parcel could not be delivered: the recipient is unknown at this address. Write to help@shop.example."
    for path, kind in (("<p@shop.example>", "soft"), ("<>", "hard"), ("<mailer-daemon@shop.example>", "hard")):
        head = f"From: postmaster@shop.example\nReturn-Path: {path}\nSubject: Delivery failure"
        assert classify(f"{head}\n\n{words}\n".encode()).kind == kind


def test_who_is_in_the_domain_of_the_sender_is_told_apart_by_nothing() -> None:
    assert not about_sender(f"550 no such user in {OURS}", f"bob@{OURS}", {OURS})


@pytest.mark.parametrize(
    "later", ["try again later", "this is temporary", "at the moment", "versuchen Sie es später", "请稍后再试"]
)
def test_a_refusal_for_now_is_not_for_ever(later: str) -> None:
    assert returned(block(f"550 5.1.1 mailbox does not exist, {later}")).kind == "soft"


def test_an_address_behind_which_somebody_got_the_mail_is_alive() -> None:
    dead = block("550 5.1.1 user unknown", final="one@in.example", status="5.1.1")
    for action in ("delivered", "relayed", "expanded"):
        found = returned(dead, block("", final="two@in.example", action=action, status="2.0.0"))
        assert [(each.address, each.kind) for each in found.recipients] == [(ANN, "soft")]
    assert returned(dead, block("", final="two@in.example", action="delayed", status="4.0.0")).kind == "hard"


@pytest.mark.parametrize(
    ("notice", "kind"), [("The mailbox is full.", "soft"), ("x", "hard"), ("There is no such user.", "hard")]
)
def test_a_status_that_the_words_contradict_is_not_enough(notice: str, kind: str) -> None:
    assert returned(block("", status="5.1.1"), notice=notice).kind == kind
    assert returned(block("550 5.1.1 no such user", status="5.1.1"), notice=notice).kind == "hard"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("From: Bob <bob@x.example>\nReturn-Path: <bob@x.example>\nSubject: look", "none"),
        ("From: Bob <bob@x.example>\nSubject: Re: Mail delivery failed", "none"),
        ("From: Robot <bob@x.example>\nReturn-Path: <bob@x.example>\nSubject: Mail delivery failed", "hard"),
        ("From: Robot <bob@x.example>\nReturn-Path: <>\nSubject: x", "hard"),
        ("From: MAILER-DAEMON@x.example\nReturn-Path: <m@x.example>\nSubject: x", "hard"),
    ],
)
def test_a_report_in_the_words_of_somebody_is_none(head: str, kind: str) -> None:
    assert classify(f"{head}\n\n{block('550 no such user')}\n".encode()).kind == kind


@pytest.mark.parametrize(
    ("path", "words", "kind"),
    [
        ("<>", "Your message could not be delivered because the recipient is unknown here.", "hard"),
        ("<a@evil.example>", "Your message could not be delivered because the recipient is unknown here.", "soft"),
        ("<>", "Your message could not be delivered because the mailbox is full.", "soft"),
        ("<>", f"Mail to bounce@{OURS} failed: your mailbox does not exist any more. Log in!", "soft"),
    ],
)
def test_who_is_not_named_is_judged_by_the_words_of_a_server(path: str, words: str, kind: str) -> None:
    head = f"From: postmaster@x.example\nReturn-Path: {path}\nTo: bounce+t@{OURS}\nSubject: Delivery failure"
    found = classify(f"{head}\n\n{words}\n".encode())
    assert (found.kind, found.recipients) == (kind, ())


def test_who_wrote_it_is_not_who_was_not_reached() -> None:
    table = f"From: updates@{OURS}<br>To: {ANN}<br>Reason: 550 5.1.1 user unknown"
    head = f"From: postmaster@x.example\nTo: bounce+t@{OURS}\nSubject: Undeliverable\nContent-Type: text/html"
    assert [each.address for each in classify(f"{head}\n\n{table}\n".encode()).recipients] == [ANN]


def test_what_was_passed_on_did_not_fail() -> None:
    head = "From: postmaster@x.example\nReturn-Path: <>\nSubject: Address changed"
    assert classify(f"{head}\n\n{ANN} has left. Your mail was forwarded to hr@x.example.\n".encode()).kind == "none"


def test_a_report_without_a_type_that_says_which_check_failed_is_no_complaint() -> None:
    head = f"From: dmarc@x.example\nContent-Type: {REPORT.split(': ')[1].replace('delivery-status', 'feedback-report')}"
    fields = f"Content-Type: message/feedback-report\n\nAuth-Failure: dmarc\nVersion: 1\nOriginal-Rcpt-To: {ANN}"
    assert classify(f"{head}\n\n--b\n{fields}\n--b--\n".encode()).kind == "none"


def test_lines_may_end_as_they_did_on_old_machines() -> None:
    head = "From: postmaster@x.example\nSubject: Undeliverable\nContent-Type: text/plain; charset=unicode-1-1-utf-7"
    mail = f"{head}\n\n{ANN}: Empf+AOQ-nger unbekannt\n"
    assert classify(mail.encode()).kind == classify(mail.replace("\n", "\r").encode()).kind == "hard"


@pytest.mark.parametrize("words", ["message contains unknown user agent", "content contains an unknown link"])
def test_a_word_inside_another_is_not_it(words: str) -> None:
    assert returned(block(f"550 {words}")).kind == "soft"


def test_half_a_report_blames_nobody() -> None:
    """A mail that is still being written, or was cut: what would save the address may be in the rest."""
    whole = "\n".join(
        (block("550 5.1.1 no such user", status="5.1.1"), "", block("", action="relayed", status="2.0.0"))
    )
    head = (
        f"From: MAILER-DAEMON@mx.example\nReturn-Path: <>\nSubject: Undelivered Mail\n{REPORT}\n\n--b\n\nIt failed.\n"
    )
    mail = f"{head}--b\nContent-Type: message/delivery-status\n\n{whole}\n"
    mail += f"--b\nContent-Type: message/rfc822\n\n{SENT}\n--b--\n"
    assert {classify(mail[:length].encode()).kind for length in range(len(mail))} == {"none", "soft"}
    one = mail.replace("Action: relayed", "Action: failed")
    assert classify(one.encode()).kind == "hard"
    assert classify(one[: one.index(SENT) + 20].encode()).kind == "hard"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("", "hard"),
        (" (S2017)", "hard"),
        (". Reject due to policy restrictions", "soft"),
        ("; invalid DNS MX record", "soft"),
    ],
)
def test_what_rfc_5321_calls_every_550_says_less_than_a_reason(reason: str, kind: str) -> None:
    assert returned(block(f"550 Requested action not taken: mailbox unavailable{reason}")).kind == kind


def test_only_the_last_answer_counts() -> None:
    refusal = "host a: connection timed out; host b said: 550 5.1.1 no such user"
    assert (returned(block(refusal)).kind, returned(block(f"{refusal}, try again later")).kind) == ("hard", "soft")
