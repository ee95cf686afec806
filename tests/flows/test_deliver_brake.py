"""A provider that calls every address gone, or refuses our credential: the audience keeps its addresses."""

from __future__ import annotations

from helpers.feeding import System
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

AUDIENCE = 200
BELIEVED = 50


def test_a_410_for_everybody_retires_fifty_and_says_so(system: System, sandbox: Sandbox) -> None:
    system.feed([system.emission(f"u{n}", "push", [("d", f"410-{n:060}")]) for n in range(AUDIENCE)])
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == AUDIENCE)
    assert len(system.read("endpoints")) == BELIEVED
    deliveries = system.deliveries().values()
    assert {record["outcome"] for record in deliveries} == {"DEAD_LETTER"}
    assert {attempt["answer"] for record in deliveries for attempt in record["attempts"]} == {"rejected: Unregistered"}
    letters = system.values("dead_letters")
    assert len(letters) == AUDIENCE - BELIEVED, "what was withheld can be sent again once the topic is right"
    assert {letter["kind"] for letter in letters} == {"failed"}
    said = (system.directory / "deliver.out").read_text().count("verdicts_withheld")
    assert 1 <= said <= 2, "once a minute"


def test_a_credential_that_is_refused_retires_nobody(system: System, sandbox: Sandbox) -> None:
    for name in ("apns", "smtp"):
        sandbox.steering().put(name, "credential")
    pushes = [system.emission(f"u{n}", "push", [("d", f"{n:064}")]) for n in range(AUDIENCE)]
    mails = [system.emission(f"m{n}", "email", [("m", f"m{n}@example.com")]) for n in range(20)]
    system.feed([*pushes, *mails])
    try:
        with system.flow("deliver"):
            wait_for(lambda: all(sandbox.journal(name) for name in ("apns", "smtp")))
            wait_for(lambda: '"breaker"' in (system.directory / "deliver.out").read_text(), what="the breaker opens")
    finally:
        sandbox.steering().lift()
    assert {each["status"] for each in sandbox.journal("apns")} == {403}
    assert {each["status"] for each in sandbox.journal("smtp")} <= {530, 535}
    assert system.read("endpoints") == []
    assert "verdicts_withheld" not in (system.directory / "deliver.out").read_text()
