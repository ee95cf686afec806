"""`carillon mail`."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.up import carillon

BOUNCE = """From: MAILER-DAEMON@mx.there.example
Subject: failure notice

<ann@there.example>:
550 5.1.1 no such user
"""


def test_classify_says_what_the_contract_names(tmp_path: Path) -> None:
    file = tmp_path / "one.eml"
    file.write_text(BOUNCE)
    done = carillon("mail", "classify", "--json", str(file), str(tmp_path))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(lines)) == (0, 2)
    assert (lines[0]["file"], lines[0]["kind"]) == (str(file), "hard")
    assert [(each["address"], each["status"]) for each in lines[0]["recipients"]] == [("ann@there.example", "5.1.1")]


def test_classify_tells_people_and_names_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_text(BOUNCE)
    done = carillon("mail", "classify", str(tmp_path / "one.eml"))
    assert "  ann@there.example: hard, failed, 5.1.1, user_unknown" in done.stdout
    missing = carillon("mail", "classify", str(tmp_path / "two.eml"))
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "there is no such file" in missing.stderr
