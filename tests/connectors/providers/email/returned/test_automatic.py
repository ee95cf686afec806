"""Answering machines of several languages, known by their subject alone."""

from __future__ import annotations

import pytest

from connectors.providers.email.returned.classify import classify

SUBJECTS = [
    "Automatic reply: Hello", "Automatische Antwort: Hallo", "R\u00e9ponse automatique : Bonjour",
    "Automatisk svar: Hej", "Autoodpowied\u017a: Hello", "Automatick\u00e1 odpov\u011b\u010f: Ahoj",
    "Automaattinen vastaus: Hei", "Otomatik Yan\u0131t: Merhaba", "\uc790\ub3d9 \ud68c\uc2e0: hello",
    "\u0410\u0432\u0442\u043e\u043e\u0442\u0432\u0435\u0442: x",
    "Automatikus v\u00e1lasz: Szia",
    "R\u0103spuns automat: Salut", "\u81ea\u52a8\u7b54\u590d: x",
    "Bin im Urlaub", "Réponse d'absence : x", "Fuera de oficina", "Ausência temporária",
    "Fuori sede", "Niet op kantoor", "Ute från kontoret", "Отсутствую", "Nieobecność", "外出中", "休暇のお知らせ",
    "Parental leave until May", "Thank you for contacting us", "Request received: x", "\u81ea\u52d5\u8fd4\u4fe1: x",
]  # fmt: skip


@pytest.mark.parametrize("subject", SUBJECTS)
def test_an_answering_machine_is_known_by_its_subject(subject: str) -> None:
    found = classify(f"From: Ann <ann@there.example>\nSubject: {subject}\n\nBack on Monday.\n".encode())
    assert (found.kind, [each.address for each in found.recipients]) == ("auto_reply", ["ann@there.example"])


@pytest.mark.parametrize("subject", ["A talk on automatic replies", "Leave a review", "Our new office", "Thanks!"])
def test_whoever_writes_of_one_is_none(subject: str) -> None:
    mail = f"From: Ann <ann@there.example>\nSubject: {subject}\n\nOn Monday.\n"
    assert classify(mail.encode()).kind == "none"
