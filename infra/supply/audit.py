"""What is known against the locked packages: `make audit`, or `python -m infra.supply.audit [LOCK...]`

pip-audit asks a database of vulnerabilities about each package of each lock file. It passes over what the database does
not know, and says that all is well; here that is no pass. Bandit's rules are ruff's (`S` in pyproject.toml), which
`make check` applies.

Exit codes: 0 nothing is known against any package; 1 something is; 3 not everything was looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.environments import environment_of

ROOT = Path(__file__).resolve().parents[2]
OWN_LOCK = Path(__file__).with_name("requirements.lock")
_FOUND, _UNKNOWN = 1, 3
_DEADLINE_S = 600


class Audited(NamedTuple):
    """Of one lock file."""

    looked_up: int
    found: list[str]
    """Package, version and what is known against it."""
    unknown: list[str]
    """Packages that the database told nothing of, and why."""


def locks() -> Iterator[Path]:
    """Every lock file of the repository."""
    for pattern in ("requirements.lock", "*/*/requirements.lock"):
        yield from sorted(ROOT.glob(pattern))


def read_report(text: str) -> Audited:
    """What pip-audit wrote; no text: it could not ask at all."""
    try:
        packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except (ValueError, KeyError):
        return Audited(0, [], ["all: no answer"])
    unknown = [f"{each['name']}: {each['skip_reason']}" for each in packages if "skip_reason" in each]
    found = [
        f"{each['name']} {each['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version'}"
        for each in packages
        for fault in each.get("vulns", ())
    ]
    return Audited(len(packages) - len(unknown), found, unknown)


def audit(lock: Path, arguments: Sequence[str] = ()) -> Audited:
    """Ask about one lock file; `arguments` are pip-audit's."""
    python = environment_of("supply", OWN_LOCK)
    options = ["--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off", *arguments]
    command = [python, "-m", "pip_audit", "--requirement", str(lock), *options]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    return read_report(asked.stdout)


def main(names: Sequence[str], ask: Callable[[Path], Audited] = audit) -> int:
    """Tell of each lock file; `ask` has it looked up."""
    code = 0
    for lock in [Path(name) for name in names] or locks():
        audited = ask(lock)
        print(f"{lock}: {audited.looked_up} packages looked up, {len(audited.found)} faults known")
        print(*(f"  {fault}" for fault in audited.found), sep="\n", end="\n" if audited.found else "")
        if audited.unknown:
            print(f"  NOT AUDITED, which is no pass: {len(audited.unknown)}, such as {audited.unknown[0]}")
            code = code or _UNKNOWN
        code = _FOUND if audited.found else code
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
