"""What comes from others is pinned by hash, and what was not looked up is told as such."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from helpers.places import ROOT

from infra.supply.audit import Audited, locks, main, read_report

_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def test_every_locked_package_has_one_version_and_hashes_and_no_address() -> None:
    found = list(locks())
    assert len(found) >= 4
    for lock in found:
        text = lock.read_text()
        assert "://" not in text, lock
        for package in text.replace("\\\n", " ").splitlines():
            assert re.match(r"[\w.-]+(\[[\w,]+\])?==\S+ ", package), (lock, package)
            assert _HASH.search(package), (lock, package)


@pytest.mark.parametrize("name", ["infra/venv.sh", "infra/Dockerfile", "infra/environments.py"])
def test_whatever_installs_asks_for_the_hashes(name: str) -> None:
    assert "--require-hashes" in (ROOT / name).read_text()


def test_bandits_rules_hold_for_the_product() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert {each for each in lint["ignore"] if re.fullmatch(r"S\d*", each)} == {"S101", "S311", "S603", "S607"}
    without = {where for where, codes in lint["per-file-ignores"].items() if "S" in codes}
    assert not [where for where in without if where.split("/")[0] in ("connectors", "flows", "operators", "state")]


def test_what_the_database_does_not_know_is_no_pass(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"name": "a", "version": "1", "vulns": []}
    faulty = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
    skipped = {"name": "c", "skip_reason": "not found"}
    given = {
        0: Audited(1, [], []),
        1: Audited(2, ["b 2: CVE-1, mended in 3"], ["c: not found"]),
        3: Audited(0, [], ["all: no answer"]),
    }
    assert read_report(json.dumps({"dependencies": [known]})) == given[0]
    assert read_report(json.dumps({"dependencies": [known, faulty, skipped]})) == given[1]
    assert read_report("no connection") == given[3]
    for code in given:
        assert main([f"{code}.lock"], ask=lambda lock: given[int(lock.stem)]) == code
    assert "NOT AUDITED" in capsys.readouterr().out
