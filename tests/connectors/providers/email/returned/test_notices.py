"""Notices that no report goes with: who hands them on, and what is a warning or a success."""

from __future__ import annotations

import pytest

from connectors.providers.email.returned.classify import classify

ANN = "ann@there.example"
UNKNOWN = f"It could not be delivered to:\n\n<{ANN}>: 550 5.1.1 user unknown"
LIST = "List-Id: <news.ours.example>\nList-Unsubscribe: <https://ours.example/>"


def kind(head: str, body: str) -> str:
    return classify(f"{head}\n\n{body}\n".encode()).kind


def test_a_notice_that_a_list_handed_on_is_one() -> None:
    """A list puts its fields on what comes to its address, but leaves who wrote it in From."""
    assert kind(f"{LIST}\nFrom: MAILER-DAEMON@mx.example\nSubject: x", UNKNOWN) == "hard"
    assert kind(f"{LIST}\nFrom: postmaster@mx.example\nSubject: Undeliverable: News", UNKNOWN) == "hard"


@pytest.mark.parametrize("who", ["Ann <ann@x.example>\nSubject: Undeliverable", "postmaster@x.example\nSubject: News"])
def test_a_newsletter_about_mail_is_none(who: str) -> None:
    assert kind(f"{LIST}\nFrom: {who}", UNKNOWN) == "none"


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("Delayed Mail (still being retried)", "It could not be delivered for more than 4 hours."),
        ("Mail", "This is a warning message only. Delivery has failed so far."),
        ("Verz\u00f6gerte Zustellung", "Die Zustellung verz\u00f6gert sich."),
        ("Message retard\u00e9", "La remise est retard\u00e9e."),
    ],
)
def test_a_server_that_keeps_trying_has_not_given_up(subject: str, words: str) -> None:
    refusal = f"<{ANN}>: 550 5.1.1 user unknown"
    assert kind(f"From: MAILER-DAEMON@mx.example\nSubject: {subject}", f"{words}\n\n{refusal}") == "soft"
    assert kind("From: MAILER-DAEMON@mx.example\nSubject: Mail", refusal) == "hard"


@pytest.mark.parametrize(
    "begin", ["Relayed: News", "Delivered: News", "x\n\nDelivery to these recipients is complete."]
)
def test_what_was_handed_to_the_next_server_is_no_bounce(begin: str) -> None:
    assert kind(f"From: postmaster@mx.example\nSubject: {begin}", f"No notification follows:\n\n{ANN}") == "none"


def test_a_server_may_name_somebody_without_his_address() -> None:
    said = "Your message did not reach the following recipient:\n\nAnn Smith on Friday"
    found = classify(f"From: postmaster@there.example\nSubject: Undeliverable: News\n\n{said}\n".encode())
    assert (found.kind, found.recipients, found.doubts) == ("soft", (), ("no recipient found",))
    assert kind("From: postmaster@there.example\nSubject: News", said) == "none"


def test_the_ticket_of_a_help_desk_is_no_bounce() -> None:
    ticket = f"We have the question of\n\n{ANN}\n\nThe user will hear from us."
    assert kind("From: helpdesk@there.example\nSubject: Ticket 1", ticket) == "none"
    assert kind("From: helpdesk@there.example\nSubject: Undeliverable: News", UNKNOWN) == "hard"


@pytest.mark.parametrize(
    "passed_on", ["<b@in.example> (expanded from\n  <{}>): x", "b@in.example\n (generated from {})"]
)
def test_a_mail_that_was_passed_on_did_not_reach_whom_it_was_sent_to(passed_on: str) -> None:
    body = f"The following failed:\n\n{passed_on.format(ANN)}\n550 5.1.1 user unknown\n"
    found = classify(f"From: MAILER-DAEMON@mx.example\nSubject: x\n\n{body}".encode())
    assert [(each.address, each.kind) for each in found.recipients] == [(ANN, "hard")]


def test_a_notice_without_an_address_of_its_own_or_a_known_one_is_read() -> None:
    server = '"A mail server at mx.example" <@mx.example>'
    assert kind(f"From: {server}\nSubject: NOTICE", f"<{ANN}>:\n<<< 550 5.1.1 User unknown") == "hard"
    robot = "no-reply@mx.example\nSubject: Returned mail"
    assert kind(f"From: {robot}", f"It could not be delivered to: {ANN}:\nUnknown user") == "hard"


def test_empty_lines_before_a_mail_are_no_end_of_its_head() -> None:
    assert kind("\n  \nFrom: MAILER-DAEMON@mx.example\nSubject: Mail", UNKNOWN) == "hard"


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("Mail delivery problem", f"My mail to {ANN} fails with 550 5.1.1 user unknown. Why?"),
        ("Email delivery errors explained", f"550 5.1.1 user unknown means that {ANN} is gone."),
        ("Fwd: Undeliverable: News", f"Look:\n\n> {ANN}\n> 550 5.1.1 user unknown"),
        ("Delivery failed", f"Order 550 came back to us. Write to {ANN}."),
    ],
)
def test_people_who_tell_of_a_refusal_are_no_servers(subject: str, words: str) -> None:
    assert kind(f"From: Bob <bob@x.example>\nSubject: {subject}", words) == "none"


def test_a_server_of_any_name_quotes_another() -> None:
    said = f"{ANN} was refused. Remote server said: 550 5.1.1 user unknown"
    assert kind("From: Robot <robot@x.example>\nSubject: Mail delivery problem", said) == "hard"


def test_what_was_thrown_away_unread_had_arrived() -> None:
    assert kind("From: postmaster@x.example\nSubject: Not read: News", f"To: {ANN}\nwas deleted unread.") == "none"
