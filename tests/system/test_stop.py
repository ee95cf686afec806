"""A system that is stopped in the middle of a burst: it exits 0, its ledger balances, and nothing is lost at the next
start.
"""

import signal
import time
from pathlib import Path

from helpers.up import Up, running
from helpers.waiting import wait_for


def _burst(system: Up, first: int) -> set[str]:
    events = [
        {
            "event_id": f"b{first + n}",
            "type": "mention",
            "actor": "x",
            "target": f"u{n % 60}",
            "object": f"o{first + n}",
        }
        for n in range(300)
    ]
    status, answers = system.call("POST", "/v1/notifications/batch", events)
    assert status == 200
    assert {answer["status"] for answer in answers} == {202}
    return {str(event["event_id"]) for event in events}


def test_a_stop_during_a_burst_balances(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        for number in range(60):
            path = f"/v1/users/u{number}/endpoints/push/phone"
            assert system.call("PUT", path, {"platform": "ios", "address": f"{number:064x}"})[0] in (200, 201, 204)
        accepted = _burst(system, 0)
        assert system.stop() == 0
        checked = system.carillon("ledger", "--check")
        assert checked.returncode == 0, checked.stdout
    with running(tmp_path) as system:
        accepted |= _burst(system, 1000)

        def decided() -> bool:
            return accepted <= {record["event_id"] for record in system.ledger() if record["kind"] == "decision"}

        wait_for(decided, what="a decision for every accepted event")
        system.process.send_signal(signal.SIGTERM)  # as make and timeout do: one request, two signals
        time.sleep(0.3)
        assert system.stop() == 0
        assert system.carillon("ledger", "--check").returncode == 0
