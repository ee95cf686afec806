"""Mails that came back, written by hand after the RFCs and the habits of servers."""

from __future__ import annotations

import time
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.providers.email.returned.classify import classify
from connectors.providers.email.returned.values import Returned

ANN, BOB = "ann@there.example", "bob@there.example"


def mail(head: str, body: str) -> bytes:
    return (dedent(head).strip() + "\n\n" + dedent(body).lstrip("\n")).encode()


def report(status: str, notice: str = "It failed.", kind: str = "delivery-status") -> bytes:
    head = f"""
        From: MAILER-DAEMON@mx.there.example
        To: news@ours.example
        Subject: Undelivered Mail Returned to Sender
        Auto-Submitted: auto-replied
        Message-ID: <1@mx.there.example>
        Content-Type: multipart/report; report-type={kind};
         boundary="b/1"
    """
    sent = f"From: news@ours.example\nTo: {ANN}\nSubject: News\n\nHello"
    parts = [f"\n{notice}", f"Content-Type: message/{kind}\n\n{dedent(status).strip()}\n"]
    parts.append(f"Content-Type: message/rfc822\n\n{sent}")
    return mail(head, "") + "".join(f"--b/1\n{part}\n" for part in parts).encode() + b"--b/1--\n"


def blamed(returned: Returned) -> list[tuple[str, str, str | None]]:
    return [(each.address, each.kind, each.status) for each in returned.recipients]


def test_each_recipient_of_a_report_is_judged_by_itself() -> None:
    found = classify(report("""
        Reporting-MTA: dns; mx.there.example

        Original-Recipient: rfc822;ann@there.example
        Final-Recipient: rfc822; ann@store.there.example
        Action: failed
        Status: 5.1.1
        Diagnostic-Code: smtp; 550 5.1.1
         <ann@store.there.example>... User unknown

        Final-Recipient: rfc822;<bob@THERE.example>
        Action: delayed
        Status: 4.2.2

        Final-Recipient: rfc822; cas@there.example
        Action: relayed
        Status: 2.0.0
    """))  # fmt: skip
    assert (found.kind, found.form, found.doubts) == ("hard", "rfc3464", ())
    assert blamed(found) == [(ANN, "hard", "5.1.1"), (BOB, "soft", "4.2.2")]
    assert [each.action for each in found.recipients] == ["failed", "delayed"]
    assert found.recipients[0].diagnostic == "smtp; 550 5.1.1 <ann@store.there.example>... User unknown"
    assert found.message_id == "<1@mx.there.example>"


def test_what_is_delayed_has_not_failed_and_blames_nobody() -> None:
    found = classify(report("Final-Recipient: rfc822; ann@there.example\nAction: delayed\nStatus: 5.1.1"))
    assert blamed(found) == [(ANN, "soft", "5.1.1")]


def test_of_two_words_on_one_recipient_the_final_one_counts() -> None:
    late, failed = (
        f"Final-Recipient: rfc822; {ANN}\nAction: {action}\nStatus: 5.1.1" for action in ("delayed", "failed")
    )
    for both in (f"{late}\n\n{failed}", f"{failed}\n\n{late}"):
        assert blamed(classify(report(both))) == [(ANN, "hard", "5.1.1")]


@pytest.mark.parametrize("action", ["delivered", "relayed (to a server that reports nothing)", "expanded"])
def test_what_arrived_is_no_bounce(action: str) -> None:
    assert classify(report(f"Final-Recipient: rfc822; {ANN}\nAction: {action}\nStatus: 2.1.5")).kind == "none"


@pytest.mark.parametrize(
    "field",
    [
        "rfc822; ann@there.example", "RFC822;<ann@there.example>", "rfc822;@relay.example:ann@there.example",
        "ann@there.example", "rfc822; ann@there.example (Ann)", 'rfc822; "ann"@there.example', "<ann@There.Example>",
        "LOCAL;ann@there.example",
    ],
)  # fmt: skip
def test_an_address_is_found_however_it_is_written(field: str) -> None:
    assert classify(report(f"Final-Recipient: {field}\nAction: failed\nStatus: 5.1.1")).recipients[0].address == ANN


