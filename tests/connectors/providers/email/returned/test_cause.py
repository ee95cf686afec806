"""Whose fault it was: the traps of status codes and words."""

from __future__ import annotations

import time

import pytest

from connectors.providers.email.returned.cause import find_cause, status_in

HARD = [
    ("5.1.1", "smtp; 550 5.1.1 <a@b.example>: Recipient address rejected: User unknown in a table", "user_unknown"),
    ("5.1.1", "", "user_unknown"),
    ("5.1.2", "", "host_unknown"),
    ("5.1.3", "smtp; 501 5.1.3 Bad recipient address syntax", "user_unknown"),
    ("5.1.6", "", "moved"),
    ("5.1.10", "smtp; 556 5.1.10 Recipient address has null MX", "takes_no_mail"),
    ("5.0.0", "smtp; 550 No such user here", "user_unknown"),
    ("5.0.0", "smtp; 550 Requested action not taken: mailbox unavailable", "recipient_refused"),
    ("5.0.0", "smtp; 521 mx.b.example does not accept mail", "takes_no_mail"),
    ("5.0.0", "smtp; 551 User not local; please try <a@c.example>", "moved"),
    ("5.7.1", "smtp; 550 5.7.1 <a@b.example>: Recipient address rejected: user unknown", "user_unknown"),
    ("5.4.1", "smtp; 550 5.4.1 [a@b.example]: Recipient address rejected: Access denied", "recipient_refused"),
    ("5.4.4", "X-Postfix; Host or domain name not found. Name service error for name=b.example type=A: Host not found",
     "host_unknown"),
    (None, "550 5.1.2 <a@b.example>... Host unknown (Name server: b.example.: host not found)", "host_unknown"),
    (None, "Unrouteable address", "user_unknown"),
    (None, "Diese E-Mail-Adresse existiert nicht", "user_unknown"),
    (None, "L\u2019adresse n\u2019existe pas".replace("\u2019", "'"), "user_unknown"),
    (None, "This account has been closed.", "user_unknown"),
    (None, "550 Account closed", "user_unknown"),
    (None, "553 this recipient is not in my validrcptto list (#5.7.1)", "user_unknown"),
    (None, "They are unknown to this mail system.", "user_unknown"),
    (None, "L'adresse de messagerie indiquée est introuvable.", "user_unknown"),
    (None, "No se encontró la dirección de correo indicada.", "user_unknown"),
    (None, "O endereço indicado não pôde ser encontrado.", "user_unknown"),
    (None, "Nie znaleziono podanego adresu.", "user_unknown"),
    (None, "Det gick inte att hitta e-postadressen.", "user_unknown"),
    (None, "Den adresse blev ikke fundet.", "user_unknown"),
    (None, "존재하지 않는 주소입니다", "user_unknown"),
    (None, "收件人邮箱找不到", "user_unknown"),
    (None, "Indirizzo inesistente", "user_unknown"),
    (None, "No existe la cuenta indicada", "user_unknown"),
    (None, "Такого адреса нет", "user_unknown"),
    (None, "550 The mailbox was deactivated permanently", "user_unknown"),
    (None, "550 bad-mailbox", "user_unknown"),
]  # fmt: skip
SOFT = [
    ("5.2.2", "smtp; 552 5.2.2 Mailbox full", "full"),
    ("4.2.2", "smtp; 452 4.2.2 The email account that you tried to reach is over quota", "full"),
    ("5.1.1", "smtp; 550 5.1.1 <a@b.example> mailbox is over its quota", "full"),
    ("5.2.1", "smtp; 550 5.2.1 The email account that you tried to reach is disabled", "suspended"),
    ("5.7.1", "smtp; 550 5.7.1 Service unavailable; client host [192.0.2.1] blocked using a blocklist", "blocked"),
    ("5.7.26", "smtp; 550 5.7.26 Unauthenticated email from c.example is not accepted", "authentication"),
    ("5.7.1", "smtp; 550 5.7.1 Unable to relay for a@b.example", "relay_denied"),
    ("5.7.515", "smtp; 550 5.7.515 Access denied, sending domain c.example does not meet the required level", "policy"),
    ("5.1.8", "smtp; 553 5.1.8 <n@c.example>... Domain of sender address n@c.example does not exist", "sender_refused"),
    ("5.0.0", "smtp; 550 <n@c.example>: Sender address rejected: User unknown", "sender_refused"),
    ("5.0.0", "smtp; 550 Mail from n@c.example rejected: no such user at your domain", "sender_refused"),
    ("5.0.0", "smtp; 550 The mailbox of ann@b.example is full", "full"),
    ("5.3.4", "smtp; 552 5.3.4 Message size exceeds fixed maximum message size", "too_big"),
    ("4.4.7", "", "expired"),
    ("5.4.6", "smtp; 554 5.4.6 Too many hops", "loop"),
    ("4.7.1", "smtp; 451 4.7.1 Greylisting in action, please come back later", "greylisted"),
    ("5.0.0", "smtp; 450 <a@b.example>: Recipient address rejected: User unknown", "user_unknown"),
    (None, "554 Message rejected as spam", "content"),
    ("5.7.1", "smtp; 554 5.7.1 <a@b.example>: Recipient address rejected: Access denied", "policy"),
    ("4.4.3", "X-Postfix; Host or domain name not found. Name service error for b.example: Host not found, try again",
     "network"),
    (None, "받는 사람의 메일 용량이 초과되었습니다", "full"),
    (None, "對方信箱已滿", "full"),
    (None, "Your email to the user failed: unknown error", "other"),
    (None, "This user does not accept mail from your domain", "blocked"),
    (None, "The recipient's server could not be reached for an unknown reason", "other"),
    (None, "550 Your account has been terminated for abuse", "sender_refused"),
    ("5.7.1", "550 5.7.1 Your SMTP account closed", "sender_refused"),
    (None, "550 Mailbox closed to external senders", "other"),
    (None, "550 This mailbox is disabled or was discontinued", "suspended"),
    (None, "552 The account does not have enough room", "full"),
    (None, "The disk space of the account is overdrawn", "full"),
    ("5.0.0", "smtp; 550 refused", "policy"),
    ("5.0.0", "", "other"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "diagnostic", "name"), HARD)
def test_the_address_is_to_blame(status: str | None, diagnostic: str, name: str) -> None:
    assert find_cause(status, diagnostic) == (True, name)


@pytest.mark.parametrize(("status", "diagnostic", "name"), SOFT)
def test_something_else_is_to_blame(status: str | None, diagnostic: str, name: str) -> None:
    assert find_cause(status, diagnostic) == (False, name)


def test_a_status_that_says_something_counts_before_one_that_does_not() -> None:
    assert status_in("550 5.0.0 from 10.5.1.1: 550 5.1.1 unknown") == "5.1.1"
    assert status_in("at 192.5.1.1 version 5.1.1.2") is None


@pytest.mark.parametrize(
    "piece", ["user ", "mailbox ", "unknown ", "host ", "no such ", "quota ", "5.1.1 ", "a@b.cc ", "sender "]
)
def test_words_take_time_that_grows_with_them_alone(piece: str) -> None:
    begun = time.process_time()
    find_cause(None, piece * 20_000, piece * 20_000)
    assert time.process_time() - begun < 2
