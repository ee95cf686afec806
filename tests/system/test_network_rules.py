"""The firewall of OPERATING, as it stands there, on a real kernel and without the guard of Carillon."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import walled_network
from helpers.places import ROOT

from infra.services import require


def test_who_sends_reaches_brokers_redis_and_the_public_and_nothing_else_inside(tmp_path: Path) -> None:
    for program in ("ip", "nft", "unshare"):
        require(program)
    found = re.search(
        r"^  table inet carillon \{.*?^  \}$", (ROOT / "OPERATING.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    rules = tmp_path / "rules.nft"
    rules.write_text(found[0].replace('skuid "carillon"', "skuid 0"))
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    tried = subprocess.run([*alone, "nft", "list", "ruleset"], capture_output=True, text=True, check=False, timeout=30)
    if tried.returncode != 0:
        pytest.skip(f"this kernel gives no network and no rules of its own to a process: {tried.stderr.strip()}")
    command = [*alone, sys.executable, walled_network.__file__, str(rules)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    before, after = map(json.loads, ran.stdout.splitlines())
    assert all(before.values()), before
    assert {place for place, was in after.items() if was} == {"10.0.0.5:9092", "10.0.0.6:6379", "198.51.100.7:443"}