def test_addresses_of_other_scripts_and_in_xtext() -> None:
    found = classify(report("Original-Recipient: rfc822;ann+2Bnews@there.example\nFinal-Recipient: x\nAction: failed"))
    assert found.recipients[0].address == "ann+news@there.example"
    found = classify(report("Final-Recipient: utf-8; 用户@there.example\nAction: failed\nStatus: 5.1.1"))
    assert found.recipients[0].address == "用户@there.example"
    found = classify(report("Final-Recipient: utf-8; \\x{7528}\\x{6237}@there.example\nAction: failed\nStatus: 5.1.1"))
    assert found.recipients[0].address == "用户@there.example"


def test_a_report_is_found_where_its_parts_are_broken() -> None:
    whole = report(f"Final-Recipient: rfc822; {ANN}\nAction: failed\nStatus: 5.1.1")
    for broken in (
        whole.replace(b'boundary="b/1"', b'boundary="other"'),
        whole.replace(b"Content-Type: message/delivery-status\n", b"Content-Type: text/plain\n"),
        whole.replace(b"\n--b/1--", b""),
        whole.replace(b"\n", b"\r\n"),
        whole.replace(b"It failed.", b"\xff\xfe fehlgeschlagen \xe4"),
    ):
        assert blamed(classify(broken)) == [(ANN, "hard", "5.1.1")]


def test_a_report_that_somebody_handed_on_is_read() -> None:
    inner = report(f"Final-Recipient: rfc822; {ANN}\nAction: failed\nStatus: 5.1.1")
    head = (
        b"From: ops@ours.example\nSubject: Fwd\nMessage-ID: <2@ours.example>\nContent-Type: multipart/mixed; boundary=m"
    )
    found = classify(head + b"\n\n--m\n\nSee below.\n--m\nContent-Type: message/rfc822\n\n" + inner + b"\n--m--\n")
    assert (blamed(found), found.message_id) == ([(ANN, "hard", "5.1.1")], "<2@ours.example>")


def test_a_complaint_says_whose_it_is() -> None:
    feedback = f"Feedback-Type: abuse\nUser-Agent: x/1\nVersion: 1\nOriginal-Rcpt-To: <{BOB}>"
    found = classify(report(feedback, kind="feedback-report"))
    assert (found.kind, found.form, found.feedback) == ("complaint", "rfc5965", "abuse")
    assert [each.address for each in found.recipients] == [BOB]
    assert "Subject: News" in found.returned
    nameless = classify(report("Feedback-Type: fraud\nUser-Agent: x/1\nVersion: 1", kind="feedback-report"))
    assert (nameless.feedback, [each.address for each in nameless.recipients]) == ("fraud", [ANN])
    assert classify(report("Feedback-Type: not-spam\nVersion: 1", kind="feedback-report")).kind == "none"


TEXTS = {
    "qmail": ("""
        Hi. This is the qmail-send program at mx.there.example.
        I'm afraid I wasn't able to deliver your message to the following addresses.
        This is a permanent error; I've given up. Sorry it didn't work out.

        <ann@there.example>:
        Sorry, no mailbox here by that name. (#5.1.1)

        <bob@there.example>:
        The user's mailbox is full. (#5.2.2)

        --- Below this line is a copy of the message.

        Return-Path: <news@ours.example>
        To: cas@there.example
    """, [(ANN, "hard", "5.1.1"), (BOB, "soft", "5.2.2")]),
    "Exim": ("""
        This message was created automatically by mail delivery software.

        A message that you sent could not be delivered to one or more of its
        recipients. This is a permanent error. The following address(es) failed:

          ann@there.example
            host mx.there.example [192.0.2.7]
            SMTP error from remote mail server after RCPT TO:<ann@there.example>:
            550 No such person at this address

        ------ This is a copy of the message, including all the headers. ------

        From: news@ours.example
        To: dan@there.example
    """, [(ANN, "hard", "5.0.0")]),
    "Postfix": ("""
        I'm sorry to have to inform you that your message could not
        be delivered to one or more recipients. It's attached below.
        For further assistance, please send mail to <postmaster@ours.example>

        <ann@there.example>: host mx.there.example[192.0.2.7] said: 554 5.7.1
            <ann@there.example>: blocked by the reputation of 192.0.2.1 (in reply to RCPT TO command)
    """, [(ANN, "soft", "5.7.1")]),
    "Sendmail": ("""
        The original message was received at Sat, 28 Nov 2026 10:00:00 GMT

           ----- The following addresses had permanent fatal errors -----
        <ann@there.example>

           ----- Transcript of session follows -----
        ... while talking to mx.there.example.:
        >>> RCPT To:<ann@there.example>
        <<< 550 5.1.1 unknown or illegal user: ann@there.example
        550 <ann@there.example>... User unknown
    """, [(ANN, "hard", "5.1.1")]),
    "Exchange, German": ("""
        Fehler bei der Nachrichtenzustellung an folgende Empf\u00e4nger oder Verteilerlisten:

        ann@there.example
        Die eingegebene E-Mail-Adresse konnte nicht gefunden werden.

        Diagnoseinformationen f\u00fcr Administratoren:
        Generierender Server: mx.there.example
        ann@there.example
        #550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##
    """, [(ANN, "hard", "5.1.1")]),
    "nothing known": ("""
        Your message

          To:      team@ours.example
          Subject: No such user

        did not reach the following recipient(s):

        ann@there.example on Sat, 28 Nov 2026
    """, [(ANN, "soft", None)]),
}  # fmt: skip


