"""Mails that nothing is smuggled into: pure."""

from __future__ import annotations

import email
import email.policy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.providers.email.message import UnsafeMessageError, build_message, check_headers, message_id
from state.model.content import EmailContent


def mail(subject: str = "s", text: str = "t", html: str = "<p>h</p>", unsubscribe: str | None = None) -> bytes:
    return build_message(
        EmailContent(subject, text, html, unsubscribe),
        recipient="to@example.com", sender="from@example.com", sender_name="Carillon",
        identity=message_id("k", "x.example"), date_s=0,
    )  # fmt: skip


HEADERS = ["From", "To", "Subject", "Message-ID", "Date", "MIME-Version", "Content-Type"]


SMUGGLED = [
    "a\r\nBcc: x@y.z", "a\nBcc: x@y.z", "a\rb", "a\x00b", "a\x0bb", "a\x85b", "a\u2028b", "\ud800",
    "=?utf-8?q?a=0d=0aBcc:_x=40y.z?=", "=?utf-8?b?YQ0KQmNjOiB4QHkueg==?=",
]  # fmt: skip


@pytest.mark.parametrize("value", SMUGGLED)
def test_controls_in_a_header_are_refused_plain_and_encoded(value: str) -> None:
    with pytest.raises(UnsafeMessageError):
        mail(subject=value)


GOOD = b"To: a@b.c\r\nSubject: =?utf-8?b?w6k=?=\r\n =?utf-8?b?w6k=?=\r\n"


@pytest.mark.parametrize(
    "head",
    [
        GOOD + b"Bcc: x@y.z\r\n", GOOD.replace(b"\r\nS", b"\r\nBcc: x@y.z\r\nS"), GOOD.replace(b".c", b".c\nX: y"),
        GOOD.replace(b".c", b".c\rBcc: x@y.z"), GOOD.replace(b"\r\nS", b"\r\n\r\nS"), GOOD.replace(b"\r\n ", b"\r\n"),
        GOOD.replace(b"\r\n ", b"\r\n  "), GOOD.replace(b"To: ", b"To:"), GOOD.replace(b"a@b", b"x@b"),
        GOOD.replace(b"w6k", b"w6o"), GOOD.replace(b".c", b".c\x00"), GOOD.replace(b"To", b"T\xc3\xb6"), b"",
    ],
)  # fmt: skip
def test_headers_that_are_not_those_that_were_meant_are_found(head: bytes) -> None:
    check_headers(GOOD, ["To", "Subject"], "éé", "a@b.c")
    with pytest.raises(UnsafeMessageError):
        check_headers(head, ["To", "Subject"], "éé", "a@b.c")


HEADER_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="="), max_size=300)
"""What no reader can take for more than one line; encoded words are a matter of their own."""


@given(HEADER_TEXT, st.text(max_size=500), st.text(max_size=500))
@settings(deadline=None, max_examples=150)
def test_what_is_sent_has_exactly_the_headers_and_parts_that_were_meant(subject: str, text: str, html: str) -> None:
    assert_meant(mail(subject, text, html), subject)


@given(st.text(max_size=300), st.sampled_from(["=?utf-8?q?{}?=", "=?utf-8?b?{}?=", "{}=?", "{}\r\n.", "\x00{}", "{}"]))
@settings(deadline=None, max_examples=150)
def test_whatever_a_subject_holds_it_is_refused_or_means_itself(subject: str, frame: str) -> None:
    subject = frame.replace("{}", subject)
    try:
        wire = mail(subject)
    except UnsafeMessageError:
        return  # the test above shows that what is plain is sent
    assert_meant(wire, subject)


def assert_meant(wire: bytes, subject: str) -> None:
    message = email.message_from_bytes(wire, policy=email.policy.default)
    assert message.keys() == HEADERS
    assert str(message["Subject"]) == " ".join(subject.split())[:200].rstrip()
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert all(len(line) <= 998 for line in wire.split(b"\r\n"))
    assert b"\n" not in wire.replace(b"\r\n", b"")
    assert b"\r" not in wire.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "subject",
    [
        "", "plain", "Zoé: 2 < 3 & more", "日本語の件名", "a" * 900, "é" * 900, "=? no word ?=", "=?utf-8?q?plain?=",
        "\U0001f600", " a  b ",
    ],
)  # fmt: skip
def test_subjects_of_every_kind_are_sent(subject: str) -> None:
    assert_meant(mail(subject), subject)


@pytest.mark.parametrize("body", ["\n.\r\n", "\r.\r", "a\n.\nMAIL FROM:<x@y.z>\n", "--=_x\n", "\x00"])
def test_bodies_stay_bodies(body: str) -> None:
    message = email.message_from_bytes(mail(text=body, html=body), policy=email.policy.default)
    assert message.keys() == HEADERS
    part: Any = message.get_body(("plain",))
    assert part.get_content().replace("\r\n", "\n").strip() == body.replace("\r\n", "\n").replace("\r", "\n").strip()


def test_unsubscribe_as_rfc_8058_asks_and_only_then() -> None:
    message = email.message_from_bytes(mail(unsubscribe="https://x.example/u?t=1"), policy=email.policy.default)
    assert message["List-Unsubscribe"] == "<https://x.example/u?t=1>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    for wrong in ("http://x.example", "https://x.example/>, <mailto:y@z", "https://x.example\r\nBcc: y@z"):
        with pytest.raises(UnsafeMessageError):
            mail(unsubscribe=wrong)


def test_the_same_key_gives_the_same_mail_on_every_attempt() -> None:
    assert mail() == mail()


def test_a_link_of_any_length_is_one_header_with_lines_that_mail_allows() -> None:
    url = "https://x.example/" + "a" * 2_500
    raw = mail(unsubscribe=url)
    assert max(map(len, raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))) < 998
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    assert "".join(message["List-Unsubscribe"].split()) == f"<{url}>"
