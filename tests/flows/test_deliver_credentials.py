"""Credentials are refused in mid-run: the second provider of each channel goes on, and somebody is told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.feeding import System
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.up import carillon
from helpers.waiting import wait_for

FEW, MANY = range(2), range(2, 27)
SECOND = {"smtp": "ses", "twilio": "smpp"}


def configure(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that wants a name and a password, then Amazon; Twilio, then an SMSC."""
    options = sandbox.options
    given: dict[str, tuple[Any, str, dict[str, str]]] = {
        "smtp": (options.smtp, "host port security sender", {"username": "ann", "password": "ann's"}),
        "ses": (
            options.ses, "endpoint region access_key_id secret_access_key sender ca_file", {"standby": "true"},
        ),
        "twilio": (options.twilio, "origin account_sid auth_token sender", {}),
        "smpp": (options.smpp, "host port system_id password sender ca_file", {"standby": "true"}),
    }  # fmt: skip
    for provider, (table, names, more) in given.items():
        for name, value in ({name: str(getattr(table, name)) for name in names.split()} | more).items():
            monkeypatch.setenv(f"CARILLON_PROVIDERS__{provider}__{name}".upper(), value)


def number_of(user: int) -> str:
    return f"+1415555{user:04}"


def feed(system: System, users: range) -> None:
    mails = [system.emission(f"m{n}", "email", [("m", f"m{n}@example.com")]) for n in users]
    texts = [system.emission(f"t{n}", "sms", [("t", number_of(n))], type="otp", payload={"code": "1"}) for n in users]
    system.feed([*mails, *texts])


def taken(sandbox: Sandbox) -> dict[str, Counter[object]]:
    """By provider, how often each address was taken."""
    well = {"smtp": 250, "ses": 200, "twilio": 201, "smpp": 0}
    return {name: Counter(e["to"] for e in sandbox.journal(name) if e["status"] == ok) for name, ok in well.items()}


def ends(system: System, users: range) -> Counter[tuple[str, str]]:
    names = {f"{kind}{n}" for kind in "mt" for n in users}
    return Counter((r["provider"], r["outcome"]) for r in system.deliveries().values() if r["user"] in names)


def test_the_second_provider_goes_on_and_log_and_check_name_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_sandbox(tmp_path) as sandbox:
        configure(sandbox, monkeypatch)
        system, steering = System(tmp_path), sandbox.steering()
        with system.flow("deliver"):
            feed(system, FEW)
            wait_for(lambda: ends(system, FEW).total() == 2 * len(FEW), what=system.output("deliver"))
            for name in SECOND:
                steering.put(name, "credential")
            feed(system, MANY)
            wait_for(lambda: ends(system, MANY).total() == 2 * len(MANY), what=system.output("deliver"))
            checked = carillon("check", environment={"CARILLON_DATA_DIR": str(tmp_path)})
        assert ends(system, FEW) == {(name, "DELIVERED"): len(FEW) for name in SECOND}
        assert ends(system, MANY) == {(name, "DELIVERED"): len(MANY) for name in SECOND.values()}
        assert {n for counts in taken(sandbox).values() for n in counts.values()} == {1}, "none twice"
    answers = Counter(a["answer"] for r in system.deliveries().values() for a in r["attempts"])
    assert answers["failed: connect 535 5.7.8"] > 0
    assert answers["failed: 20003"] > 0
    lines = [json.loads(line) for line in (tmp_path / "deliver.out").read_text().splitlines() if line[:1] == "{"]
    said = [line["provider"] for line in lines if line.get("event") == "credential_refused"]
    assert sorted(said) == sorted(SECOND), "once each"
    failed = [line for line in checked.stdout.splitlines() if line.startswith("FAIL provider")]
    assert [("(smtp)" in line, "(twilio)" in line) for line in failed] == [(False, True), (True, False)], failed
    assert "535" in failed[1]