@pytest.mark.parametrize("server", TEXTS)
def test_servers_that_keep_to_no_form(server: str) -> None:
    body, expected = TEXTS[server]
    head = "From: Mail Delivery System <MAILER-DAEMON@mx.there.example>\nTo: news@ours.example\nSubject: failure notice"
    assert blamed(classify(mail(head, body))) == expected


def test_the_field_of_failed_recipients_names_them() -> None:
    head = f"From: Mailer-Daemon@mx.there.example\nX-Failed-Recipients: {ANN},\n {BOB}\nSubject: Mail delivery failed"
    found = classify(mail(head, f"{ANN}\n  550 unknown user\n{BOB}\n  552 over quota\n"))
    assert blamed(found) == [(ANN, "hard", "5.0.0"), (BOB, "soft", "5.0.0")]


def test_a_warning_of_delay_is_soft_whatever_it_says() -> None:
    head = "From: MAILER-DAEMON@mx.there.example\nSubject: Warning: message delayed 24 hours"
    found = classify(mail(head, f"Your message has not yet been delivered to:\n\n  {ANN}\n\n550 unknown user\n"))
    assert (blamed(found), found.recipients[0].action) == ([(ANN, "soft", "5.0.0")], "delayed")


@pytest.mark.parametrize(
    "field",
    [
        "Auto-Submitted: auto-replied", "X-Autoreply: yes", "X-Autorespond: News", "Precedence: auto_reply",
        "Subject: Out of office", "Subject: Abwesend: News", "Subject: =?utf-8?q?R=C3=A9ponse_automatique_=3A_News?=",
        "Subject: Please confirm your message", "Return-Path: <>\nSubject: Automatic reply: News",
    ],
)  # fmt: skip
def test_answering_machines_are_no_bounces(field: str) -> None:
    found = classify(
        mail(f"From: Ann <{ANN}>\n{field}", "The mailbox old@there.example is unknown, ask bob@there.example.")
    )
    assert (found.kind, [each.address for each in found.recipients]) == ("auto_reply", [ANN])


def test_mails_of_people_and_receipts_are_none() -> None:
    assert (
        classify(mail(f"From: {ANN}\nSubject: Re: News", "550 user unknown, ha ha: bob@there.example")).kind == "none"
    )
    seen = "Final-Recipient: rfc822; ann@there.example\nDisposition: manual-action/MDN-sent-manually; displayed"
    assert classify(report(seen, "It was shown.", kind="disposition-notification")).kind == "none"


MACHINES_AND_PEOPLE = {
    "a vacation note, as it came": ("Return-Path: <>\nSubject: Ferien", "The mailbox of Bob does not exist any more."),
    "one of a new address": (
        "Return-Path: <>\nSubject: Re: News",
        "I have moved to Rome. My new address is b@x.example",
    ),
    "a newsletter": (
        "List-Unsubscribe: <https://x.example/>\nSubject: How to avoid bounced mail",
        "550 5.1.1 user unknown is what servers say of\n\nbob@there.example",
    ),
    "a talk about reports": (
        "List-Id: <postfix.there.example>\nSubject: What is this?",
        "Final-Recipient: rfc822; bob@there.example\nAction: failed\nStatus: 5.1.1",
    ),
    "a parcel": (
        "Subject: Delivery failed: your parcel could not be delivered",
        "Your address does not exist. Ask help@there.example.",
    ),
    "a bill": ("Subject: Failed mail order", "Your account has been closed. Contact bills@there.example."),
    "an answer": ("Subject: Re: Your mail was rejected", "What user unknown? 550?\n\nbob@there.example"),
}


