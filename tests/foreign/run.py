"""The simulated providers as clients of somebody else's making see them: `python tests/foreign/run.py [CLIENT...]`

Each client sends one message that must be taken and one that must be refused; it must have been told so, in its own
words, and the provider's journal must say the same. Their libraries are large, so they are installed on first use and
are no part of `make test` (SMPP's smpplib is: `tests/connectors/sandbox/test_smsc.py`; a browser's EventSource and
service worker are in `tests/system`).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from helpers.sandbox_process import Sandbox, running_sandbox  # noqa: E402 - the path is set above

from connectors.sandbox.options import browser_address  # noqa: E402 - the path is set above
from infra.environments import environment_of  # noqa: E402 - the path is set above

REQUIREMENTS = HERE / "requirements.lock"
DEADLINE_S = 60


class Case(NamedTuple):
    """What a client is given, and what it must be told."""

    provider: str
    given: dict[str, Any]
    told: list[str]
    statuses: list[int]
    """In the provider's journal."""


def cases(sandbox: Sandbox) -> dict[str, Case]:
    """By client."""
    known, directory = sandbox.options, sandbox.directory / "sandbox"
    apns, fcm, webpush, twilio, ses = known.apns, known.fcm, known.webpush, known.twilio, known.ses
    port = int(apns.origin.rpartition(":")[2])
    account = json.loads(Path(str(fcm.service_account)).read_text()) | {"token_uri": fcm.token_url}
    key = {"key": Path(str(apns.signing_key)).read_text(), "key_id": apns.key_id, "team_id": apns.team_id}
    return {
        "aioapns": Case(
            "apns",
            {**key, "topic": apns.topic, "host": "127.0.0.1", "port": port, "ca": str(apns.ca_file),
             "to": ["a" * 64, "gone-" + "a" * 59]},
            ["taken", "410 Unregistered"], [200, 410],
        ),
        "firebase_admin": Case(
            "fcm",
            {"account": account, "origin": fcm.origin, "fids": ["dUmmy_installation-Id1"],
             "to": ["f:" + "1" * 60, "gone-" + "1" * 60]},
            ["taken", "taken", "UnregisteredError"], [200, 200, 404],
        ),
        "pywebpush": Case(
            "webpush",
            {"key": str(webpush.signing_key), "subject": webpush.subject,
             "to": [browser_address(directory, name) for name in ("browser 1", "gone-1")]},
            ["taken", "410"], [201, 410],
        ),
        "twilio": Case(
            "twilio",
            {"account": twilio.account_sid, "token": str(twilio.auth_token), "origin": twilio.origin,
             "sender": twilio.sender, "to": ["+14155550100", "+15005550001"]},
            ["taken", "400 21211"], [201, 400],
        ),
        "boto3": Case(
            "ses",
            {"region": ses.region, "endpoint": ses.endpoint, "ca": str(ses.ca_file), "key_id": ses.access_key_id,
             "secret": str(ses.secret_access_key), "sender": ses.sender,
             "to": ["ann@example.com", "rejected-ann@example.com"]},
            ["taken", "MessageRejected"], [200, 400],
        ),
    }  # fmt: skip


def fault_of(name: str, case: Case, sandbox: Sandbox, python: str) -> str:
    """What is wrong with the provider as this client sees it; empty: nothing."""
    sandbox.begin()
    trust = {"REQUESTS_CA_BUNDLE": case.given.get("ca") or str(sandbox.options.apns.ca_file)}
    done = subprocess.run(
        [python, str(HERE / "clients.py"), name], input=json.dumps(case.given), env=os.environ | trust,
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2]
    told, statuses = json.loads(done.stdout), [entry["status"] for entry in sandbox.journal(case.provider)]
    if told != case.told:
        return f"it was told {told}, not {case.told}"
    return "" if statuses == case.statuses else f"the journal says {statuses}, not {case.statuses}"


def main(wanted: list[str]) -> int:
    """1: a client disagrees."""
    python, failed = environment_of("foreign", REQUIREMENTS), 0
    with tempfile.TemporaryDirectory() as directory, running_sandbox(Path(directory)) as sandbox:
        for name, case in cases(sandbox).items():
            if not wanted or name in wanted:
                fault = fault_of(name, case, sandbox, python)
                failed += bool(fault)
                print(f"{name:15} {case.provider:8} {fault or 'ok: ' + ', '.join(case.told)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