@pytest.mark.parametrize("name", MACHINES_AND_PEOPLE)
def test_what_no_server_wrote_is_no_bounce_whatever_its_words(name: str) -> None:
    head, body = MACHINES_AND_PEOPLE[name]
    assert classify(mail(f"From: Ann <{ANN}>\n{head}", body)).kind in ("none", "auto_reply")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Return-Path: <>\nSubject: News", f"550 5.1.1 <{BOB}>: no such user"),
        ("Subject: Undeliverable: News", f"It could not be delivered to:\n\n  {BOB}\n\nThere is no such user."),
        ("Subject: Mail delivery failed", f"Your message to {BOB} could not be delivered: no such user."),
        (f"Subject: Undeliverable mail to {BOB}", "There is no such user."),
    ],
)
def test_a_server_of_another_name_is_known_by_what_it_says(head: str, body: str) -> None:
    assert [each[:2] for each in blamed(classify(mail(f"From: Robot <robot@there.example>\n{head}", body)))] == [
        (BOB, "hard")
    ]


def test_who_names_nobody_blames_nobody_without_a_servers_words() -> None:
    head = "From: postmaster@there.example\nSubject: Re: News"
    assert classify(mail(head, "I am on holiday. The user Bob is not found here.")).kind == "soft"
    assert classify(mail(head, "550 5.1.1 The user is not found here.")).kind == "hard"


def test_news_of_success_is_no_bounce() -> None:
    head = "From: postmaster@mx.there.example\nSubject: Delivery Status Notification (Success)"
    assert classify(mail(head, f"Your message has been delivered to:\n\n  {ANN}\n")).kind == "none"


def test_what_is_not_understood_is_said() -> None:
    head = "From: MAILER-DAEMON@mx.there.example\nSubject: failure notice"
    assert classify(mail(head, "Mailbox full.")).doubts == ("no recipient found",)
    assert classify(mail(head, f"{ANN}\n\nalas")).doubts == ("no cause found",)
    assert "only its begin was read" in classify(mail(head, f"<{ANN}>: user unknown\n") + b"x\n" * 600_000).doubts


WHOLE = [
    report(f"Final-Recipient: rfc822; {ANN}\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 no such user"),
    report("Feedback-Type: abuse\nVersion: 1", kind="feedback-report"),
    *(mail("From: MAILER-DAEMON@x.example\nSubject: failure notice", body) for body, _ in TEXTS.values()),
]
CUTS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 40), st.binary(max_size=20)), max_size=8)


@settings(deadline=None)
@given(st.sampled_from(WHOLE), CUTS)
def test_no_damage_makes_it_fail(raw: bytes, cuts: list[tuple[int, int, bytes]]) -> None:
    for at, length, put in cuts:
        raw = raw[:at] + put + raw[at + length :]
    assert classify(raw).kind in ("hard", "soft", "complaint", "auto_reply", "none")


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    assert classify(raw).kind in ("soft", "none", "auto_reply", "hard", "complaint")


FLOODS = [
    b"<ann@there.example>\n",
    b"a@",
    b"user ",
    b"\n",
    b"To: a@b.example\n",
    b"<script",
    b"=?utf-8?q?a?= ",
    b" x\n",
    b"--b/1\n\n",
]


@pytest.mark.parametrize("piece", FLOODS)
def test_a_megabyte_of_anything_is_read_in_bounded_time(piece: bytes) -> None:
    head = b"From: MAILER-DAEMON@x.example\nSubject: failure notice\nContent-Type: "
    begun = time.process_time()
    for kind in (b"text/plain", b"text/html", b'multipart/report; boundary="b/1"', b"message/delivery-status"):
        classify(head + kind + b"\n\n" + piece * (1_000_000 // len(piece)))
        classify(head + kind + b"\nX: " + piece * (1_000_000 // len(piece)))
    assert time.process_time() - begun < 20


def test_parts_in_parts_are_read_to_some_depth() -> None:
    inner = b"x"
    for depth in range(3000):
        name = b"b%d" % depth
        inner = (
            b"Content-Type: multipart/mixed; boundary="
            + name
            + b"\n\n--"
            + name
            + b"\n"
            + inner
            + b"\n--"
            + name
            + b"--\n"
        )
    begun = time.process_time()
    assert classify(inner).kind == "none"
    assert time.process_time() - begun < 5
